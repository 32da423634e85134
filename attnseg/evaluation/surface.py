"""How far two surfaces lie apart: NSD, HD95 and ASSD of one label.

Definitions are those of DeepMind's `surface-distance` (Nikolov et al. 2018, arXiv:1809.04430). A
surface element sits at each corner of the voxel grid whose eight voxels are neither all inside nor
all outside. Which of them are inside is its code, and the code has an area: that of the triangles
which marching cubes draws there. In 2D a corner has four voxels and its element a length.

Only surfaces are visited: a k-d tree names the nearest element of the other one, and the distance
is computed from grid indices as an exact distance transform computes it, to the same number.
Where a mask is noise, the transform itself does the naming.
"""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

# Voxels whose codes exist at one time.
_BLOCK = 1 << 20
_PERCENT = 95
# Noise has a surface everywhere: more elements than these, and more than one in so many places of
# the box, are looked up faster in a distance transform.
_MANY, _DENSE = 1 << 16, 16

# Marching cubes knows 14 cases; turns, mirror images and inside for outside give all 256 codes. Bit
# 7 of a code is the voxel (0, 0, 0), bit 0 is (1, 1, 1). Each case has an area in eighths by the
# direction of its triangles' normals. The numbers are those of `lookup_tables.py` of
# surface-distance 0.1 (Apache-2.0), summed by direction.
_DIRECTIONS = ((1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))
_CASES = {
    0b00000000: (0, 0, 0, 0, 0, 0, 0),
    0b00000001: (1, 0, 0, 0, 0, 0, 0),
    0b00000011: (0, 4, 0, 0, 0, 0, 0),
    0b00000110: (2, 0, 0, 0, 0, 0, 0),
    0b00000111: (3, 0, 0, 0, 4, 0, 0),
    0b00001111: (0, 0, 0, 0, 8, 0, 0),
    0b00010110: (3, 0, 0, 0, 0, 0, 0),
    0b00010111: (6, 0, 0, 0, 0, 0, 0),
    0b00011000: (2, 0, 0, 0, 0, 0, 0),
    0b00011001: (1, 0, 0, 4, 0, 0, 0),
    0b00011011: (4, 0, 2, 2, 0, 0, 0),
    0b00011110: (4, 0, 0, 0, 4, 0, 0),
    0b00111100: (0, 8, 0, 0, 0, 0, 0),
    0b01101001: (4, 0, 0, 0, 0, 0, 0),
}


@dataclass(frozen=True)
class Surface:
    """Agreement of two surfaces; all NaN where both masks are empty.

    Args:
        nsd: normalised surface Dice: the share of both surfaces that lies within the tolerance of
            the other one; 0 where one mask is empty.
        hd95_mm: the larger of both directions' 95th percentiles of distance, weighted by area;
            infinite where one mask is empty.
        assd_mm: mean distance over both surfaces, weighted by area; infinite where one is empty.
    """

    nsd: float
    hd95_mm: float
    assd_mm: float


