"""The contours of one region on the slices of an image: which slice each belongs to, what is cut at
the image, what is left out, and the sentences that say so.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnseg.images.dicom.contours import filled
from attnseg.images.dicom.planes import TOLERANCE
from attnseg.images.geometry import Geometry

# Points are rounded to so many decimals of a voxel. What decimal strings and the order of storage
# do to them is less, so that a contour through a voxel's centre goes through it however the image
# is stored.
_DECIMALS = 4
# In pixels: a contour of less area may lie between the centres, and is tried.
_SMALL_AREA = 4.0


@dataclass(frozen=True, eq=False)
class PatientGrid:
    """A grid whose voxels are counted along the patient's left, back and head, whatever the order
    in which the image stores them.

    Args:
        shape: number of voxels along left, back and head.
        spacing_mm: the same of their distances.
        to_voxel: `[3, 4]` mm, LPS → voxel.
        axes: for left, back and head the stored axis along it.
        flips: whether that axis runs the other way.
    """

    shape: tuple[int, int, int]
    spacing_mm: np.ndarray
    to_voxel: np.ndarray
    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @classmethod
    def of(cls, geometry: Geometry) -> "PatientGrid":
        axes, signs = zip(*geometry.ras_axes, strict=True)
        towards_head = np.array([-1, -1, 1]) * signs
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [*axes, 3]]
        i, j, k = (geometry.shape[axis] for axis in axes)
        shape = (i, j, k)
        flips = tuple(bool(sign < 0) for sign in towards_head)
        for axis in np.flatnonzero(flips):
            affine[:, 3] += (shape[axis] - 1) * affine[:, axis]
            affine[:, axis] *= -1
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return cls(shape, spacing, np.linalg.inv(affine)[:3], axes, flips)

    def voxels_of(self, points: np.ndarray) -> np.ndarray:
        """`[N, 3]` points in mm, LPS, as voxel places."""
        return np.round(points @ self.to_voxel[:, :3].T + self.to_voxel[:, 3], _DECIMALS)

    def view(self, volume: np.ndarray) -> np.ndarray:
        """The volume's own voxels `[left, back, head]`, to be read or written."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return volume.transpose(self.axes)[steps]


@dataclass(frozen=True, eq=False)
class Placed:
    """A region's contours where they belong.

    Args:
        slices: index of the slice → contours `[N, 2]` in pixels.
        told: what was moved, cut or left out, a sentence each.
    """

    slices: dict[int, list[np.ndarray]]
    told: tuple[str, ...] = ()


def axis_across(contours: Sequence[np.ndarray]) -> int:
    """The axis of `PatientGrid` across which most contours lie flat; of equals, the flattest."""
    if not contours:
        return 2
    extents = np.array([np.ptp(each, axis=0) for each in contours])
    flat = (extents <= 2 * TOLERANCE).sum(axis=0)
    return int(np.lexsort((extents.sum(axis=0), -flat))[0])


