"""Connected components of a label: the only file that knows cc3d.

A label's voxels hang together through any of their 26 neighbours, the 8 of a picture. What it does
not cover hangs together through faces only, 6 or 4 of them, so that a wall of one voxel is closed
even where it runs aslant.
"""

from collections.abc import Sequence
from typing import Literal

import cc3d
import numpy as np

Box = tuple[slice, slice, slice]

# Voxels counted at once: `np.bincount` makes 8 bytes of each, whatever the type.
_BLOCK = 1 << 20
# A volume of fewer voxels gets a border before its components are found.
_TINY = 64
# Affines come from float32 headers: a component exactly as large as the bound is not smaller.
_ROUNDING = 1e-6


def bounding_box(labels: np.ndarray, value: int) -> Box | None:
    """The smallest box of `[I, J, K]` that holds every voxel of a label; None where there is none.

    One plane of the array is looked at a time, so nothing of the size of the volume is made.
    """
    order = np.argsort([-abs(step) for step in labels.strides], kind="stable")
    view = labels.transpose(order)
    rows = np.zeros(view.shape[0], dtype=bool)
    shadow = np.zeros(view.shape[1:], dtype=bool)
    for index, plane in enumerate(view):
        found = plane == value
        if found.any():
            rows[index] = True
            shadow |= found
    if not rows.any():
        return None
    box = [slice(0)] * 3
    for axis, hit in zip(order, (rows, shadow.any(axis=1), shadow.any(axis=0)), strict=True):
        places = np.flatnonzero(hit)
        box[axis] = slice(int(places[0]), int(places[-1]) + 1)
    return box[0], box[1], box[2]


def components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected components of `[I, J, K]`, bool.

    Returns:
        number of the component at each voxel, 0 outside; `[n]` voxels of components 1 to n.
    """
    found, count = _label(mask, connectivity=26)
    return found, _sizes(found, count)[1:]


def component_voxels(mask: np.ndarray) -> np.ndarray:
    """`[n]` voxels of each connected component of `[I, J, K]`, bool."""
    return components(mask)[1]


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected component of `[I, J, K]`, bool in and out.

    Of several of one size the one that comes first in memory is kept.
    """
    found, voxels = components(mask)
    if len(voxels) < 2:
        return mask
    return found == 1 + int(voxels.argmax())


def large_components(
    mask: np.ndarray, *, min_volume_mm3: float, voxel_volume_mm3: float
) -> np.ndarray:
    """The connected components of at least that volume, `[I, J, K]`, bool in and out."""
    found, count = _label(mask, connectivity=26)
    volumes_mm3 = _sizes(found, count) * voxel_volume_mm3
    large = volumes_mm3 >= min_volume_mm3 * (1 - _ROUNDING)
    large[0] = False
    return large[found]


def holes(labels: np.ndarray, value: int, *, axes: Sequence[int]) -> np.ndarray:
    """Where background lies that a label encloses: `[I, J, K]`, bool.

    What reaches the edge is open, for nobody knows what lies beyond; an enclosed place that holds
    another label as well is no hole, but that label's place.

    Args:
        labels: `[I, J, K]`; the label's bounding box of a mask is enough.
        value: the label.
        axes: along which the whole mask has more than one voxel: a picture is open along 0 and 1
            only.
    """
    found, count = _label(labels != value, connectivity=6)
    enclosed = np.ones(count + 1, dtype=bool)
    enclosed[0] = False
    for axis in axes:
        for edge in (0, -1):
            enclosed[found.take(edge, axis=axis)] = False
    enclosed[found[(labels != value) & (labels != 0)]] = False
    return enclosed[found]


def _label(mask: np.ndarray, *, connectivity: Literal[6, 26]) -> tuple[np.ndarray, int]:
    """Number of the component at each voxel, 0 outside, and how many there are."""
    if not mask.size:
        return np.zeros(mask.shape, dtype=np.uint16), 0
    # cc3d makes room for too few components where they are isolated voxels in a volume of a few,
    # in a row or in a plane; a border adds room.
    if mask.size >= _TINY and sorted(mask.shape)[1] > 1:
        try:
            found, count = cc3d.connected_components(mask, connectivity=connectivity, return_N=True)
            return found, int(count)
        except RuntimeError:
            pass
    found, count = cc3d.connected_components(
        np.pad(mask, 1), connectivity=connectivity, return_N=True
    )
    return found[1:-1, 1:-1, 1:-1], int(count)


def _sizes(found: np.ndarray, count: int) -> np.ndarray:
    """`[1 + count]` voxels of each component, the outside first."""
    flat = found.ravel(order="K")
    sizes = np.zeros(count + 1, dtype=np.int64)
    for start in range(0, flat.size, _BLOCK):
        sizes += np.bincount(flat[start : start + _BLOCK], minlength=count + 1)
    return sizes