def surface_figures(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    spacing_mm: tuple[float, ...],
    tolerance_mm: float = 1.0,
) -> Surface:
    """Surface figures of two masks, cropped to what either has.

    Args:
        prediction: bool `[I, J, K]`, or `[I, J]`, where contours take the place of surfaces.
        reference: the same shape.
        spacing_mm: of each axis; ones give distances in pixels.
        tolerance_mm: surfaces at most this far apart agree.

    Example:
        >>> cube = np.ones((4, 4, 4), dtype=bool)
        >>> surface_figures(cube, cube, spacing_mm=(1.0, 1.0, 1.0))
        Surface(nsd=1.0, hd95_mm=0.0, assd_mm=0.0)
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    assert prediction.ndim == len(spacing_mm) in (2, 3), (prediction.shape, spacing_mm)
    box = _box(prediction | reference)
    if box is None:
        return Surface(math.nan, math.nan, math.nan)
    prediction, reference = prediction[box], reference[box]
    if not (prediction.any() and reference.any()):
        return Surface(0.0, math.inf, math.inf)
    # NIfTI's first axis is the fastest in memory: blocks go along the slowest one.
    order = np.argsort([-abs(step) for step in reference.strides], kind="stable")
    ours, theirs = (_elements(mask, spacing_mm, order) for mask in (prediction, reference))
    areas, distances = _sorted(ours, theirs, spacing_mm)
    areas_back, distances_back = _sorted(theirs, ours, spacing_mm)
    total = areas.sum() + areas_back.sum()
    near = areas[distances <= tolerance_mm].sum()
    near += areas_back[distances_back <= tolerance_mm].sum()
    moved = (areas * distances).sum() + (areas_back * distances_back).sum()
    hd95 = max(_percentile(areas, distances), _percentile(areas_back, distances_back))
    return Surface(float(near / total), hd95, float(moved / total))


@dataclass(frozen=True)
class _Elements:
    """Surface elements of one mask.

    Args:
        places: `[n, axes]` grid corners, int32.
        keys: `[n]` one number for each place.
        areas: `[n]` mm², or lengths in mm.
    """

    places: np.ndarray
    keys: np.ndarray
    areas: np.ndarray


def _elements(mask: np.ndarray, spacing_mm: tuple[float, ...], order: np.ndarray) -> _Elements:
    """Elements of a mask, beyond whose edge all is outside; visited along the axes in `order`."""
    view = mask.transpose(order)
    rows, across = view.shape[0] + 1, tuple(n + 1 for n in view.shape[1:])
    step = max(1, _BLOCK // math.prod(across))
    keys, codes = [], []
    for start in range(0, rows, step):
        found = _codes(view, start, min(start + step, rows)).ravel()
        # Neither 0 nor all ones; taking one turns 0 into the largest number.
        inside = np.flatnonzero(found - np.uint8(1) < (1 << (1 << mask.ndim)) - 2)
        codes.append(found[inside])
        keys.append(inside + start * math.prod(across))
    key = np.concatenate(keys)
    places = np.stack(np.unravel_index(key, (rows, *across)), axis=1).astype(np.int32)
    areas = _areas(tuple(spacing_mm[axis] for axis in order))[np.concatenate(codes)]
    return _Elements(places[:, np.argsort(order)], key, areas)


def _codes(mask: np.ndarray, start: int, stop: int) -> np.ndarray:
    """`[stop − start, …]` codes of the corners in these rows; corner n lies before voxel n."""
    first, last = max(start - 1, 0), min(stop, mask.shape[0])
    padded = np.zeros((stop - start + 1, *(n + 2 for n in mask.shape[1:])), dtype=np.uint8)
    inner = (slice(1, -1),) * (mask.ndim - 1)
    padded[(slice(first - start + 1, last - start + 1), *inner)] = mask[first:last]
    for axis in range(mask.ndim):
        ahead = (slice(None),) * (mask.ndim - 1 - axis)
        left, right = padded[(*ahead, slice(None, -1))], padded[(*ahead, slice(1, None))]
        padded = left << np.uint8(1 << axis) | right
    return padded


@lru_cache(maxsize=64)
def _areas(spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Area of each code in mm²; of a 2D code, length in mm."""
    if len(spacing_mm) == 2:
        down, right = spacing_mm
        corner = math.hypot(down, right) / 2
        lengths = {0b0011: right, 0b0101: down, 0b0110: 2 * corner, 0: 0.0}
        half = [lengths.get(code, corner) for code in range(8)]
        return np.array(half + half[::-1])
    faces = np.prod(spacing_mm) / np.array(spacing_mm)
    weights = np.linalg.norm(np.array(_DIRECTIONS) * faces, axis=1) / 8
    return _table() @ weights


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """`[256, 7]` area in eighths by code and direction."""
    table = np.zeros((256, len(_DIRECTIONS)))
    for code, eighths in _CASES.items():
        bits = np.array([code >> (7 - bit) & 1 for bit in range(8)]).reshape(2, 2, 2)
        for axes in itertools.permutations(range(3)):
            turned = [tuple(direction[axis] for axis in axes) for direction in _DIRECTIONS]
            row = np.zeros(len(_DIRECTIONS))
            row[[_DIRECTIONS.index(direction) for direction in turned]] = eighths
            for signs in itertools.product((1, -1), repeat=3):
                mirrored = bits.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
                same = int("".join(map(str, mirrored.ravel())), 2)
                table[[same, 255 - same]] = row
    return table


def _sorted(
    elements: _Elements, others: _Elements, spacing_mm: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Areas of elements and their distances to the nearest of the others, by distance."""
    distances = np.zeros(len(elements.keys))
    # Where surfaces coincide there is nothing to look up.
    position = np.searchsorted(others.keys, elements.keys)
    position[position == len(others.keys)] = 0
    apart = np.flatnonzero(others.keys[position] != elements.keys)
    if len(apart):
        places = elements.places[apart]
        # From whole steps: coordinates' rounding must not move a distance over the tolerance.
        steps = (places - _nearest(places, others.places, spacing_mm)) * spacing_mm
        distances[apart] = np.sqrt((steps * steps).sum(axis=1))
    order = np.lexsort((elements.areas, distances))
    return elements.areas[order], distances[order]


def _nearest(places: np.ndarray, others: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """`[n, axes]` the nearest of the others to each place."""
    box = np.maximum(places.max(axis=0), others.max(axis=0)) + 1
    if len(places) > max(_MANY, math.prod(box.tolist()) // _DENSE):
        free = np.ones(box, dtype=bool)
        free[tuple(others.T)] = False
        found = distance_transform_edt(
            free, sampling=spacing_mm, return_distances=False, return_indices=True
        )
        return np.asarray(found[(slice(None), *places.T)].T)
    tree = cKDTree(others * spacing_mm, balanced_tree=False, compact_nodes=False)
    return np.asarray(others[tree.query(places * spacing_mm)[1]])


def _percentile(areas: np.ndarray, distances: np.ndarray) -> float:
    """Distance that this share of the area does not exceed."""
    shares = np.cumsum(areas) / areas.sum()
    index = int(np.searchsorted(shares, _PERCENT / 100))
    return float(distances[min(index, len(distances) - 1)])


def _box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box that holds the mask."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(hit):
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)
