"""The formats of ITK and 3D Slicer: NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd).

Read here and not by SimpleITK, which is the oracle of the tests: it takes a damaged compressed
MetaImage for whole, and of 200 oblique NRRD files that it copied 157 came back with other spacings
or directions in the last digits.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images import metaimage, nrrd
from attnseg.images.geometry import (
    SINGLE_STEP,
    Geometry,
    checked_geometry,
    shear_notes,
    with_single_steps,
)
from attnseg.images.image import Image, Outline, channel_first, channels_last
from attnseg.images.paths import has_suffix
from attnseg.images.slicer import merged
from attnseg.images.streams import (
    DEFLATE_RATIO,
    Inflating,
    Readable,
    deflated,
    gunzip,
    packing,
    planes,
    read_voxels,
    reading,
    refuse_promise,
)
from attnseg.images.text_header import HEADER_BYTES, Stored
from attnseg.images.whole import whole_numbers

_NRRD = (".nrrd", ".nhdr")


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a scan as float32 `[C, I, J, K]`.

    Args:
        path: a `.nrrd`, `.nhdr`, `.mha` or `.mhd` file.
        num_channels: how many channels the layout or the model expects: the numbers of a voxel, or
            the last axis of a 4D file. Any other number but 1 is refused.

    Raises:
        DataError: not such a file, cut short, another number of channels.
    """
    path = Path(path)
    stored, geometry = _outlined(path, num_channels)
    data = _channels_first(path, stored, num_channels)
    with np.errstate(over="ignore", invalid="ignore"):  # normalisation refuses what is infinite
        array = data.astype(np.float32, copy=False)
    return Image(array, geometry, stored.place, path, (*stored.notes, *shear_notes(geometry)))


def read_outline(path: Path, *, num_channels: int | None = None) -> Outline:
    """What the header says of a scan, no voxel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `read_image`, so far as the header tells.
    """
    path = Path(path)
    stored, geometry = _outlined(path, num_channels)
    with _opened(path, stored):
        return Outline(geometry, stored.channels, math.prod(stored.shape) * stored.dtype.itemsize)


def files_of(path: Path) -> tuple[Path, ...]:
    """The file itself and, where its header names one, the file of its voxels.

    Raises:
        DataError: a header that cannot be read, or whose voxels are not there.
    """
    # Any of them may name another file; one longer than a header can be holds voxels itself.
    if path.stat().st_size > HEADER_BYTES:
        return (path,)
    data = _parse(path).data
    return (path,) if data == path else (path, data)


def read_labels(path: Path) -> Image:
    """Read a mask as integers `[1, I, J, K]`; the layers of 3D Slicer become one label map.

    Raises:
        DataError: as of `read_image`, or values that are not whole numbers (see `whole_numbers`);
            segments of several layers that overlap.
    """
    path = Path(path)
    stored, geometry = _outlined(path, 0 if has_suffix(path.name, _NRRD) else 1)
    if stored.channels > 1:
        layers, settled = whole_numbers(_channels_first(path, stored, 0), source=str(path))
        labels, notes = merged(path, layers, stored.segments)
        notes = (*stored.notes, *shear_notes(geometry), *settled, *notes)
        rounded = bool(settled)
        return Image(labels, geometry, stored.place, path, notes, rounded=rounded)
    data, settled = whole_numbers(_channels_first(path, stored, 1), source=str(path))
    notes = (*stored.notes, *shear_notes(geometry), *settled)
    return Image(data, geometry, stored.place, path, notes, rounded=bool(settled))


def write_labels(path: Path, labels: np.ndarray, *, like: Image, dtype: np.dtype) -> None:
    """Write a compressed mask on the grid of the scan it belongs to.

    Where the scan is of the same format, the lines of its header that place it are written again
    as they are, so that ITK reads origin, spacing and directions bit for bit as those of the scan.
    From any other they are computed from its affine in float64.

    Args:
        path: ends in `.nrrd` or `.mha`; written under a temporary name first.
        labels: `[I, J, K]` label values, the scan's own shape.
        like: the scan.
        dtype: integer type on disk.

    Raises:
        DataError: a name that ends otherwise.
    """
    _write(Path(path), labels, like=like, dtype=dtype)


