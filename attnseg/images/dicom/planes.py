"""Where single frames lie: DICOM's position, orientation and spacing as an affine, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydicom import Dataset

from attnseg.images.dicom.attributes import group_item, numbers
from attnseg.images.geometry import Geometry

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# In voxels: what rounding in decimal strings may move a frame by, and no more.
TOLERANCE = 0.1
# More slices than any scanner makes: a header that claims them is damaged.
MAX_SLICES = 5_000


class Misplaced(Exception):
    """A frame that is not one of the grid's own planes; its text says in what way."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame's place: pixel (column i, row j) → mm, RAS+.

    Args:
        affine: `[4, 4]`; its columns are the step to the next column, the step to the next row,
            the unit normal of both, and the centre of the first pixel (PS3.3 C.7.6.2.1.1).
        shape: (columns, rows): the frame's array is `[I, J]`, transposed from DICOM's.
    """

    affine: np.ndarray
    shape: tuple[int, int]

    @property
    def position_mm(self) -> np.ndarray:
        """Image Position (Patient): LPS."""
        return LPS_TO_RAS @ self.affine[:3, 3]

    @property
    def orientation(self) -> np.ndarray:
        """Image Orientation (Patient): LPS, two unit vectors."""
        steps = LPS_TO_RAS @ self.affine[:3, :2]
        return (steps / np.linalg.norm(steps, axis=0)).T.ravel()

    @cached_property
    def spacing_mm(self) -> tuple[float, float]:
        """Pixel Spacing: between rows, between columns."""
        column, row = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(row), float(column)


def plane(position: Any, orientation: Any, pixel_spacing: Any, *, shape: tuple[int, int]) -> Plane:
    """A frame's place from its attributes.

    Args:
        position: Image Position (Patient).
        orientation: Image Orientation (Patient).
        pixel_spacing: Pixel Spacing, between rows first.
        shape: (columns, rows).

    Raises:
        ValueError: a number that is missing or absurd.
    """
    origin = numbers(position, 3, what="Image Position (Patient)")
    directions = numbers(orientation, 6, what="Image Orientation (Patient)").reshape(2, 3)
    spacing = numbers(pixel_spacing, 2, what="Pixel Spacing")
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(directions[0] @ directions[1]) > 0.01:
        raise ValueError(f"Image Orientation (Patient) {list(orientation)} is no pair of axes")
    if not 1e-6 < spacing.min() <= spacing.max() < 1e6 or np.abs(origin).max() > 1e6:
        raise ValueError(f"Pixel Spacing {list(spacing)} or position {list(origin)} is absurd")
    if min(shape) < 1:
        raise ValueError(f"{shape[0]} columns and {shape[1]} rows")
    affine = np.eye(4)
    normal = np.cross(directions[0], directions[1])
    columns = [directions[0] * spacing[1], directions[1] * spacing[0], normal, origin]
    affine[:3] = LPS_TO_RAS @ np.stack(columns, axis=1)
    return Plane(affine, shape)


def frame_planes(dataset: Dataset) -> list[Plane]:
    """Places of the frames of an image, classic or multi-frame, in its own order.

    Raises:
        ValueError: a place that is missing or absurd.
    """
    shape = (int(dataset.Columns), int(dataset.Rows))
    frames = int(dataset.get("NumberOfFrames") or 1)
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if not groups and frames == 1 and "ImagePositionPatient" in dataset:
        position, orientation = dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        return [plane(position, orientation, dataset.PixelSpacing, shape=shape)]
    # Before they are counted through: a damaged header may claim any number.
    if frames != len(groups):
        raise ValueError(f"{frames} frames, and places of {len(groups)}")
    planes = []
    for frame in range(frames):
        position = group_item(dataset, frame, "PlanePositionSequence")
        orientation = group_item(dataset, frame, "PlaneOrientationSequence")
        measures = group_item(dataset, frame, "PixelMeasuresSequence")
        if position is None or orientation is None or measures is None:
            raise ValueError(f"frame {frame + 1} has no position, orientation or pixel spacing")
        planes.append(
            plane(
                position.ImagePositionPatient,
                orientation.ImageOrientationPatient,
                measures.PixelSpacing,
                shape=shape,
            )
        )
    return planes


def grid_of(planes: Sequence[Plane], spacings: Sequence[float]) -> Geometry:
    """The grid that planes lie on: I along columns, J along rows, K along their normal.

    Slices between them that are not there are part of the grid. The step from slice to slice is
    taken from the positions, a gantry's tilt included.

    Args:
        planes: in any order; several may lie in the same place.
        spacings: between slices in mm, most trusted first; the first of them that all positions
            are multiples of holds.

    Raises:
        Misplaced: planes that are not parallel or not evenly spaced.
    """
    first = planes[0]
    moved = np.array([each.affine for each in planes])
    turned = np.abs(moved[:, :3, :2] - first.affine[:3, :2]).max() * max(first.shape)
    if turned > TOLERANCE * min(first.spacing_mm):
        raise Misplaced("its frames are not parallel, or of several pixel spacings")
    heights = (moved[:, :3, 3] - first.affine[:3, 3]) @ first.affine[:3, 2]
    order = np.argsort(heights, kind="stable")
    low, high = planes[order[0]], planes[order[-1]]
    heights = heights - heights[order[0]]
    extent = heights.max()
    gaps = np.diff(np.sort(heights))
    step = first.affine[:3, 2]
    if extent < 1e-3:  # a single slice, as thick as it says
        spacing = next((each for each in spacings if each > 0), 1.0)
        slices = 1
        step = step * spacing
    else:
        smallest = float(gaps[gaps > 1e-3].min())
        for spacing in (*(each for each in spacings if each > 0), smallest):
            count = round(extent / spacing)
            if not 1 <= count < MAX_SLICES:
                continue
            # Spacing as the positions have it: decimal strings round it, and errors add up.
            step = (high.affine[:3, 3] - low.affine[:3, 3]) / count
            index = np.round(heights * count / extent)
            off = moved[:, :3, 3] - (low.affine[:3, 3] + index[:, None] * step)
            close = abs(extent / count - spacing) <= TOLERANCE * spacing
            if close and np.linalg.norm(off, axis=1).max() <= TOLERANCE * spacing:
                break
        else:
            raise Misplaced("its frames are not evenly spaced, nor slices of one even grid")
        slices = count + 1
    affine = low.affine.copy()
    affine[:3, 2] = step
    return Geometry((*first.shape, slices), affine)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a frame lies on a grid: voxel axis and slice, and the voxels of its columns and rows.

    Args:
        axis: the voxel axis across the frame.
        slice: the frame's index along it; may be outside the grid.
        columns: `[I]` voxel indices of the frame's columns along their own axis.
        rows: `[J]` the same of its rows.
        swapped: whether its rows run along the first of the two remaining voxel axes.
    """

    axis: int
    slice: int
    columns: np.ndarray
    rows: np.ndarray
    swapped: bool

    def inside(self, shape: tuple[int, int, int]) -> bool:
        """Whether all of the frame lies on a grid of that shape."""
        first, second = (n for axis, n in enumerate(shape) if axis != self.axis)
        wanted = (self.columns, self.rows, np.array([self.slice]))
        ends = (second, first) if self.swapped else (first, second)
        return all(
            index.min() >= 0 and index.max() < end
            for index, end in zip(wanted, (*ends, shape[self.axis]), strict=True)
        )

    def view(self, volume: np.ndarray) -> np.ndarray:
        """The volume's own slice `[columns' axis, rows' axis]`, to be read or written."""
        found = np.moveaxis(volume, self.axis, 0)[self.slice]
        return found.T if self.swapped else found

    def voxels(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """`[3, N]` voxel indices along I, J, K of the frame's pixels; they may be outside."""
        first, second = self.columns[columns], self.rows[rows]
        if self.swapped:
            first, second = second, first
        return np.insert(np.stack([first, second]), self.axis, self.slice, axis=0)

    def paint(self, volume: np.ndarray, pixels: np.ndarray) -> None:
        """The frame's pixels `[I, J]` into the volume; those outside it are left out."""
        if not 0 <= self.slice < volume.shape[self.axis]:
            return
        target = self.view(volume)
        columns = (self.columns >= 0) & (self.columns < target.shape[0])
        rows = (self.rows >= 0) & (self.rows < target.shape[1])
        cells = np.ix_(self.columns[columns], self.rows[rows])
        target[cells] = pixels[np.ix_(columns, rows)]


def placement(plane: Plane, geometry: Geometry) -> Placement:
    """Where a frame lies on a grid, each pixel on a voxel.

    Raises:
        Misplaced: a pixel that is a tenth of a voxel or more off every voxel's centre.
    """
    exact = np.linalg.inv(geometry.affine) @ plane.affine
    steps, origin = np.round(exact[:3, :2]).astype(int), np.round(exact[:3, 3])
    last = np.array(plane.shape) - 1
    corners = np.array([(i, j) for i in (0, last[0]) for j in (0, last[1])]).T
    off = (exact[:3, :2] - steps) @ corners + (exact[:3, 3] - origin)[:, None]
    along = [tuple(np.flatnonzero(steps[:, each])) for each in (0, 1)]
    straight = np.abs(steps).sum(axis=0).tolist() == [1, 1] and along[0] != along[1]
    if not straight or np.abs(off).max() > TOLERANCE or np.abs(origin).max() > 1e6:
        worst = f"{np.abs(off).max():.2f} voxels off" if straight else "of other spacing or axes"
        raise Misplaced(f"a frame is {worst}")
    (column,), (row,) = along
    columns, rows = (
        int(origin[axis]) + steps[axis, each] * np.arange(plane.shape[each])
        for each, axis in enumerate((column, row))
    )
    across = 3 - int(column) - int(row)
    return Placement(across, int(origin[across]), columns, rows, swapped=bool(column > row))
