"""Probabilities of every class on the scan's grid, without ever holding all of them.

They arrive row by row and leave class by class, as NIfTI wants them. In between they lie in a file
beside the result, as 16-bit numbers: memory stays at some rows, later at one class.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from attnseg.disk import allocate
from attnseg.files import ROWS, temporary_path
from attnseg.images import Image, write_volumes
from attnseg.inference.windows import Plane
from attnseg.preprocessing import Grid

# Stored as whole numbers of this many steps from 0 to 1.
STEPS = 65535


class ProbabilityFile:
    """Takes rows in any order; made by `row_file`."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path, self._shape = path, shape

    def put(self, start: int, plane: Plane, values: np.ndarray) -> None:
        """Rows from `start` on of a part of the plane: `[K, rows, A, S]`, 0 to 1."""
        # Opened anew each time: pages of a mapping that stays would count as memory in use.
        stored = np.memmap(self._path, np.uint16, "r+", shape=self._shape)
        stored[:, start : start + values.shape[1], *plane] = np.rint(values * STEPS)

    def stored(self) -> np.ndarray:
        """What was put in so far, `[K, R, A, S]` uint16, read from the file as it is looked at."""
        return np.memmap(self._path, np.uint16, "r", shape=self._shape)

    def volumes(self) -> Iterator[np.ndarray]:
        """One class after the other, `[R, A, S]`."""
        for index in range(self._shape[0]):
            yield np.array(np.memmap(self._path, np.uint16, "r", shape=self._shape)[index])


def row_bytes(shape: Sequence[int], count: int) -> int:
    """That the rows of so many volumes take on the disk."""
    return math.prod(shape) * count * 2


@contextmanager
def row_file(path: Path, grid: Grid, count: int) -> Iterator[ProbabilityFile]:
    """Room for rows beside `path`, on the disk; gone when the block has ended.

    Args:
        path: of the result.
        grid: of the scan.
        count: volumes.

    Raises:
        DiskFullError: the disk has no room for them.
    """
    shape = (count, *grid.source_shape)
    with temporary_path(path.with_name(f"{path.name}{ROWS}")) as rows:
        allocate(rows, row_bytes(grid.source_shape, count))
        yield ProbabilityFile(rows, shape)


@contextmanager
def probability_file(
    path: Path, grid: Grid, classes: int, *, like: Image
) -> Iterator[ProbabilityFile]:
    """A 4D NIfTI of probabilities, `[I, J, K, classes]`, that is there when the block has ended.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        grid: of the scan.
        classes: outputs of the model.
        like: the scan whose geometry it takes.
    """
    with row_file(path, grid, classes) as file:
        yield file
        volumes = (grid.axes.undo(volume) for volume in file.volumes())
        write_volumes(
            path, volumes, count=classes, like=like, dtype=np.dtype(np.uint16), slope=1 / STEPS
        )
