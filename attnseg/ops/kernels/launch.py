"""Host side of the kernels: grids with three axes, block sizes, memory layouts."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from attnseg.ops.upsampling import Mode


@dataclass(frozen=True)
class Blocks:
    """Sizes of the tiles that one program works on; powers of two from 16."""

    voxels: int
    channels: int
    inner: int
    summed: int  # voxels that a product over voxels takes at a time
    warps: int


def launch_config(channels: int, inner: int, *, exact: bool) -> Blocks:
    """Tiles for C channels of x and F inner channels.

    All F of a voxel stay in one tile, since ψ sums over them: the more inner channels, the fewer
    voxels. C is walked through in parts. The sizes are the largest for which ptxas reports no
    spilled registers (sm_90, C from 32 to 256, F = C / 2); products in full float32 (`exact`) need
    many more registers than those of tensor cores. Not timed on a GPU yet.
    """
    tall = max(16, power_of_two(inner))
    wide = min(32 if exact else 64, max(16, power_of_two(channels)))
    voxels = min(64 if exact else 128, max(16, (2048 if exact else 8192) // tall))
    return Blocks(
        voxels=voxels,
        channels=wide,
        inner=tall,
        summed=32 if exact else 128,
        warps=8 if max(tall, wide) * voxels > (1024 if exact else 4096) else 4,
    )


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


def splits(programs: int, blocks: int) -> int:
    """Into how many partial sums `blocks` tiles are cut, where `programs` run for each of them.

    About a thousand programs fill the largest GPU; beyond that partial sums only cost memory.
    """
    return max(1, min(blocks, 1024 // max(1, programs)))


def three_axes(shape: torch.Size | list[int]) -> tuple[int, int, int]:
    """A 2D size or stride with a leading 1, a 3D one as it is."""
    sizes = [int(n) for n in shape]
    return (1, sizes[0], sizes[1]) if len(sizes) == 2 else (sizes[0], sizes[1], sizes[2])


def steps(stride: list[int], mode: Mode) -> dict[str, int | bool]:
    """How the grids lie to each other, as the kernels' constants."""
    step_d, step_h, step_w = three_axes(stride)
    return {"STEP_D": step_d, "STEP_H": step_h, "STEP_W": step_w, "LINEAR": mode == "linear"}


def reaches(constants: dict[str, int | bool]) -> dict[str, int]:
    """Fine indices along each axis that may hold something of one coarse cell."""
    return {
        f"REACH_{axis}": step * 2 if step > 1 and constants["LINEAR"] else step
        for axis in "DHW"
        if (step := int(constants[f"STEP_{axis}"]))
    }


def partial_sums(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """Room for sums, in float32 whatever x is."""
    return torch.empty(shape, dtype=torch.float32, device=x.device)


def laid_out(x: Tensor) -> Tensor:
    """x itself where it is contiguous or channels-last, a contiguous copy otherwise."""
    return x if x.is_contiguous() or is_channels_last(x) else x.contiguous()


def as_like(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the layout of `like`, contiguous or channels-last.

    Gradients arrive in any: expanded with stride 0, as from `y.sum().backward()`, for one.
    """
    layout = torch.contiguous_format
    if not like.is_contiguous():
        layout = torch.channels_last if like.ndim == 4 else torch.channels_last_3d
    return tensor.contiguous(memory_format=layout)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a voxel lie side by side."""
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.is_contiguous(memory_format=layout)


def strides(x: Tensor) -> tuple[int, int]:
    """Steps from channel to channel and from voxel to voxel, of a tensor that is `laid_out`."""
    voxels = math.prod(x.shape[2:])
    return (voxels, 1) if x.is_contiguous() else (1, x.shape[1])


def is_exact(x: Tensor) -> bool:
    """Whether products are taken in full float32: for float32 where PyTorch's matmul does too."""
    return x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"


def arithmetic(x: Tensor) -> dict[str, object]:
    """How products are taken: half precisions as float32 under the interpreter."""
    return {"UPCAST": x.device.type == "cpu", "PRECISION": "ieee" if is_exact(x) else "tf32"}
