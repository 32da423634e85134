"""Copies of scans and masks: written, read back and compared, nothing overwritten unasked."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnseg.errors import DataError, UsageError
from attnseg.files import atomic_path
from attnseg.images import (
    Image,
    Source,
    location,
    read_image,
    read_labels,
    smallest_integer_type,
    write_image,
    write_labels,
)
from attnseg.locks import alone_in
from attnseg.names import on_disk, resolved

# As it is told to another process.
CONVERT = "attnseg convert"
# float32 in a header moves a voxel half a metre off the origin by less than this.
_ROUNDING_MM = 1e-3


def fitting_type(array: np.ndarray) -> np.dtype:
    """The smallest of int16, uint16, int32 that holds all values exactly, or else float32."""
    with np.errstate(invalid="ignore"):
        low, high = float(array.min()), float(array.max())
        whole = np.isfinite([low, high]).all() and bool((array == np.rint(array)).all())
    for kind in (np.int16, np.uint16, np.int32) if whole else ():
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


@contextmanager
def alone_with(paths: Iterable[Path]) -> Iterator[None]:
    """Hold files that `attnseg convert` writes during the block.

    Raises:
        RunError: another process writes one of them.
    """
    names: dict[Path, list[str]] = defaultdict(list)
    for path in paths:
        names[path.parent].append(path.name)
    with ExitStack() as stack:
        for folder, each in names.items():
            stack.enter_context(alone_in(folder, *each, command=CONVERT))
        yield


def more_bytes(source: Source, target: Path) -> int:
    """That the disk of `target` has less once it is a copy of a file; none of one out of reach."""
    try:
        size = location(source).stat().st_size
    except OSError:  # reading it says what is wrong
        return 0
    return size - (target.stat().st_size if target.is_file() else 0)


def copy_file(source: Source, target: Path) -> None:
    """Copy the bytes of a file, under a temporary name first."""
    with atomic_path(target) as temporary:
        shutil.copyfile(location(source), temporary)


def write_checked_image(path: Path, image: Image) -> None:
    """Write a scan and look whether it comes back; whole numbers as integers, all else as float32.

    Raises:
        DataError: what the format cannot hold.
    """
    write_image(
        path, replace(image, array=image.array.astype(fitting_type(image.array), copy=False))
    )
    back = read_image(path, num_channels=image.array.shape[0])
    if not np.array_equal(back.array, image.array, equal_nan=True) or _moved(back, image):
        path.unlink()
        raise DataError(f"{path}: what was written is not what is read again; report this")


def write_checked_labels(path: Path, labels: Image, names: Mapping[int, str]) -> None:
    """Write a mask on its own grid and look whether it comes back.

    Raises:
        DataError: what the format cannot hold.
    """
    values = tuple(int(value) for value in np.unique(labels.array))
    dtype = smallest_integer_type(values)
    write_labels(path, labels.array[0], like=labels, dtype=dtype, names=names)
    back = read_labels(path)
    if not np.array_equal(back.array, labels.array) or _moved(back, labels):
        path.unlink()
        raise DataError(f"{path}: what was written is not what is read again; report this")


def _moved(one: Image, other: Image) -> bool:
    return not one.geometry.matches(other.geometry, tolerance_mm=_ROUNDING_MM)


def refuse_existing(targets: Sequence[Path], sources: Sequence[Path], *, overwrite: bool) -> None:
    """Stop before anything is written where a target is there, or is a source.

    Raises:
        UsageError: it is there and `overwrite` is not given; it is a source.
    """
    taken = {resolved(source) for source in sources}
    if own := [path for path in targets if resolved(on_disk(path)) in taken]:
        raise UsageError(f"{own[0]}: would be written over its own source; give another target")
    there = [path for path in targets if on_disk(path).exists()]
    if there and not overwrite:
        raise UsageError(
            f"{there[0]}: is there already ({len(there)} of {len(targets)} files are); give "
            "--overwrite to replace them, or another target"
        )
