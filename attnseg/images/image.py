"""One scan or one mask in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.images.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Image:
    """An array with its place in the world.

    Args:
        array: `[C, I, J, K]`, channel first; float32 for scans, an integer type for labels.
        geometry: shape, affine and spacing of the voxel grid.
        header: the source file's own header bytes, so that a mask can be written beside the scan
            with the very same geometry fields; None for images made in memory.
        path: where it was read from; None for images made in memory.
    """

    array: np.ndarray
    geometry: Geometry
    header: bytes | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        assert self.array.shape[1:] == self.geometry.shape, (self.array.shape, self.geometry.shape)

    @property
    def name(self) -> str:
        """File name without folder and without `.nii` or `.nii.gz`."""
        return strip_suffix(self.path.name) if self.path else "image"


def strip_suffix(name: str) -> str:
    """`case_01.nii.gz` → `case_01`."""
    return name.removesuffix(".gz").removesuffix(".nii")


def smallest_integer_type(values: tuple[int, ...]) -> np.dtype:
    """Smallest integer type that holds all values; unsigned where none is negative."""
    low, high = min(values, default=0), max(values, default=0)
    kinds = (
        (np.int8, np.int16, np.int32, np.int64)
        if low < 0
        else (np.uint8, np.uint16, np.uint32, np.uint64)
    )
    for kind in kinds:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise AssertionError(f"no integer type holds {low}..{high}")
