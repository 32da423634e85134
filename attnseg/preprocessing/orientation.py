"""Voxel axes brought to right–anterior–superior order and back: views, no copies."""

from dataclasses import dataclass

import numpy as np

from attnseg.images import Geometry


@dataclass(frozen=True)
class AxisOrder:
    """How stored axes I, J, K become R, A, S.

    Args:
        permutation: for R, A, S in turn, the stored axis that runs along it.
        flips: for R, A, S in turn, whether that axis runs the other way.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> "AxisOrder":
        """The order that brings `geometry` to RAS."""
        (r, a, s), (fr, fa, fs) = zip(*geometry.ras_axes, strict=True)
        return cls((r, a, s), (fr < 0, fa < 0, fs < 0))

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Stored `[..., I, J, K]` → `[..., R, A, S]`, as a view."""
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + axis for axis in self.permutation))
        return np.flip(moved, self._flipped(moved.shape))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """`[..., R, A, S]` → stored `[..., I, J, K]`, as a view."""
        lead = array.ndim - 3
        unflipped = np.flip(array, self._flipped(array.shape))
        return unflipped.transpose(
            *range(lead), *(lead + int(axis) for axis in np.argsort(self.permutation))
        )

    def grid(self, geometry: Geometry) -> Geometry:
        """The grid of what `apply` gives: the same places in mm, voxels counted along R, A, S."""
        shape = self.permute(geometry.shape)
        affine = geometry.affine[:, [*self.permutation, 3]]
        for axis, flip in enumerate(self.flips):
            if flip:
                affine[:, 3] += (shape[axis] - 1) * affine[:, axis]
                affine[:, axis] *= -1
        return Geometry(shape, affine)

    def _flipped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        lead = len(shape) - 3
        # A single voxel has no direction, and torch refuses the negative stride it would get.
        return tuple(
            lead + axis for axis, flip in enumerate(self.flips) if flip and shape[lead + axis] > 1
        )

    def permute(self, values: tuple) -> tuple:
        """Per-axis numbers (shape, spacing) in R, A, S order."""
        return tuple(values[axis] for axis in self.permutation)
