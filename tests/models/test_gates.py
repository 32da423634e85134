"""Gates against MONAI's AttentionBlock, the paper's equations and the authors' arrangement."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attnseg.models import GridGate, SkipGate


def fold(conv: nn.Module, norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a 1×1 convolution with its batch norm folded in."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight.flatten(1) * scale[:, None]
    return weight, (conv.bias - norm.running_mean) * scale + norm.bias


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_skip_gate_equals_monai_with_norms_folded(dims):
    from monai.networks.nets.attentionunet import AttentionBlock

    torch.manual_seed(0)
    theirs = AttentionBlock(spatial_dims=dims, f_int=3, f_g=5, f_l=4).double()
    for module in theirs.modules():
        if hasattr(module, "running_mean"):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    theirs.eval()
    (w_g, n_g), (w_x, n_x), (psi, n_psi) = [
        (part[0].conv, part[1]) for part in (theirs.W_g, theirs.W_x, theirs.psi)
    ]

    ours = SkipGate(4, 5, inner_channels=3, stride=(1,) * dims).double()
    with torch.no_grad():
        theta, theta_bias = fold(w_x, n_x)
        phi, phi_bias = fold(w_g, n_g)
        psi_weight, psi_bias = fold(psi, n_psi)
        ours.theta_weight.copy_(theta)
        ours.phi.weight.copy_(phi.reshape(ours.phi.weight.shape))
        ours.phi.bias.copy_(phi_bias + theta_bias)
        ours.psi_weight.copy_(psi_weight[0])
        ours.psi_bias.copy_(psi_bias)

    x = torch.randn(2, 4, *(7, 5, 6)[:dims], dtype=torch.float64)
    g = torch.randn(2, 5, *(7, 5, 6)[:dims], dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, g)[0], theirs(g=g, x=x))


@pytest.mark.parametrize("stride", [(2, 2), (2, 2, 2), (1, 2, 2)])
def test_grid_gate_is_the_authors_arrangement(stride):
    """θ: kernel = stride, no bias; φ: 1×1; ReLU; ψ: 1×1; sigmoid; α upsampled linearly; α · x."""
    torch.manual_seed(0)
    gate = GridGate(4, 6, inner_channels=3, stride=stride).double()
    nn.init.normal_(gate.psi.weight)
    size = [2 * step * 2 for step in stride]
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    g = torch.randn(2, 6, *(n // s for n, s in zip(size, stride, strict=True)), dtype=torch.float64)
    conv = F.conv2d if len(stride) == 2 else F.conv3d
    mode = "bilinear" if len(stride) == 2 else "trilinear"
    with torch.no_grad():
        theta = conv(x, gate.theta.weight, stride=stride)
        inner = F.relu(theta + conv(g, gate.phi.weight, gate.phi.bias))
        alpha = torch.sigmoid(conv(inner, gate.psi.weight, gate.psi.bias))
        alpha = F.interpolate(alpha, size=size, mode=mode, align_corners=False)
        y, found = gate(x, g)
    torch.testing.assert_close(found, alpha)
    torch.testing.assert_close(y, x * alpha)


def test_both_gates_agree_where_their_grids_do():
    """At stride 1 the grid gate and the skip gate are the same equation."""
    torch.manual_seed(0)
    grid = GridGate(4, 6, inner_channels=3, stride=(1, 1)).double()
    skip = SkipGate(4, 6, inner_channels=3, stride=(1, 1)).double()
    with torch.no_grad():
        skip.theta_weight.copy_(grid.theta.weight[..., 0, 0])
        skip.phi.load_state_dict(grid.phi.state_dict())
        skip.psi_weight.copy_(grid.psi.weight[0, :, 0, 0])
        skip.psi_bias.copy_(grid.psi.bias)
        x, g = (torch.randn(1, n, 5, 7, dtype=torch.float64) for n in (4, 6))
        for ours, theirs in zip(skip(x, g), grid(x, g), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", [GridGate, SkipGate])
@pytest.mark.parametrize("size", [(5, 7, 3), (1, 4, 1), (1, 1, 1), (8, 8, 8)])
def test_gates_start_open_and_fit_odd_sizes(kind, size):
    torch.manual_seed(0)
    gate = kind(8, 12, inner_channels=4, stride=(2, 2, 2))
    x, g = torch.randn(1, 8, *size), torch.randn(1, 12, *(-(-n // 2) for n in size))
    y, alpha = gate(x, g)
    assert alpha.shape == (1, 1, *size)
    assert 0.85 < alpha.mean() < 1
    torch.testing.assert_close(y, x * alpha)
