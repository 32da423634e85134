"""MONAI's trained networks with the fused gate: the same logits."""

import pytest
import torch
from torch import nn

from attnseg.models import fuse_attention_gates


def trained(dims):
    """MONAI's network with weights and statistics that no initialisation gives."""
    from monai.networks.nets import AttentionUnet

    torch.manual_seed(0)
    network = AttentionUnet(dims, 1, 3, channels=(4, 8, 16), strides=(2, 2))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_the_logits_stay_and_alpha_can_be_seen(dims):
    network = trained(dims)
    x = torch.randn(2, 1, *(16, 24, 8)[:dims], dtype=torch.float64)
    expected, maps = network(x), []
    blocks = [module for module in network.modules() if type(module).__name__ == "AttentionBlock"]
    handles = [b.psi.register_forward_hook(lambda *a: maps.append(a[-1])) for b in blocks]
    network(x)
    for handle in handles:
        handle.remove()
    assert fuse_attention_gates(network) is network
    torch.testing.assert_close(network(x), expected)
    fused = [m for m in network.modules() if type(m).__name__ == "FusedAttentionBlock"]
    found = sorted((gate.alpha for gate in fused), key=lambda alpha: alpha.numel())
    assert len(found) == len(maps) == 2
    for ours, theirs in zip(found, sorted(maps, key=lambda a: a.numel()), strict=True):
        torch.testing.assert_close(ours, theirs)
    kept = [m for m in network.modules() if type(m).__name__ == "AttentionBlock"]
    assert kept == []


@pytest.mark.slow
def test_a_network_in_training_is_refused():
    with pytest.raises(ValueError, match=r"AttentionUnet is in training mode; .*eval\(\)"):
        fuse_attention_gates(trained(2).train())


def test_a_network_without_gates_is_refused():
    with pytest.raises(ValueError, match="no attention gate"):
        fuse_attention_gates(nn.Sequential(nn.Conv2d(1, 1, 1)).eval())


def test_a_gate_of_another_make_is_refused():
    other = nn.Module()
    for name in ("W_g", "W_x", "psi"):
        other.add_module(name, nn.Sequential(nn.Conv2d(2, 2, 1)))
    with pytest.raises(ValueError, match="1 convolutions and 0 batch norms"):
        fuse_attention_gates(nn.Sequential(other).eval())