def place_contours(contours: Sequence[np.ndarray], grid: PatientGrid, axis: int) -> Placed:
    """Each contour on its slice.

    A contour belongs to the slice that is nearest to it; half-way between two, to the one on the
    left, back or head side. Where a region has several planes of contours nearest to one slice,
    the nearest plane is taken, and of two planes equally near the one on that same side.

    Args:
        contours: `[N, 3]` of one region, in voxels of the grid.
        grid: of the image.
        axis: across the contours.
    """
    beyond: list[float] = []
    uneven: list[float] = []
    doubled: list[float] = []
    moved: list[float] = []
    by_slice: dict[int, list[tuple[float, np.ndarray]]] = defaultdict(list)
    for contour in contours:
        height = float(np.round(contour[:, axis].mean(), _DECIMALS))
        spread = float(np.abs(contour[:, axis] - height).max())
        index = int(np.floor(height + 0.5))
        if spread > TOLERANCE:
            uneven.append(spread)
        elif not 0 <= index < grid.shape[axis]:
            beyond.append(max(-height, height - (grid.shape[axis] - 1)))
        else:
            by_slice[index].append((height - index, np.delete(contour, axis, axis=1)))
    slices: dict[int, list[np.ndarray]] = {}
    copies = 0
    for index, found in by_slice.items():
        nearest = min((off for off, _ in found), key=lambda off: (round(abs(off), 3), -off))
        kept: dict[bytes, np.ndarray] = {}
        for off, pixels in found:
            if abs(off) > TOLERANCE and abs(off - nearest) > TOLERANCE:
                doubled.append(abs(off))
                continue
            if abs(off) > TOLERANCE:
                moved.append(abs(off))
            # By the even-odd rule a contour and its copy would be nothing.
            copies += pixels.tobytes() in kept
            kept[pixels.tobytes()] = pixels
        slices[index] = list(kept.values())
    total, step = len(contours), float(grid.spacing_mm[axis])
    told = [
        *_by_slices(beyond, total, step, "beyond the first or last slice of the image", "left out"),
        *_by_slices(uneven, total, step, "at an angle to the slices of the image", "left out"),
        *_by_slices(
            doubled, total, step, "between slices, on which the region has others", "left out"
        ),
        *_by_slices(
            moved,
            total,
            step,
            "between slices",
            "moved to the nearest slice",
        ),
        *sentence(copies, total, "drawn twice", "left out"),
        *_cut(slices, np.delete(grid.shape, axis), np.delete(grid.spacing_mm, axis), total),
    ]
    return Placed(slices, tuple(told))


def _by_slices(
    distances: Sequence[float], total: int, step_mm: float, where: str, outcome: str
) -> list[str]:
    most = max(distances, default=0.0)
    by = f"{where}, by up to {most * step_mm:.3g} mm ({most:.2g} slices)"
    return sentence(len(distances), total, by, outcome)


def sentence(count: int, total: int, where: str, outcome: str) -> list[str]:
    """What is told of some contours; nothing of none."""
    many = "contour is" if total == 1 else ("contours is" if count == 1 else "contours are")
    return [f"{count} of {total} {many} {where}: {outcome}"] if count else []


def _cut(
    slices: dict[int, list[np.ndarray]], shape: np.ndarray, spacing_mm: np.ndarray, total: int
) -> list[str]:
    """What is told of contours that the image's edges cut, or that hold no voxel's centre; those
    that lie outside altogether are taken out of `slices`."""
    cut_mm: list[float] = []
    outside_mm: list[float] = []
    small = 0
    for index, contours in list(slices.items()):
        kept = []
        for pixels in contours:
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            reach = np.maximum(-0.5 - low, high - (shape - 0.5))
            reach_mm = float((reach * spacing_mm).max())
            if ((high < -0.5) | (low > shape - 0.5)).any():
                outside_mm.append(reach_mm)
                continue
            if (reach > TOLERANCE).any():
                cut_mm.append(reach_mm)
            kept.append(pixels)
            small += _holds_nothing(pixels)
        slices[index] = kept
        if not kept:
            del slices[index]
    told = []
    for found, where, outcome in (
        (cut_mm, "partly outside the slices of the image", "cut there"),
        (outside_mm, "outside the slices of the image", "left out"),
    ):
        by = f"{where}, by up to {max(found, default=0):.4g} mm"
        told += sentence(len(found), total, by, outcome)
    return told + sentence(small, total, "so small that no voxel's centre is inside", "no voxel")


def _holds_nothing(pixels: np.ndarray) -> bool:
    """Whether a contour lies between the centres of the pixels."""
    low = np.floor(pixels.min(axis=0))
    x, y = (pixels - low).T
    if abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 >= _SMALL_AREA:
        return False
    size = (np.ceil(pixels.max(axis=0)) - low).astype(int) + 1
    # A long sliver has little area too, and a box that need not be filled to be known.
    if np.prod(size) > 10_000:
        return False
    return not filled([pixels - low], (int(size[0]), int(size[1]))).any()
