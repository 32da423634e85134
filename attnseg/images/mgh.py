"""FreeSurfer's volumes, MGH and MGZ: read, not written. Header and affine are nibabel's."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader

from attnseg.errors import DataError
from attnseg.images.geometry import (
    SINGLE_STEP,
    Geometry,
    checked_geometry,
    shear_notes,
    with_single_steps,
)
from attnseg.images.image import Image, Outline, channel_first, channels_last
from attnseg.images.streams import (
    open_packed,
    read_voxels,
    reading,
    refuse_promise,
    room_for_voxels,
)
from attnseg.images.whole import whole_numbers

_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a scan as float32 `[C, I, J, K]`.

    Args:
        path: a `.mgh` or `.mgz` file.
        num_channels: how many frames the layout or the model expects; a file of any other number
            but 1 is refused.

    Raises:
        DataError: not such a file, cut short, another number of frames.
    """
    path = Path(path)
    with _opened(path, num_channels) as file:
        data = read_voxels(path, file.stream, shape=file.shape, dtype=file.dtype)
    array = channel_first(path, data.astype(np.float32, copy=False), num_channels)
    return Image(array, file.geometry, None, path, file.notes)


def read_outline(path: Path, *, num_channels: int | None = None) -> Outline:
    """What the header says of a scan, no voxel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `read_image`, so far as the header tells.
    """
    with _opened(Path(path), num_channels) as file:
        return Outline(file.geometry, file.shape[3], math.prod(file.shape) * file.dtype.itemsize)


def read_labels(path: Path) -> Image:
    """Read a mask as integers `[1, I, J, K]`.

    Raises:
        DataError: as of `read_image`, or values that are not whole numbers; see `whole_numbers`.
    """
    path = Path(path)
    with _opened(path, 1) as file:
        data = read_voxels(path, file.stream, shape=file.shape, dtype=file.dtype)
    data, settled = whole_numbers(data, source=str(path))
    array, notes = channel_first(path, data, 1), (*file.notes, *settled)
    return Image(array, file.geometry, None, path, notes, rounded=bool(settled))


@dataclass(frozen=True)
class _Opened:
    """A file whose header has been read: the stream stands at its voxels."""

    shape: tuple[int, int, int, int]
    dtype: np.dtype
    geometry: Geometry
    stream: BufferedIOBase
    notes: tuple[str, ...]


@contextmanager
def _opened(path: Path, num_channels: int | None) -> Iterator[_Opened]:
    with reading(path), open_packed(path) as stream:
        block = stream.read(DATA_OFFSET)
        if len(block) < DATA_OFFSET or block[:4] != b"\0\0\0\1":
            raise DataError(f"{path}: not an MGH file; was it renamed, or never copied whole?")
        if block[28:30] == b"\0\0":  # here nibabel and FreeSurfer put the axes differently
            raise DataError(
                f"{path}: its header says no place (goodRASFlag is 0), and none is guessed; write "
                "it anew with FreeSurfer's mri_convert"
            )
        header = MGHHeader(block, check=False)
        i, j, k, frames = (int(n) for n in header["dims"])
        if min(i, j, k, frames) < 1:
            raise DataError(f"{path}: shape {(i, j, k, frames)} is not a volume; export it again")
        if (code := int(header["type"])) not in _TYPES:
            raise DataError(f"{path}: unknown type of voxels, code {code}; export it again")
        dtype = np.dtype(_TYPES[code])
        channels_last(path, (i, j, k, frames), num_channels)
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_affine(), dtype=np.float64)
        placed = with_single_steps(affine, (i, j, k))
        geometry = checked_geometry(path, (i, j, k), placed, remedy="correct the header")
        notes = () if placed is affine else (SINGLE_STEP,)
        promised = i * j * k * frames * dtype.itemsize
        room = room_for_voxels(path, stream) - DATA_OFFSET
        refuse_promise(path, promised, room=room)
        yield _Opened((i, j, k, frames), dtype, geometry, stream, (*notes, *shear_notes(geometry)))
