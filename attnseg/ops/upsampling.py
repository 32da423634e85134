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
    """Transpose of `upsample`: from the fine grid back to the coarse `shape` `[N, K, *s]`."""
    if all(step == 1 for step in stride):
        return grad
    full = [n * step for n, step in zip(shape[2:], stride, strict=True)]
    padding = [p for n, m in zip(full, grad.shape[2:], strict=True) for p in (n - m, 0)]
    grad = F.pad(grad, padding[::-1]).contiguous()
    if mode == "nearest":
        for axis in reversed(range(len(stride))):
            grad = grad.unflatten(axis + 2, (shape[axis + 2], stride[axis])).sum(axis + 3)
        return grad
    scales = [float(step) for step in stride]
    aten = torch.ops.aten
    if len(stride) == 2:
        return aten.upsample_bilinear2d_backward(grad, full, shape, False, *scales)
    return aten.upsample_trilinear3d_backward(grad, full, shape, False, *scales)
