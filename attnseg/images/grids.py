"""Masks on the grids of their images: of crops and other orders of axes, voxel by voxel.

3D Slicer stores a segmentation cropped to its segments; others store the same voxels along other
axes. Both lie on the image's grid, a voxel on a voxel, and nothing has to be resampled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnseg.images.geometry import Geometry
from attnseg.images.image import Image

# In voxels: how far a voxel may lie off the centre of the grid's, as in `Geometry.matches`.
_TOLERANCE = 0.1
# More than any scan has: two masks that far apart are of two patients.
_MOST_VOXELS = 1 << 31


@dataclass(frozen=True)
class _Place:
    """Where the voxels of one grid lie on another.

    Args:
        axes: for each axis of the other grid, the own axis along it.
        flips: whether the own axis runs the other way.
        start: index of the first own voxel on the other grid, along its axes; may be outside.
        shape: number of own voxels along the other's axes.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    start: tuple[int, ...]
    shape: tuple[int, ...]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """`[C, I, J, K]` along the other grid's axes, as a view."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array.transpose(0, *(1 + axis for axis in self.axes))[(slice(None), *steps)]


def on_grid(labels: Image, geometry: Geometry, *, asked: bool = False) -> Image:
    """A mask on the grid of its image, if its voxels lie on that grid: 0 where it says nothing.

    A crop, or the same grid with other axes, is put there; no label may lie outside. A mask of the
    image's own size that is shifted is not, nor one whose first voxel is the image's first voxel,
    nor one whose header places nothing: these may well belong to another image.

    Args:
        labels: `[1, I, J, K]`.
        geometry: the image's grid.
        asked: the user said that the mask belongs on this grid: the last three are put there too.

    Returns:
        The mask on `geometry`, with a note of what was done; the very mask that was given where it
        lies there already, or cannot be put there.
    """
    if labels.geometry.matches(geometry):
        return labels
    place = _place(labels.geometry, geometry)
    if place is None or not (asked or _plausible(labels.geometry, geometry, place)):
        return labels
    turned = place.turned(labels.array)
    ends = zip(place.start, place.shape, geometry.shape, strict=True)
    inside = [(max(0, -a), min(n, size - a)) for a, n, size in ends]
    if any(low >= high for low, high in inside):
        return labels
    kept = turned[(slice(None), *(slice(low, high) for low, high in inside))]
    if kept.size < turned.size and np.count_nonzero(kept) < np.count_nonzero(turned):
        return labels
    array = np.zeros((1, *geometry.shape), dtype=labels.array.dtype, order="F")
    target = tuple(
        slice(a + low, a + high) for a, (low, high) in zip(place.start, inside, strict=True)
    )
    array[(slice(None), *target)] = kept
    # The same words for every mask: `attnseg check` tells what many cases share in one line.
    note = "its axes run in another order than the image's; its voxels were put in the image's"
    if kept.size < turned.size:
        note = "it reaches beyond the image, with background alone there; put where it lies and cut"
    elif place.shape != geometry.shape:
        note = "it holds a part of the image's grid alone; put where it lies, with 0 around it"
    notes = (*labels.notes, note)
    return replace(labels, array=array, geometry=geometry, header=None, notes=notes)


def why_not_on_grid(labels: Image, geometry: Geometry) -> str:
    """What is in the way of `on_grid`, where the user asked for it; ends a sentence on the mask."""
    place = _place(labels.geometry, geometry)
    if place is None:
        ours, theirs = (
            f"spacing {_by(np.round(each.spacing_mm, 3))} mm, axes {each.orientation}, first voxel "
            f"at {', '.join(f'{x:.6g}' for x in each.affine[:3, 3])} mm"
            for each in (labels.geometry, geometry)
        )
        return f"its voxels lie between those of the image ({ours}; the image: {theirs})"
    ends = [a + n for a, n in zip(place.start, place.shape, strict=True)]
    return (
        f"it holds labels outside the image (its voxels are {_by(place.start)} to {_by(ends)} of "
        f"{_by(geometry.shape)})"
    )


def on_common_grid(masks: Sequence[Image]) -> list[Image]:
    """Masks on the smallest grid that holds all of them, if their voxels lie on one grid.

    Returns:
        The masks on the grid of the first, enlarged where needed; the very masks that were given
        where they have one grid already, or no common one.
    """
    first = masks[0].geometry
    if all(mask.geometry.matches(first) for mask in masks[1:]):
        return list(masks)
    places = [_place(mask.geometry, first) for mask in masks]
    for mask, place in zip(masks, places, strict=True):
        if place is None or not (
            mask.geometry.matches(first) or _plausible(mask.geometry, first, place)
        ):
            return list(masks)
    found = [place for place in places if place is not None]
    low = np.min([place.start for place in found], axis=0)
    high = np.max([np.add(place.start, place.shape) for place in found], axis=0)
    i, j, k = (int(n) for n in high - low)
    if i * j * k > _MOST_VOXELS:
        return list(masks)
    affine = first.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    # The smallest grid may be the very one of one of them.
    grid = next((mask.geometry for mask in masks if mask.geometry.shape == (i, j, k)), None)
    union = Geometry((i, j, k), affine)
    if grid is not None and grid.matches(union):
        union = grid
    return [on_grid(mask, union, asked=True) for mask in masks]


def _place(one: Geometry, other: Geometry) -> _Place | None:
    """Where voxels of one grid lie on another; None where they lie between its voxels."""
    exact = np.linalg.solve(other.affine, one.affine)
    steps = np.round(exact[:3, :3])
    if not np.array_equal(np.abs(steps).sum(axis=0), [1, 1, 1]) or abs(np.linalg.det(steps)) != 1:
        return None
    origin = np.round(exact[:3, 3])
    if np.abs(origin).max() > 1e6:
        return None
    last = np.array(one.shape) - 1
    corners = np.array(np.meshgrid(*[(0, n) for n in last])).reshape(3, -1)
    off = (exact[:3, :3] - steps) @ corners + (exact[:3, 3] - origin)[:, None]
    if np.abs(off).max() > _TOLERANCE:
        return None
    axes = tuple(int(np.flatnonzero(row)[0]) for row in steps)
    flips = tuple(bool(steps[row, axis] < 0) for row, axis in enumerate(axes))
    start = tuple(
        int(origin[row]) - (int(last[axis]) if flip else 0)
        for row, (axis, flip) in enumerate(zip(axes, flips, strict=True))
    )
    return _Place(axes, flips, start, tuple(one.shape[axis] for axis in axes))


def _plausible(one: Geometry, other: Geometry, place: _Place) -> bool:
    """Whether the place of a mask is likely to be meant: many headers all start at the same point,
    or at none."""
    if place.shape == other.shape:
        return place.start == (0, 0, 0)  # and other axes, or it would match
    return place.start != (0, 0, 0) and not places_nothing(one)


def places_nothing(geometry: Geometry) -> bool:
    """Whether axes run along x, y, z and the first or the middle voxel lies at the origin."""
    axes = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    if not np.allclose(np.abs(axes), np.eye(3), atol=1e-4):
        return False
    middle = geometry.affine @ [*(np.array(geometry.shape) - 1) / 2, 1]
    tolerance_mm = 0.51 * min(geometry.spacing_mm)
    return any(np.abs(place[:3]).max() < tolerance_mm for place in (geometry.affine[:, 3], middle))


def _by(shape: Iterable[float]) -> str:
    return " × ".join(map(str, shape))
