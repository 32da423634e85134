"""Convolution blocks. Shapes: N batch, C channels, S the two or three spatial axes."""

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from attnseg.errors import refuse_unknown

NormName = Literal["instance", "batch"]
BlockName = Literal["plain", "residual"]
# Any: the classes of either dimension take the same arguments, which their type hints do not say.
CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_EPSILON = 1e-5
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and shift, for any grid down to a single voxel.

    Computed as group norm with one channel a group: the same numbers, several times faster on a
    CPU, and channels-last stays channels-last. On a one-voxel grid the result is the shift.
    Channels-last on a CPU, the gradient is batch norm's of each sample, the same again and seven
    times as fast.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, *S]` → the same shape."""
        if torch.jit.is_tracing():
            # Group norm's reshapes would cost OpenVINO a change of layout around every norm.
            return torch.instance_norm(
                x, self.weight, self.bias, None, None, True, 0.0, _EPSILON, False
            )
        if _gradient_by_sample(x, self.weight):
            return cast(Tensor, _InstanceNormBySample.apply(x, self.weight, self.bias))
        return torch.group_norm(x, x.shape[1], self.weight, self.bias, _EPSILON)


class _InstanceNormBySample(torch.autograd.Function):
    """Group norm forward; backward as batch norm of one sample after the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        samples, channels = x.shape[:2]
        voxels = x[0, 0].numel()
        y, mean, scale = torch.native_group_norm(
            x, weight, bias, samples, channels, voxels, channels, _EPSILON
        )
        ctx.save_for_backward(x, mean, scale, weight)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, mean, scale, weight = ctx.saved_tensors
        grad, dx = channels_last(grad), torch.empty_like(x)
        parts = x.new_empty((2, *mean.shape))
        for n in range(len(x)):
            torch.ops.aten.native_batch_norm_backward.out(
                grad[n : n + 1], x[n : n + 1], weight, None, None, mean[n], scale[n], True,
                _EPSILON, [True] * 3, out0=dx[n : n + 1], out1=parts[0, n], out2=parts[1, n],
            )  # fmt: skip
        return dx, parts[0].sum(0), parts[1].sum(0)


def _gradient_by_sample(x: Tensor, weight: Tensor) -> bool:
    """Where group norm's own gradient is slow: on a CPU, channels-last, run and not recorded."""
    return (
        torch.is_grad_enabled()
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=_CHANNELS_LAST[x.ndim - 2])
    )


def channels_last(tensor: Tensor) -> Tensor:
    """`[N, C, *S]` with the channels of a voxel side by side: faster convolutions on a CPU."""
    return tensor.contiguous(memory_format=_CHANNELS_LAST[tensor.ndim - 2])


def make_norm(name: NormName, channels: int, *, spatial_dims: int) -> nn.Module:
    """Normalisation layer by name.

    Raises:
        UsageError: another name.
    """
    refuse_unknown("norm", name, get_args(NormName))
    return InstanceNorm(channels) if name == "instance" else _BATCH_NORM[spatial_dims](channels)


def conv(
    in_channels: int,
    out_channels: int,
    kernel: Sequence[int],
    *,
    stride: Sequence[int] | int = 1,
    bias: bool = False,
) -> nn.Module:
    """Convolution that keeps the grid at stride 1 and gives ceil(S / stride) otherwise."""
    padding = tuple(size // 2 for size in kernel)
    dims = len(kernel)
    step = (stride,) * dims if isinstance(stride, int) else tuple(stride)
    return cast(
        nn.Module,
        CONV[dims](in_channels, out_channels, tuple(kernel), step, padding, bias=bias),
    )


def upsampling(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    """Transposed convolution with kernel = stride: every coarse voxel writes its own block."""
    make = _TRANSPOSED[len(stride)]
    return cast(nn.Module, make(in_channels, out_channels, tuple(stride), tuple(stride)))


class ConvBlock(nn.Module):
    """Two convolutions with normalisation and LeakyReLU; optionally residual.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: size per axis, odd.
        stride: of the first convolution.
        block: "residual" adds the input (projected where shape or channels change) before the last
            activation (He et al. 2016); "plain" does not.
        norm: "instance" or "batch".

    Raises:
        UsageError: another block or norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int] | int = 1,
        block: BlockName = "residual",
        norm: NormName = "instance",
    ) -> None:
        super().__init__()
        refuse_unknown("block", block, get_args(BlockName))
        dims = len(kernel)
        step = (stride,) * dims if isinstance(stride, int) else tuple(stride)
        self.conv1 = conv(in_channels, out_channels, kernel, stride=step)
        self.norm1 = make_norm(norm, out_channels, spatial_dims=dims)
        self.conv2 = conv(out_channels, out_channels, kernel)
        self.norm2 = make_norm(norm, out_channels, spatial_dims=dims)
        self.activation = nn.LeakyReLU(0.01, inplace=True)
        self.shortcut: nn.Module | None = None
        if block == "residual":
            same = in_channels == out_channels and max(step) == 1
            self.shortcut = (
                nn.Identity() if same else conv(in_channels, out_channels, (1,) * dims, stride=step)
            )

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, *S]` → `[N, C_out, *ceil(S / stride)]`."""
        h = self.activation(self.norm1(self.conv1(x)))
        h = self.norm2(self.conv2(h))
        if self.shortcut is not None:
            h = h + self.shortcut(x)
        return self.activation(h)


class ConvStack(nn.Sequential):
    """`count` blocks in a row; only the first changes channels and grid."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        count: int,
        kernel: Sequence[int],
        stride: Sequence[int] | int = 1,
        block: BlockName = "residual",
        norm: NormName = "instance",
    ) -> None:
        super().__init__(
            *(
                ConvBlock(
                    in_channels if i == 0 else out_channels,
                    out_channels,
                    kernel=kernel,
                    stride=stride if i == 0 else 1,
                    block=block,
                    norm=norm,
                )
                for i in range(count)
            )
        )
