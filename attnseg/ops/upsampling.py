"""Upsampling by whole strides and its transpose: what both gates do to a coarse map."""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["linear", "nearest"]
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def size_of(x: Tensor) -> list[int]:
    """The grid S of `[N, C, *S]`; a trace takes it as the constant that it is there."""
    if not torch.jit.is_tracing():
        return list(x.shape[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return [int(n) for n in x.shape[2:]]


def upsample(coarse: Tensor, stride: list[int], size: list[int], mode: Mode = "linear") -> Tensor:
    """`[N, K, *ceil(S / stride)]` → `[N, K, *S]`: `F.interpolate(scale_factor=stride)`, cropped.

    The fine coordinate i lies at (i + 0.5) / stride − 0.5 of the coarse grid, whatever S is.
    """
    if all(step == 1 for step in stride):
        return coarse
    factors = [float(step) for step in stride]
    if mode == "nearest":
        full = F.interpolate(coarse, scale_factor=factors, mode="nearest")
    else:
        full = F.interpolate(
            coarse, scale_factor=factors, mode=_LINEAR[len(stride)], align_corners=False
        )
    for axis, length in enumerate(size):
        full = full.narrow(axis + 2, 0, length)
    return full


def upsample_backward(
    grad: Tensor, stride: list[int], shape: list[int], mode: Mode = "linear"
) -> Tensor:
    """Transpose of `upsample`: from the fine grid back to the coarse `shape` `[N, K, *s]`.

    One matrix product per axis: sums in a fixed order, and several times as fast on a CPU as
    PyTorch's own gradient of an interpolation, which has no more threads than channels.
    """
    if all(step == 1 for step in stride):
        return grad
    weights = [
        _axis_weights(grad, step, coarse, fine, mode)
        for step, coarse, fine in zip(stride, shape[2:], grad.shape[2:], strict=True)
    ]
    # All but the last axis in the order of memory, so that nothing of full size is copied.
    last = grad.stride(1) == 1
    grad = grad.movedim(1, -1) if last else grad
    for axis, matrix in enumerate(weights[:-1], start=1 if last else 2):
        before, after = grad.shape[:axis], grad.shape[axis + 1 :]
        columns = grad.reshape(before.numel(), -1, after.numel())
        grad = torch.matmul(matrix, columns).reshape(*before, -1, *after)
    return (grad.movedim(-1, 1) if last else grad) @ weights[-1].T


def _axis_weights(like: Tensor, step: int, coarse: int, fine: int, mode: Mode) -> Tensor:
    """`[coarse, fine]`: how much each coarse value counts in each fine one, along one axis."""
    eye = torch.eye(coarse, dtype=like.dtype, device=like.device)
    if mode == "nearest":
        return eye.repeat_interleave(step, dim=1)[:, :fine]
    full = F.interpolate(eye[None], scale_factor=float(step), mode="linear", align_corners=False)
    return full[0, :, :fine]
