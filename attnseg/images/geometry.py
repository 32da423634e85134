"""Where voxels lie: shape, affine, spacing and orientation of a scan.

Conventions: arrays are `[C, I, J, K]`; the affine takes voxel indices (i, j, k) to millimetres in
RAS+ (x grows to the patient's right, y to the front, z to the head), as nibabel does.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from attnseg.errors import DataError

# Axes further off right angles than this are real shear, as of a tilted gantry; less is what
# rounding in headers and registration leave. The network then sees anatomy askew by 1.7 % at most;
# the mask lies exactly on the scan all the same, for its affine is carried.
MAX_SHEAR_DEGREES = 1.0
# Askew by less than this is what float32 in a header does to any oblique scan: not told.
TOLD_SHEAR_DEGREES = 0.05
# Of a spacing; atoms are a tenth of a nanometre apart.
_SMALLEST_MM = 1e-7
# Determinant of three directions that lie in a plane but for rounding.
_FLAT = 1e-6
# What is told of a spacing that a single slice does not need.
SINGLE_STEP = "its header gives no spacing along an axis of one voxel; 1 mm is taken"
# Axis letters by world axis, (negative end, positive end).
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Geometry:
    """Shape and place of a scan's voxel grid.

    Args:
        shape: number of voxels (I, J, K).
        affine: `[4, 4]` voxel index → mm, RAS+; kept as given, never rebuilt.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        assert len(self.shape) == 3, self.shape
        assert affine.shape == (4, 4), affine.shape

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along I, J, K in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³, shear and all: the determinant of the affine's directions."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def shear_degrees(self) -> float:
        """How far the angle between two of the axes is off 90°, at most."""
        directions = self.affine[:3, :3] / np.array(self.spacing_mm)
        cosines = (directions.T @ directions)[np.triu_indices(3, k=1)]
        return float(np.degrees(np.arcsin(np.clip(np.abs(cosines), 0, 1).max())))

    @cached_property
    def directions(self) -> np.ndarray:
        """`[3, 3]` orthonormal directions of I, J, K in RAS+: those of the affine, or the nearest.

        The nearest is the orthogonal factor of the polar decomposition (Higham 1986), by SVD; it
        may mirror.
        """
        u, _, vt = np.linalg.svd(self.affine[:3, :3] / np.array(self.spacing_mm))
        nearest: np.ndarray = u @ vt
        return nearest

    @cached_property
    def closest_axes(self) -> tuple[tuple[int, int], ...]:
        """For each voxel axis the world axis (0, 1, 2) it runs along and its sign.

        Their orthonormal `directions` decide, not the sheared ones; the largest entries are
        assigned greedily, each world axis once: the rule of nibabel's `io_orientation`.
        """
        rotation = self.directions
        axes = [(0, 1)] * 3
        free = np.abs(rotation)
        for _ in range(3):
            world, voxel = np.unravel_index(np.argmax(free), free.shape)
            axes[voxel] = (int(world), 1 if rotation[world, voxel] > 0 else -1)
            free[world, :] = -1
            free[:, voxel] = -1
        return tuple(axes)

    @property
    def ras_axes(self) -> tuple[tuple[int, int], ...]:
        """For right, front, up in turn the voxel axis along it, and its sign."""
        found = {world: (axis, sign) for axis, (world, sign) in enumerate(self.closest_axes)}
        return tuple(found[world] for world in range(3))

    @property
    def orientation(self) -> str:
        """Where I, J, K point, as three letters: "RAS" when they run right, front, up."""
        return "".join(_LETTERS[world][sign > 0] for world, sign in self.closest_axes)

    def distance_mm(self, other: "Geometry") -> float:
        """Largest distance in mm between corners of this grid placed by either affine."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
        moved = (self.affine - other.affine) @ homogeneous
        return float(np.linalg.norm(moved[:3], axis=0).max())

    def matches(self, other: "Geometry", *, tolerance_mm: float | None = None) -> bool:
        """Whether both grids have the same shape and no voxel is further off than the tolerance.

        Args:
            other: the grid to compare with.
            tolerance_mm: default a tenth of the smallest spacing.
        """
        if tolerance_mm is None:
            tolerance_mm = 0.1 * min(self.spacing_mm)
        return self.shape == other.shape and self.distance_mm(other) <= tolerance_mm


def checked_geometry(
    path: Path, shape: tuple[int, int, int], affine: np.ndarray, *, remedy: str
) -> Geometry:
    """The grid that a header describes.

    Args:
        path: named in the error.
        shape: number of voxels (I, J, K).
        affine: `[4, 4]` voxel index → mm, RAS+; anything at all.
        remedy: what to do where it is unusable.

    Raises:
        DataError: a spacing that is zero, a spacing or an origin that is not a number or beyond all
            measure, axes that span no volume.
    """
    usable = np.isfinite(affine).all() and np.abs(affine).max() < 1e9
    with np.errstate(all="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # Of the directions alone, since the voxels of a microscope are far below a millimetre.
        spread = abs(np.linalg.det(affine[:3, :3] / spacing))
    if not usable or spacing.min() < _SMALLEST_MM or not spread > _FLAT:
        spacings = " × ".join(f"{step:.3g}" for step in spacing)
        origin = ", ".join(f"{place:.3g}" for place in affine[:3, 3])
        raise DataError(
            f"{path}: the affine has a zero, undefined or absurd spacing or origin, or axes in one "
            f"plane (spacings {spacings} mm, origin {origin} mm); {remedy}"
        )
    return Geometry(shape, affine)


def with_single_steps(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The affine with 1 mm, square to the other axes, for steps of zero that no voxel takes.

    Args:
        affine: `[4, 4]` voxel index → mm; anything at all.
        shape: number of voxels (I, J, K); of an axis with a single one the step is never taken.

    Returns:
        The affine itself where no such axis has a step of zero.
    """
    lost = [axis for axis in range(3) if shape[axis] == 1 and not affine[:3, axis].any()]
    if not lost or not np.isfinite(affine).all():
        return affine
    found = affine.copy()
    with np.errstate(all="ignore"):  # `checked_geometry` refuses what comes of nonsense
        for axis in lost[:-1]:  # of a row or a single voxel: the world's axis that is most square
            basis = np.linalg.qr(found[:3, :3][:, found[:3, :3].any(axis=0)])[0]
            square = np.eye(3) - basis @ basis.T
            step = square[:, np.argmax(np.linalg.norm(square, axis=0))]
            found[:3, axis] = step / np.linalg.norm(step)
        axis = lost[-1]
        step = np.cross(found[:3, (axis + 1) % 3], found[:3, (axis + 2) % 3])
        found[:3, axis] = step / np.linalg.norm(step)
    return found


def shear_notes(geometry: Geometry) -> tuple[str, ...]:
    """What is told of axes that are a little off right angles; nothing of those refused."""
    shear = geometry.shear_degrees
    if not TOLD_SHEAR_DEGREES < shear <= MAX_SHEAR_DEGREES:
        return ()
    return (f"axes {shear:.2g}° off right angles; taken as straight",)
