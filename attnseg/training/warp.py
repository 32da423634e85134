"""Random maps of a patch into its volume: rotation, scale and elastic deformation in one step.

A patch is resampled once, straight from the part of the volume it shows, so that nothing that lies
in the volume is missing at its corners and nothing is computed that is cut off afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from attnseg.config import AugmentationConfig
from attnseg.preprocessing.resampling import apply_along

# Axes this much coarser than the finest are left as they are: to interpolate across them would
# invent anatomy between slices.
_COARSE = 3.0
# Cells of the elastic deformation along the longest side of a patch.
_CELLS = 4
# Largest shift of a control point, in cells; beyond it a cubic B-spline can fold (Choi, Lee 2000).
_LARGEST_SHIFT = 0.4


def fine_axes(patch: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Axes along which patches are turned, scaled, deformed, blurred and made coarser.

    Left out are those that are one voxel thick, and those whose spacing is three times the finest
    or more.
    """
    extended = [axis for axis, n in enumerate(patch) if n > 1]
    finest = min((spacing_mm[axis] for axis in extended), default=0.0)
    return tuple(axis for axis in extended if spacing_mm[axis] < _COARSE * finest)


@dataclass(frozen=True)
class Warp:
    """Where the voxels of a patch come from: x(i) = middle + M · (i − (patch − 1)/2 + d(i)).

    Args:
        patch: its size, voxels.
        matrix: M, `[3, 3]`, from voxels to voxels.
        shifts: `[3, *k]` voxels, the control points of the cubic B-spline d; None: no deformation.
    """

    patch: tuple[int, int, int]
    matrix: np.ndarray
    shifts: np.ndarray | None = None

    def reach(self) -> np.ndarray:
        """`[3]` voxels: how far from the middle the patch looks at most along each axis."""
        half = (np.array(self.patch) - 1) / 2
        if self.shifts is not None:
            half = half + np.abs(self.shifts).max(axis=(1, 2, 3))
        return np.abs(self.matrix) @ half

    def coordinates(self, middle: Sequence[float], *, device: torch.device) -> Tensor:
        """`[*patch, 3]`: x(i) in a volume where the patch's middle is at voxel `middle`.

        The last axis holds S, A, R, the order in which `grid_sample` and OpenCV take coordinates.
        """
        matrix = torch.tensor(self.matrix[::-1].copy(), dtype=torch.float32, device=device)
        x = torch.tensor(tuple(middle)[::-1], dtype=torch.float32, device=device)
        for axis, n in enumerate(self.patch):
            steps = torch.arange(n, device=device) - (n - 1) / 2
            x = x + steps.reshape([-1 if a == axis else 1 for a in range(4)]) * matrix[:, axis]
        if self.shifts is not None:
            spline = torch.tensor(self.shifts, dtype=torch.float32, device=device)
            for axis, n in enumerate(self.patch):
                basis = torch.from_numpy(_spline_basis(n, spline.shape[axis + 1]))
                spline = apply_along(spline, basis.to(device), axis + 1)
            x = x + spline.movedim(0, -1) @ matrix.T
        return x


def draw_warp(
    settings: AugmentationConfig,
    patch: tuple[int, int, int],
    spacing_mm: Sequence[float],
    *,
    affine: np.random.Generator,
    elastic: np.random.Generator,
) -> Warp | None:
    """A random warp; None where neither kind is drawn.

    Rotations are rotations in millimetres, by up to `rotation_degrees` in each plane. Scale factors
    lie between 1/(1 + scale) and 1 + scale; three quarters of their logarithm is common to all
    axes. Deformations never fold.

    Args:
        settings: probabilities and magnitudes.
        patch: patch size, voxels.
        spacing_mm: of the volumes.
        affine: stream of the draws of rotation and scale.
        elastic: stream of the draws of the deformation.
    """
    axes = fine_axes(patch, spacing_mm)
    matrix = np.eye(3)
    if affine.random() < settings.spatial_probability:
        matrix = _draw_affine(settings, axes, np.array(spacing_mm), affine)
    shifts = None
    if elastic.random() < settings.elastic_probability:
        shifts = _draw_shifts(patch, axes, np.array(spacing_mm), elastic)
    if shifts is None and np.array_equal(matrix, np.eye(3)):
        return None
    return Warp(patch, matrix, shifts)


def resample(image: Tensor, label: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Image (linear) and label (nearest) in step, zeros beyond the crop.

    Args:
        image: `[C, *S]` float32.
        label: `[1, *S]` integers.
        coordinates: `[*patch, 3]`, voxels of the crop, from `Warp.coordinates`.

    Returns:
        `[C, *patch]` and `[1, *patch]`, float32 both.
    """
    size = torch.tensor(image.shape[:0:-1], device=image.device)
    grid = (coordinates * (2 / size) + (1 / size - 1))[None]
    sampled = F.grid_sample(image[None], grid, align_corners=False)[0]
    nearest = F.grid_sample(label[None].float(), grid, mode="nearest", align_corners=False)[0]
    return sampled, nearest


def _draw_affine(
    settings: AugmentationConfig,
    axes: tuple[int, ...],
    spacing_mm: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    rotation = np.eye(3)
    for a, b in combinations(axes, 2):
        angle = np.deg2rad(generator.uniform(-1, 1) * settings.rotation_degrees)
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    logarithms = np.zeros(3)
    common = generator.uniform(-1, 1)
    for axis in axes:
        logarithms[axis] = 0.75 * common + 0.25 * generator.uniform(-1, 1)
    factors = (1 + settings.scale) ** logarithms
    return rotation * spacing_mm / spacing_mm[:, None] * factors


def _draw_shifts(
    patch: tuple[int, int, int],
    axes: tuple[int, ...],
    spacing_mm: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray | None:
    """Control points a quarter of the patch's longest side apart, along all its fine axes."""
    if not axes:
        return None
    sides = np.array(patch) * spacing_mm
    cell_mm = max(sides[axis] for axis in axes) / _CELLS
    cells = {axis: max(1, round(sides[axis] / cell_mm)) for axis in axes}
    knots = tuple(cells[axis] + 3 if axis in cells else 1 for axis in range(3))
    shifts = np.zeros((3, *knots))
    for axis in axes:
        largest = _LARGEST_SHIFT * patch[axis] / cells[axis]
        shifts[axis] = generator.uniform(-largest, largest, knots)
    return shifts


@lru_cache(maxsize=16)
def _spline_basis(n: int, knots: int) -> np.ndarray:
    """`[n, knots]`: the weights of a uniform cubic B-spline's control points at n voxels."""
    if knots == 1:
        return np.ones((n, 1), dtype=np.float32)
    cells = knots - 3
    position = (np.arange(n) + 0.5) / n * cells
    cell = np.minimum(position.astype(int), cells - 1)
    t = position - cell
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    basis = np.zeros((n, knots), dtype=np.float32)
    for offset, weight in enumerate(weights):
        basis[np.arange(n), cell + offset] = weight / 6
    return basis