def write_image(path: Path, image: Image) -> None:
    """Write a compressed scan of one channel, its numbers in the type of `image.array`.

    Its place is written as `write_labels` does.

    Args:
        path: ends in `.nrrd` or `.mha`; written under a temporary name first.
        image: the scan.

    Raises:
        DataError: a name that ends otherwise, several channels.
    """
    path, channels = Path(path), image.array.shape[0]
    if channels != 1:
        raise DataError(
            f"{path}: {channels} channels, and these formats are written with one a file; take "
            "NIfTI, or a layout with a file a channel"
        )
    _write(path, image.array[0], like=image, dtype=image.array.dtype)


def _write(path: Path, voxels: np.ndarray, *, like: Image, dtype: np.dtype) -> None:
    if not has_suffix(path.name, (".nrrd", ".mha")):
        raise DataError(f"{path}: masks and scans are written as .nrrd or .mha; choose one")
    as_nrrd = has_suffix(path.name, ".nrrd")
    dtype = np.dtype(dtype).newbyteorder("<")
    place = _lines(like, nrrd.MAGIC if as_nrrd else metaimage.MAGIC)
    header = nrrd.header if as_nrrd else metaimage.header
    begun = header(voxels, dtype, place=place, geometry=like.geometry)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(begun)
        if as_nrrd:
            with packing(stream) as packed:
                for piece in planes([voxels], dtype):
                    packed.write(piece)
        else:
            for piece in deflated(planes([voxels], dtype)):
                stream.write(piece)
            length = stream.tell() - len(begun)
            stream.seek(0)
            stream.write(metaimage.with_length(begun, length))


def _lines(like: Image, magic: bytes) -> bytes | None:
    """What the scan's header says of its place, where it is of the format."""
    return like.header if like.header and like.header.startswith(magic) else None


def _outlined(path: Path, num_channels: int | None) -> tuple[Stored, Geometry]:
    stored = _parse(path)
    if stored.segments and stored.channels > 1 and num_channels != 0:
        raise DataError(
            f"{path}: a segmentation of 3D Slicer in {stored.channels} layers, which are neither "
            "channels of a scan nor time points; give it as a mask (`attnseg convert MASK OUT "
            "--like IMAGE`)"
        )
    channels_last(path, (*stored.grid, stored.channels), num_channels)
    remedy = "correct the header, or export it again"
    affine = with_single_steps(stored.affine, stored.grid)
    if affine is not stored.affine:
        stored = replace(stored, notes=(*stored.notes, SINGLE_STEP))
    return stored, checked_geometry(path, stored.grid, affine, remedy=remedy)


def _parse(path: Path) -> Stored:
    return (metaimage if has_suffix(path.name, (".mha", ".mhd")) else nrrd).parse(path)


@contextmanager
def _opened(path: Path, stored: Stored) -> Iterator[Readable]:
    """The voxels as a stream, once it is known that the file can hold them."""
    promised = math.prod(stored.shape) * stored.dtype.itemsize
    size = stored.data.stat().st_size
    offset = size - promised if stored.offset == -1 else stored.offset
    room = max(0, size - offset)
    if stored.packing != "none":
        room = DEFLATE_RATIO * min(room, stored.packed_bytes or room)
    refuse_promise(stored.data, promised + stored.skip, room=size if offset < 0 else room)
    with reading(stored.data), ExitStack() as stack:
        stream = stack.enter_context(stored.data.open("rb"))
        stream.seek(offset)
        if stored.packing == "gzip":
            unpacked = stack.enter_context(gunzip(stream))
            unpacked.read(stored.skip)
            yield unpacked
        elif stored.packing == "zlib":
            yield Inflating(stream, stored.packed_bytes)
        else:
            yield stream


def _channels_first(path: Path, stored: Stored, num_channels: int | None) -> np.ndarray:
    """Voxels `[C, I, J, K]`."""
    with _opened(path, stored) as stream:
        data = read_voxels(stored.data, stream, shape=stored.shape, dtype=stored.dtype)
        if stored.packing == "zlib":
            stream.readinto(memoryview(bytearray(1)))  # the checksum stands at the very end
    if stored.channel_axis is not None:
        data = np.moveaxis(data, stored.channel_axis, -1)
    return channel_first(path, data.reshape(*stored.grid, stored.channels), num_channels)
