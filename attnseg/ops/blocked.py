"""The gate on a CPU without gradients: block by block, in place, nothing of full size in between.

The values of the reference. A block is some rows of φ along the first axis and x's voxels above
them. φ is upsampled within its rows first and added to W_x x row by row, weighted by the distance
between the rows, so that what is upsampled along all axes never exists. The gate on g's grid has
nothing of full size in between.
"""

import math

import torch
from torch import Tensor

from attnseg.ops.reference import grid_plain, pointwise, widen
from attnseg.ops.upsampling import Mode, upsample

# Inner features of a block, 16 MiB whatever the size of x, and large enough that the cost of
# starting an operator on every core is lost in it.
_ELEMENTS = 1 << 22


def skip_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """y `[N, C, *S]` in x's type and layout, α `[N, 1, *S]` in x's type."""
    if x.ndim == 4:  # as a volume whose middle axis is one voxel long
        volumes, steps = (x.unsqueeze(3), phi.unsqueeze(3)), [stride[0], 1, stride[1]]
        y, alpha = skip_forward(*volumes, theta_weight, psi_weight, psi_bias, steps, mode)
        return y.squeeze(3), alpha.squeeze(3)
    _, phi, theta, psi, bias = widen(x[:0], phi, theta_weight, psi_weight[None], psi_bias)
    y = torch.empty_like(x)
    alpha = x.new_empty((x.shape[0], 1, *x.shape[2:]))
    # Measured: with the channels of a voxel side by side all of it is twice as fast.
    last = torch.channels_last_3d
    phi = phi.contiguous(memory_format=last)
    step, coarse = stride[0], phi.shape[2]
    rows = max(1, _ELEMENTS // max(1, step * math.prod(x.shape[3:]) * phi.shape[1]))
    for sample in range(x.shape[0]):
        for first in range(0, coarse, rows):
            part = (
                slice(sample, sample + 1),
                slice(None),
                slice(first * step, (first + rows) * step),
            )
            inner = pointwise(x[part].to(phi.dtype, memory_format=last), theta)
            _add_upsampled(inner[0], phi[sample], first, stride, mode)
            score = pointwise(inner.relu_(), psi, bias).sigmoid_()
            alpha[part] = score
            if x.dtype == score.dtype:
                torch.mul(x[part], score, out=y[part])
            else:
                y[part] = x[part] * score
    return y, alpha


def _add_upsampled(inner: Tensor, phi: Tensor, first: int, stride: list[int], mode: Mode) -> None:
    """Add φ `[F, s, h, w]`, upsampled, onto `inner` `[F, rows, H, W]`, which begins above φ's row
    `first`; the rows before the first and after the last of φ count like these.
    """
    step, size = stride[0], list(inner.shape[1:])
    count = -(-size[0] // step)
    near = torch.arange(first - 1, first + count + 1).clamp_(0, phi.shape[1] - 1)
    planes = upsample(phi.transpose(0, 1)[near], stride[1:], size[1:], mode)
    for offset in range(min(step, size[0])):
        fine = inner[:, offset::step].transpose(0, 1)
        # Where this fine row lies between the rows of φ, as a share of their distance.
        share = 0.0 if mode == "nearest" else (offset + 0.5) / step - 0.5
        fine.add_(planes[1 : 1 + len(fine)], alpha=1 - abs(share))
        if share:
            other = planes[2:] if share > 0 else planes
            fine.add_(other[: len(fine)], alpha=abs(share))


def grid_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """y `[N, C, *S]` in x's type and layout, α `[N, 1, *S]` in x's type."""
    y, alpha = grid_plain(*widen(x, phi, theta_weight, psi_weight, psi_bias), mode)
    return y.to(x.dtype), alpha.to(x.dtype)
