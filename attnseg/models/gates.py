"""Attention gates on skip connections (Oktay et al., Attention U-Net, MIDL 2018, equations 1–2).

x are the skip features `[N, C, *S]`, g the coarser decoder features `[N, C_g, *ceil(S / stride)]`.
Both gates return y = α · x and α `[N, 1, *S]`. There is no normalisation inside: MONAI's
`AttentionBlock`, with batch norm after every 1×1 convolution and g upsampled beforehand, is another
network (tests show how the two map onto each other).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attnseg.models.blocks import CONV
from attnseg.ops import attention_gate, grid_attention_gate

# At the start a gate lets nearly everything pass, sigmoid(3) = 0.95, whatever it compares (ψ begins
# at a tenth of the usual size), and learns what to hold back.
_OPEN, _SMALL = 3.0, 0.1


class GridGate(nn.Module):
    """The paper's gate, computed on g's grid: x is brought there, α is upsampled linearly.

    W_x is a convolution whose kernel equals its stride and has no bias, as in the authors' code.

    Args:
        x_channels: channels C of the skip.
        g_channels: channels of the coarser features.
        inner_channels: F, channels of the comparison.
        stride: voxels of x that one voxel of g covers, per axis.
    """

    def __init__(
        self, x_channels: int, g_channels: int, *, inner_channels: int, stride: Sequence[int]
    ) -> None:
        super().__init__()
        make = CONV[len(stride)]
        self.theta = make(x_channels, inner_channels, tuple(stride), tuple(stride), bias=False)
        self.phi = make(g_channels, inner_channels, 1)
        self.psi = make(inner_channels, 1, 1)
        _start_open(self.psi.weight, self.psi.bias)

    def forward(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """x `[N, C, *S]`, g `[N, C_g, *ceil(S / stride)]` → y like x, α `[N, 1, *S]`."""
        return grid_attention_gate(
            x, self.phi(g), self.theta.weight, self.psi.weight.flatten(), self.psi.bias
        )


class SkipGate(nn.Module):
    """The gate computed at x's own resolution, φ(g) upsampled inside the operator.

    Args: as of `GridGate`.
    """

    def __init__(
        self, x_channels: int, g_channels: int, *, inner_channels: int, stride: Sequence[int]
    ) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.theta_weight = nn.Parameter(torch.empty(inner_channels, x_channels))
        self.phi = CONV[len(stride)](g_channels, inner_channels, 1)
        self.psi_weight = nn.Parameter(torch.empty(inner_channels))
        self.psi_bias = nn.Parameter(torch.empty(1))
        # The bounds of nn.Conv's own initialisation for this fan-in.
        nn.init.uniform_(self.theta_weight, -(x_channels**-0.5), x_channels**-0.5)
        _start_open(self.psi_weight, self.psi_bias)

    def forward(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """x `[N, C, *S]`, g `[N, C_g, *ceil(S / stride)]` → y like x, α `[N, 1, *S]`."""
        return attention_gate(
            x, self.phi(g), self.theta_weight, self.psi_weight, self.psi_bias, stride=self.stride
        )


def _start_open(psi_weight: Tensor, psi_bias: Tensor) -> None:
    bound = _SMALL * psi_weight.numel() ** -0.5
    nn.init.uniform_(psi_weight, -bound, bound)
    nn.init.constant_(psi_bias, _OPEN)
