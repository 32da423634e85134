"""Which slices of a volume to show, and how to turn them for the eye.

Display follows the radiological convention: the patient's right is on the viewer's left, up is
anterior (axial) or superior (coronal, sagittal), and sagittal slices look to the left. Every
display axis therefore runs from the positive to the negative end of its RAS+ world axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnseg.images import Geometry, Image, is_picture

# Name, world axis across the slice, world axis of the rows, world axis of the columns.
_PLANES = (("axial", 2, 1, 0), ("coronal", 1, 2, 0), ("sagittal", 0, 2, 1))
_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))  # positive end, negative end

_CT_BELOW = -500.0  # only CT (in HU) holds values like this: air
_CT_WINDOW = (-160.0, 240.0)  # the usual soft-tissue window, in HU
_MAX_SAMPLES = 1_000_000

SURROUNDINGS = 12  # voxels around the labels of a slice at least, so that one knows where one is


@dataclass(frozen=True)
class Plane:
    """One slice of a voxel grid and how it is turned for display.

    Args:
        name: "axial", "coronal" or "sagittal".
        across: voxel axis that the slice cuts.
        index: slice number along that axis, in the array's own order.
        flip_rows, flip_columns: whether the voxel axis runs against the display axis.
        transpose: whether the columns come before the rows in the array.
        spacing_mm: between rows, between columns.
        letters: patient directions at the left, right, top and bottom edge; empty for a picture.
        unit: of `spacing_mm` as shown: mm, or px for a picture, whose pixels have no known size.
    """

    name: str
    across: int
    index: int
    flip_rows: bool
    flip_columns: bool
    transpose: bool
    spacing_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    unit: str = "mm"

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """`[I, J, K]` on the plane's grid → `[rows, columns]` as displayed, first row on top."""
        section = volume.take(self.index, axis=self.across)
        if self.transpose:
            section = section.T
        return section[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def size_mm(self, volume: np.ndarray) -> tuple[float, float]:
        """Height and width in mm of the slice of `[I, J, K]` as displayed."""
        return self.extent_mm(self.cut(volume))

    def extent_mm(self, section: np.ndarray) -> tuple[float, float]:
        """Height and width in mm of `[rows, columns]` of a slice, or of a part of it."""
        rows, columns = section.shape
        return rows * self.spacing_mm[0], columns * self.spacing_mm[1]


def display_planes(image: Image, labels: np.ndarray) -> tuple[Plane, ...]:
    """The axial, coronal and sagittal slice with the largest labelled area.

    Oblique grids are shown along their nearest world axes. Planes seen edge-on, as of a scan that
    is a single slice, are left out.

    Args:
        image: the scan; only its geometry is used, and whether it is a picture.
        labels: `[I, J, K]`; where all are 0 the middle slices are taken.
    """
    assert labels.shape == image.geometry.shape, (labels.shape, image.geometry.shape)
    planes = tuple(
        _plane(name, image.geometry, labels, across=across, rows=rows, columns=columns)
        for name, across, rows, columns in _PLANES
    )
    flat = tuple(plane for plane in planes if min(plane.cut(labels).shape) > 1) or planes[:1]
    if image.path is not None and is_picture(image.path):
        return tuple(replace(plane, name="", letters=("",) * 4, unit="px") for plane in flat)
    return flat


def fullest_slice(labels: np.ndarray, axis: int) -> int:
    """The slice along `axis` that shows most of all labels, small ones as much as large ones.

    Each label counts by its area in the slice, in that of its own largest slice. Without labels it
    is the middle one.

    Args:
        labels: `[I, J, K]`, 0 is background.
        axis: which of them.
    """
    areas: dict[int, np.ndarray] = {}
    for index in range(labels.shape[axis]):
        section = labels.take(index, axis=axis)
        found = np.unique(section[section != 0], return_counts=True)
        for value, count in zip(*(each.tolist() for each in found), strict=True):
            areas.setdefault(value, np.zeros(labels.shape[axis]))[index] = count
    if not areas:
        return labels.shape[axis] // 2
    return int(np.argmax(sum(area / area.max() for area in areas.values())))


def labelled_region(
    labels: np.ndarray, spacing_mm: Sequence[float], *, least: int = 0
) -> tuple[slice, ...]:
    """The part of a volume or of a slice worth looking at: the labels and a margin around them.

    The margin is a third of the longest side of the labelled box, in mm the same on every side, so
    that small structures are seen in their surroundings. Without labels it is the whole grid.

    Args:
        labels: `[I, J, K]`, or `[rows, columns]`.
        spacing_mm: along each axis.
        least: voxels of the smallest margin.
    """
    bounds = []
    for axis in range(labels.ndim):
        found = np.flatnonzero(_labelled_area(labels, axis))
        if len(found) == 0:
            return (slice(None),) * labels.ndim
        bounds.append((int(found[0]), int(found[-1]) + 1))
    sides = [(stop - start) * mm for (start, stop), mm in zip(bounds, spacing_mm, strict=True)]
    margin_mm = max(max(sides) / 3, least * min(spacing_mm))
    margins = [math.ceil(margin_mm / mm) for mm in spacing_mm]
    return tuple(
        slice(max(0, start - margin), stop + margin)
        for (start, stop), margin in zip(bounds, margins, strict=True)
    )


def crop(image: Image, region: tuple[slice, ...]) -> Image:
    """The part of the image inside `region`, at its own place in the world."""
    array = image.array[(slice(None), *region)]
    start = [part.indices(n)[0] for part, n in zip(region, image.geometry.shape, strict=True)]
    affine = image.geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    i, j, k = array.shape[1:]
    return Image(array, Geometry((i, j, k), affine), path=image.path)


def window_of(array: np.ndarray) -> tuple[float, float]:
    """Intensities shown as black and as white.

    CT, known by air below -500 HU, gets the soft-tissue window -160..240 HU; everything else its
    1st and 99th percentile, taken over about a million voxels where there are more.

    Args:
        array: one channel of a scan, any shape; values that are not finite are ignored.
    """
    # The step is odd, so that it does not keep meeting the same columns of an even-sized grid.
    sample = array.ravel(order="K")[:: (array.size // _MAX_SAMPLES) | 1]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    if sample.min() < _CT_BELOW:
        return _CT_WINDOW
    low, high = (float(value) for value in np.percentile(sample, (1, 99)))
    if low == high:
        low, high = float(sample.min()), float(sample.max())
    return (low, high) if low < high else (low, low + 1.0)


def _plane(
    name: str, geometry: Geometry, labels: np.ndarray, *, across: int, rows: int, columns: int
) -> Plane:
    """Plane that cuts the world axis `across` and shows the world axes `rows` and `columns`."""
    voxel_axis, sign = zip(*geometry.ras_axes, strict=True)
    area = _labelled_area(labels, voxel_axis[across])
    return Plane(
        name=name,
        across=voxel_axis[across],
        index=int(np.argmax(area)) if area.any() else len(area) // 2,
        flip_rows=sign[rows] > 0,
        flip_columns=sign[columns] > 0,
        transpose=voxel_axis[columns] < voxel_axis[rows],
        spacing_mm=(
            geometry.spacing_mm[voxel_axis[rows]],
            geometry.spacing_mm[voxel_axis[columns]],
        ),
        letters=_LETTERS[columns] + _LETTERS[rows],
    )


def _labelled_area(labels: np.ndarray, axis: int) -> np.ndarray:
    """Labelled voxels in each slice along `axis`."""
    others = tuple(n for n in range(labels.ndim) if n != axis)
    return np.count_nonzero(labels, axis=others)
