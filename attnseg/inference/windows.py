"""Where the windows of a sliding-window prediction lie and how they are weighted.

Positions and weights are those of MONAI's `sliding_window_inference`, so that results compare.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

Plane = tuple[slice, slice]
"""A part of the second and the third axis of a volume."""


class PlaneWindow(NamedTuple):
    """One window's place in the second and the third axis, and its share of a wanted plane."""

    source: Plane
    """What the window covers of the volume."""
    within: Plane
    """Of the window, the part that lies in the plane."""
    target: Plane
    """Of the plane, the part that this is."""


def windows_in_plane(
    starts: Sequence[Sequence[int]], patch: Sequence[int], plane: Plane
) -> list[PlaneWindow]:
    """The windows that reach into `plane`, in the order in which all of them would come.

    Args:
        starts: first voxel of each window, for either axis.
        patch: voxels of a window along either axis.
        plane: the wanted part, in voxels of the volume.
    """
    found = []
    for corner in product(*starts):
        low = [max(at, part.start) for at, part in zip(corner, plane, strict=True)]
        high = [min(at + p, part.stop) for at, p, part in zip(corner, patch, plane, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            end = [at + p for at, p in zip(corner, patch, strict=True)]
            begin = [part.start for part in plane]
            found.append(
                PlaneWindow(
                    source=_plane(corner, end, (0, 0)),
                    within=_plane(low, high, corner),
                    target=_plane(low, high, begin),
                )
            )
    return found


def _plane(low: Sequence[int], high: Sequence[int], origin: Sequence[int]) -> Plane:
    a, s = (slice(x - o, y - o) for x, y, o in zip(low, high, origin, strict=True))
    return a, s


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


def gaussian_weights(patch: tuple[int, ...], *, floor: float = 1e-3) -> Tensor:
    """Weight of each voxel of a window `[*patch]`: a Gaussian with σ = an eighth of the patch.

    Args:
        patch: size of the window.
        floor: never below this. MONAI's 10⁻³ is a tenth of what others weigh where windows meet in
            a corner, and a voxel seen by one window alone needs none: its weight cancels.
    """
    weights = torch.ones(())
    for size in patch:
        distance = torch.arange(size) - (size - 1) / 2
        weights = weights[..., None] * torch.exp(distance**2 / (-2 * (0.125 * size) ** 2))
    return weights.clamp(min=floor)
