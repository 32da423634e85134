"""Resampling by one small matrix per axis.

Linear interpolation is separable: a new grid takes `M_r · M_a · M_s`, each along its axis. Both
grids cover the same extent (outer voxel edges coincide), as `F.interpolate` does with
`align_corners=False`. Where a grid gets coarser the triangle widens by the same factor, so that no
detail folds into the result (`antialias=True` of `F.interpolate`, here in 3D too).
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _weights(n_in: int, n_out: int) -> np.ndarray:
    scale = n_in / n_out
    width = max(scale, 1.0)
    centres = (np.arange(n_out) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(n_in)[None, :])
    weights = np.clip(1 - distance / width, 0, None)
    # Beyond the outer voxel centres what is left of the triangle counts as the whole.
    return weights / weights.sum(axis=1, keepdims=True)


def axis_matrix(n_in: int, n_out: int) -> Tensor:
    """Linear resampling from `n_in` to `n_out` points over the same extent.

    Returns:
        `[n_out, n_in]`, float32; every row sums to 1.
    """
    return torch.from_numpy(_weights(n_in, n_out)).to(torch.float32)


def apply_along(volume: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply `matrix` `[n_out, n_in]` into one axis of `volume`, the others unchanged."""
    axis %= volume.ndim
    shape = volume.shape
    if axis == volume.ndim - 1:
        return volume @ matrix.T
    trail = int(np.prod(shape[axis + 1 :]))
    flat = volume.reshape(-1, shape[axis], trail)
    return torch.matmul(matrix, flat).reshape(*shape[:axis], matrix.shape[0], *shape[axis + 1 :])


def resample(volume: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Resample `[C, *S]` linearly to `[C, *shape]`, the axes that shrink first.

    An axis whose size stays is left untouched, so that equal grids give equal values.
    """
    assert volume.ndim == len(shape) + 1, (volume.shape, shape)
    order = sorted(range(len(shape)), key=lambda axis: shape[axis] / volume.shape[axis + 1])
    for axis in order:
        n_in, n_out = volume.shape[axis + 1], shape[axis]
        if n_in != n_out:
            volume = apply_along(volume, axis_matrix(n_in, n_out).to(volume), axis + 1)
    return volume


def resample_labels(labels: Tensor, shape: tuple[int, ...], *, num_classes: int) -> Tensor:
    """Resample class indices `[*S]`, −1 for ignored, to `[*shape]` by a linear vote of the classes.

    Each class's share of a new voxel is its linearly resampled membership; the largest wins, the
    lower index where two are equal. Classes are taken one after another: memory stays at three
    volumes whatever their number.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    best = torch.zeros(shape, dtype=torch.float32, device=labels.device)
    winner = torch.zeros(shape, dtype=labels.dtype, device=labels.device)
    for index in range(-1, num_classes):
        member = labels == index
        if not member.any():
            continue
        vote = resample(member[None].to(torch.float32), shape)[0]
        better = vote > best + 1e-6  # rounding must not decide between equal shares
        winner[better] = index
        best = torch.maximum(best, vote)
    return winner
