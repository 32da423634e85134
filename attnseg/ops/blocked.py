"""The gate on a CPU without gradients: block by block, so that what is in between stays in cache.

The values of the reference, without its full-size inner features and upsampled φ: blocks of x's
first axis are multiplied, added onto their part of φ, cut and summed in place. The gate on g's grid
has nothing of full size in between.
"""

import math

import torch
from torch import Tensor

from attnseg.ops.reference import grid_plain, widen
from attnseg.ops.upsampling import Mode, upsample

# Voxels of a block: with 32 inner channels 2 MiB, about what one core's cache holds.
_VOXELS = 1 << 14


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
    dtype = torch.promote_types(x.dtype, torch.float32)
    phi, theta, psi, bias = (t.to(dtype) for t in (phi, theta_weight, psi_weight[None], psi_bias))
    y = torch.empty_like(x)
    alpha = x.new_empty((x.shape[0], 1, *x.shape[2:]))
    rest = math.prod(x.shape[3:])
    rows = max(1, _VOXELS // max(1, rest))
    for sample in range(x.shape[0]):
        for start in range(0, x.shape[2], rows):
            stop = min(start + rows, x.shape[2])
            # Rows come first, so that a block is a batch of matrices [C, rest] in either layout.
            block = x[sample, :, start:stop].transpose(0, 1).flatten(2).to(dtype)
            inner = _rows(phi[sample], start, stop, stride[0], mode)
            inner = upsample(inner, stride[1:], list(x.shape[3:]), mode).flatten(2)
            weights = theta.expand(len(block), *theta.shape)
            inner = torch.baddbmm(inner, weights, block).relu_()
            score = torch.matmul(psi, inner).add_(bias).sigmoid_()
            alpha[sample, 0, start:stop] = score.reshape(stop - start, *x.shape[3:])
            gated = y[sample, :, start:stop].transpose(0, 1)
            if x.dtype == dtype:
                torch.mul(block.reshape(gated.shape), score.reshape(-1, 1, *x.shape[3:]), out=gated)
            else:
                gated.copy_((block * score).reshape(gated.shape))
    return y, alpha


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


def _rows(phi: Tensor, start: int, stop: int, stride: int, mode: Mode) -> Tensor:
    """φ of one sample `[F, s, …]` at fine rows of its first axis: `[rows, F, …]`."""
    rows = torch.arange(start, stop)
    if mode == "nearest" or stride == 1:
        return phi.index_select(1, rows // stride).transpose(0, 1)
    position = ((rows.to(phi.dtype) + 0.5) / stride - 0.5).clamp_(0, phi.shape[1] - 1)
    below = position.long()
    above = (below + 1).clamp_(max=phi.shape[1] - 1)
    share = (position - below).reshape(-1, *[1] * (phi.ndim - 1))
    parts = [phi.index_select(1, rows).transpose(0, 1) for rows in (below, above)]
    return torch.lerp(parts[0], parts[1], share)
