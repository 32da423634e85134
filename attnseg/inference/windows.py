"""Where the windows of a sliding-window prediction lie and how they are weighted.

Positions and weights are those of MONAI's `sliding_window_inference`, so that results compare.
"""

import torch
from torch import Tensor


def window_starts(size: int, patch: int, overlap: float) -> list[int]:
    """First voxel of each window along one axis, in ascending order.

    Windows advance by `patch · (1 - overlap)` voxels; the last one ends at the volume's end.

    Args:
        size: voxels of the volume, at least `patch`.
        patch: voxels of the window.
        overlap: share of a window that the next one covers again, 0 ≤ overlap < 1.
    """
    assert size >= patch, (size, patch)
    step = patch if size == patch else max(1, int(patch * (1 - overlap)))
    starts = list(range(0, size - patch, step))
    return [*starts, size - patch]


def padding_of(shape: tuple[int, ...], patch: tuple[int, ...]) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis so that one window fits, half on either side."""
    missing = [max(0, p - n) for n, p in zip(shape, patch, strict=True)]
    return [(amount // 2, amount - amount // 2) for amount in missing]


def gaussian_weights(patch: tuple[int, ...]) -> Tensor:
    """Weight of each voxel of a window `[*patch]`: a Gaussian with σ = an eighth of the patch.

    Never below 10⁻³, so that a voxel seen only by a window's corner keeps a usable weight.
    """
    weights = torch.ones(())
    for size in patch:
        distance = torch.arange(size) - (size - 1) / 2
        weights = weights[..., None] * torch.exp(distance**2 / (-2 * (0.125 * size) ** 2))
    return weights.clamp(min=1e-3)
