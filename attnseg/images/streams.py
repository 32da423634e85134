"""The bytes of voxels on their way in and out, packed or not: the only file that knows isal.

Its gzip is several times faster than zlib's.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
from isal import igzip, igzip_lib, isal_zlib

from attnseg.errors import DataError
from attnseg.images.contents import first_bytes

_READ_ERRORS = (
    *(EOFError, OSError, zlib.error),
    cast(type[Exception], igzip_lib.IsalError),
    cast(type[Exception], isal_zlib.error),
)
_CHUNK_BYTES = 1 << 24
# Deflate's best case: a file of n bytes never unpacks to more than this many times n.
DEFLATE_RATIO = 1032


class Readable(Protocol):
    """Bytes that come in order, into a buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Inflating:
    """The content of a zlib stream that lies within a file.

    Args:
        stream: stands where the zlib stream begins.
        size: how many bytes of it belong to that stream; None: all that follow.
    """

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self._stream, self._left = stream, size
        self._engine = isal_zlib.decompressobj()

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the start of `buffer`; 0 once the stream has ended and its checksum holds.

        Raises:
            EOFError: the stream is cut short.
            isal_zlib.error: it is damaged.
        """
        content = b""
        while not content and not self._engine.eof:
            packed = self._engine.unconsumed_tail or self._next()
            content = self._engine.decompress(packed, len(buffer))
            if not packed and not content:
                raise EOFError("the compressed voxels end early")
        buffer[: len(content)] = content
        return len(content)

    def _next(self) -> bytes:
        # Small pieces: what the engine has not come to yet is copied at each call.
        packed = self._stream.read(1 << 20 if self._left is None else min(self._left, 1 << 20))
        if self._left is not None:
            self._left -= len(packed)
        return packed


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, as one of our errors."""
    try:
        yield
    except _READ_ERRORS as error:
        raise DataError(f"{path}: cut short or damaged ({error}); copy it again") from error


def open_packed(path: Path) -> BufferedIOBase:
    """A file's content, unpacked where its first bytes are gzip's."""
    packed = first_bytes(path).startswith(b"\x1f\x8b")
    return igzip.open(path, "rb") if packed else path.open("rb")


def room_for_voxels(path: Path, stream: BufferedIOBase) -> int:
    """Bytes that come out of a file at most, its header included."""
    size = path.stat().st_size
    return size * DEFLATE_RATIO if isinstance(stream, igzip.IGzipFile) else size


def gunzip(stream: BinaryIO) -> igzip.IGzipFile:
    """The content of a gzip file that begins where `stream` stands."""
    return igzip.IGzipFile(fileobj=stream, mode="rb")


def refuse_promise(path: Path, promised: int, *, room: int) -> None:
    """Before anything is allocated: a damaged header may promise terabytes.

    Args:
        path: the file that is to hold the voxels.
        promised: bytes of voxels by the header.
        room: bytes that the file can hold at most.

    Raises:
        DataError: it cannot hold so many.
    """
    if promised > room:
        raise DataError(
            f"{path}: cut short: the header promises {promised} bytes of voxels, more than the "
            "file can hold; copy it again"
        )


def read_voxels(
    path: Path, stream: Readable, *, shape: tuple[int, ...], dtype: np.dtype, begun: bytes = b""
) -> np.ndarray:
    """Voxels in Fortran order, in the machine's byte order.

    Args:
        path: named where they end too early.
        stream: stands behind the bytes in `begun`.
        shape: `refuse_promise` has been asked about it.
        dtype: as stored.
        begun: their first bytes, where these were read with the header.

    Raises:
        DataError: the stream ends too early.
    """
    content = np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    filled = min(len(begun), len(content))
    content[:filled] = np.frombuffer(begun, dtype=np.uint8, count=filled)
    while filled < len(content):
        # In pieces, into their place: the file's voxels exist once.
        count = stream.readinto(content[filled : filled + _CHUNK_BYTES].data)
        if not count:
            raise DataError(
                f"{path}: cut short: {filled} bytes of voxels where the header promises "
                f"{len(content)}; copy it again"
            )
        filled += count
    data = content.view(dtype).reshape(shape, order="F")
    return data.astype(dtype.newbyteorder("="), copy=False)


def planes(volumes: Iterable[np.ndarray], dtype: np.dtype) -> Iterator[bytes]:
    """Volumes `[I, J, K]` one after the other in Fortran order, in pieces of a few planes."""
    for volume in volumes:
        # The last axis is the slowest on disk, so it goes out slice by slice.
        rows = max(1, _CHUNK_BYTES // max(1, volume[..., 0].nbytes))
        for start in range(0, volume.shape[-1], rows):
            yield volume[..., start : start + rows].astype(dtype).tobytes(order="F")


@contextmanager
def packing(stream: BinaryIO) -> Iterator[igzip.IGzipFile]:
    """A gzip file that begins where `stream` stands."""
    # Neither name nor time in the gzip header: the same voxels give the same bytes.
    with igzip.IGzipFile("", "wb", compresslevel=2, fileobj=stream, mtime=0) as packed:
        yield packed


def deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as one zlib stream."""
    engine = isal_zlib.compressobj(level=2)
    for piece in pieces:
        yield engine.compress(piece)
    yield engine.flush()
