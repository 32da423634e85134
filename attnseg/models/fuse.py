"""The fused gate for networks of MONAI that people have trained already."""

import torch
from torch import Tensor, nn

from attnseg.ops import attention_gate


class FusedAttentionBlock(nn.Module):
    """A trained `AttentionBlock` of MONAI as one operator, its batch norms folded into weights.

    `alpha` holds the map `[N, 1, *S]` of the last call, None before the first.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        theta, theta_bias = _folded(block.get_submodule("W_x"))
        phi, phi_bias = _folded(block.get_submodule("W_g"))
        psi, psi_bias = _folded(block.get_submodule("psi"))
        self.register_buffer("theta_weight", theta.flatten(1))
        self.register_buffer("phi_weight", phi)
        self.register_buffer("phi_bias", phi_bias + theta_bias)
        self.register_buffer("psi_weight", psi.flatten())
        self.register_buffer("psi_bias", psi_bias)
        self.alpha: Tensor | None = None

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        """g `[N, C_g, *S]` and x `[N, C, *S]` on one grid → α · x."""
        conv = nn.functional.conv2d if x.ndim == 4 else nn.functional.conv3d
        phi = conv(g, self.get_buffer("phi_weight"), self.get_buffer("phi_bias"))
        names = ("theta_weight", "psi_weight", "psi_bias")
        y, self.alpha = attention_gate(x, phi, *(self.get_buffer(name) for name in names))
        return y


def fuse_attention_gates(network: nn.Module) -> nn.Module:
    """Replace the gates of a trained MONAI `AttentionUnet` by the fused operator, in place.

    A gate is recognised by its parts W_g, W_x and psi, each a 1×1 convolution and a batch norm.
    The network gives the same logits up to rounding, and cannot be trained further.

    Args:
        network: in eval mode, since its batch norms are folded.

    Returns:
        The same network; each gate's `alpha` holds its last map.

    Raises:
        ValueError: the network is in training mode, or has no such gate.

    Example:
        >>> fuse_attention_gates(torch.nn.Conv2d(1, 1, 1).eval())
        Traceback (most recent call last):
        ValueError: Conv2d has no attention gate with W_g, W_x and psi; is it MONAI's AttentionUnet?
    """
    if network.training:
        raise ValueError(
            f"{type(network).__name__} is in training mode; its norms can only be folded after "
            "network.eval()"
        )
    gates = [
        (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
        if {"W_g", "W_x", "psi"} <= dict(child.named_children()).keys()
    ]
    if not gates:
        raise ValueError(
            f"{type(network).__name__} has no attention gate with W_g, W_x and psi; "
            "is it MONAI's AttentionUnet?"
        )
    for parent, name in gates:
        setattr(parent, name, FusedAttentionBlock(parent.get_submodule(name)).eval())
    return network


@torch.no_grad()
def _folded(part: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm after it."""
    convs = [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    if len(convs) != 1 or len(norms) != 1 or norms[0].running_var is None:
        raise ValueError(
            f"a gate's part has {len(convs)} convolutions and {len(norms)} batch norms with "
            "statistics; it must have one of each to be folded"
        )
    conv, norm = convs[0], norms[0]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    weight = conv.weight * scale.reshape(-1, *[1] * (conv.weight.ndim - 1))
    return weight, (bias - norm.running_mean) * scale + norm.bias
