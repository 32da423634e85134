"""NIfTI-1 and NIfTI-2, plain or gzipped: the only file that knows nibabel and isal.

Headers and affines are nibabel's; the voxel bytes are read and written here, through `isal`, whose
gzip is several times faster than zlib's.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from isal import igzip, igzip_lib
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, Outline, whole_numbers
from attnseg.images.paths import first_bytes

_READ_ERRORS = (EOFError, OSError, zlib.error, cast(type[Exception], igzip_lib.IsalError))
_CHUNK_BYTES = 1 << 24
# Deflate's best case: a file of n bytes never unpacks to more than this many times n.
_DEFLATE_RATIO = 1032


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a scan as float32 `[C, I, J, K]`.

    Args:
        path: a `.nii` or `.nii.gz` file.
        num_channels: how many channels the layout or the model expects. A 4D file is taken as that
            many channels if its last axis has that length; any other 4D file is refused.

    Raises:
        DataError: not a NIfTI file, cut short, 4D of another length, not real numbers.
    """
    path = Path(path)
    header, data = _read(path)
    if data.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: voxels are of type {data.dtype}; scans hold plain numbers: convert it to "
            "a scalar image"
        )
    _channels_last(path, data.shape, num_channels)  # before anything more is allocated
    array = _channel_first(path, _float32(path, header, data), num_channels)
    return Image(array, _geometry(path, header, array.shape[1:]), _block(header), path)


def read_outline(path: Path, *, num_channels: int | None = None) -> Outline:
    """What the header says of a scan, no voxel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `read_image`, so far as the header tells.
    """
    path = Path(path)
    with _reading(path), _open(path) as stream:
        header, _, shape, dtype = _promise(path, stream)
        channels, spatial = _channels_last(path, shape, num_channels)
        geometry = _geometry(path, header, spatial)
    return Outline(geometry, channels, math.prod(shape) * dtype.itemsize)


def read_labels(path: Path) -> Image:
    """Read a mask as integers `[1, I, J, K]`.

    Floating-point files are accepted when every value is a whole number.

    Raises:
        DataError: not a NIfTI file, cut short, more than 3D, values that are not whole numbers.
    """
    path = Path(path)
    header, data = _read(path)
    if data.dtype.kind not in "iuf":
        raise DataError(f"{path}: labels are of type {data.dtype}; they must be integers")
    _channels_last(path, data.shape, 1)
    data = _channel_first(path, _scaled(path, header, data), 1)
    data = whole_numbers(data, source=str(path))
    return Image(data, _geometry(path, header, data.shape[1:]), _block(header), path)


def write_labels(path: Path, labels: np.ndarray, *, like: Image, dtype: np.dtype) -> None:
    """Write a mask on the grid of the scan it belongs to.

    The mask takes the scan's own header fields for geometry (affine, qform and sform with their
    codes, units) unchanged, and is written under a temporary name first.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        labels: `[I, J, K]` label values, the scan's own shape.
        like: the scan; where it was made in memory its affine becomes the sform.
        dtype: integer type on disk.
    """
    assert labels.shape == like.geometry.shape, (labels.shape, like.geometry.shape)
    write_volumes(path, [labels], count=1, like=like, dtype=dtype)


def write_image(path: Path, image: Image) -> None:
    """Write `image` as a new NIfTI-1 file, its affine as sform, channels as the 4th axis."""
    like = Image(image.array, image.geometry)
    count, dtype = image.array.shape[0], image.array.dtype
    write_volumes(path, image.array, count=count, like=like, dtype=dtype)


def write_volumes(
    path: Path,
    volumes: Iterable[np.ndarray],
    *,
    count: int,
    like: Image,
    dtype: np.dtype,
    slope: float = 1.0,
) -> None:
    """Write volumes `[I, J, K]` one after the other, as they come, along a 4th axis.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        volumes: on the grid of `like`; a single one is written 3D, or 2D as its source.
        count: how many they are.
        like: a scan whose geometry they take, its header fields unchanged where it has any.
        dtype: type on disk.
        slope: what a stored number is multiplied by when it is read.
    """
    path = Path(path)
    header = _parse(like.header) if like.header else _new_header(like.geometry)
    shape: tuple[int, ...] = like.geometry.shape
    if count > 1:
        shape = (*shape, count)
    elif like.header and int(header["dim"][0]) == 2:
        shape = shape[:2]  # the mask of a 2D file is 2D
    header.set_data_dtype(np.dtype(dtype))
    spacing = header["pixdim"][:4].copy()
    header.set_data_shape(shape)
    header["pixdim"][:4] = spacing  # set_data_shape forgets that of axes that are not there
    header["scl_slope"], header["scl_inter"] = slope, 0
    header["cal_min"], header["cal_max"] = 0, 0
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["descrip"] = b"attnseg"
    with atomic_path(path) as temporary, _open_for_writing(temporary) as stream:
        stream.write(_block(header) + b"\0\0\0\0")
        for volume in volumes:
            # Fortran order on disk: the last axis is the slowest, so it goes out slice by slice.
            rows = max(1, _CHUNK_BYTES // max(1, volume[..., 0].nbytes))
            for start in range(0, volume.shape[-1], rows):
                part = volume[..., start : start + rows].astype(header.get_data_dtype())
                stream.write(part.tobytes(order="F"))


def _new_header(geometry: Geometry) -> Nifti1Header:
    header = Nifti1Header()
    header.set_data_shape(geometry.shape)
    header.set_sform(geometry.affine, code=1)
    header.set_qform(geometry.affine, code=1, strip_shears=True)
    header.set_xyzt_units("mm")
    return header


@contextmanager
def _open_for_writing(path: Path) -> Iterator[BinaryIO | igzip.IGzipFile]:
    with path.open("wb") as stream:
        if not path.name.endswith(".gz"):
            yield stream
            return
        # Neither name nor time in the gzip header: the same voxels give the same bytes.
        with igzip.IGzipFile("", "wb", compresslevel=2, fileobj=stream, mtime=0) as packed:
            yield packed


def _open(path: Path) -> BufferedReader | igzip.IGzipFile:
    packed = first_bytes(path).startswith(b"\x1f\x8b")
    return igzip.open(path, "rb") if packed else path.open("rb")


def _parse(block: bytes) -> Nifti1Header | Nifti2Header:
    """Header from its bytes, brought to little-endian order."""
    for order in "<>":
        if len(block) >= 4:
            size = struct.unpack(order + "i", block[:4])[0]
            for kind in (Nifti1Header, Nifti2Header):
                length = kind.template_dtype.itemsize
                if size == kind.sizeof_hdr and len(block) >= length:
                    header = kind(block[:length], endianness=order, check=False)
                    return header.as_byteswapped("<")
    raise ValueError("no NIfTI header")


def _block(header: Nifti1Header | Nifti2Header) -> bytes:
    block: bytes = header.binaryblock
    return block


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, as one of our errors."""
    try:
        yield
    except _READ_ERRORS as error:
        raise DataError(f"{path}: cut short or damaged ({error}); copy it again") from error
    except HeaderDataError as error:
        raise DataError(f"{path}: unusable header ({error}); re-export the file") from error


def _promise(
    path: Path, stream: BufferedReader | igzip.IGzipFile
) -> tuple[Nifti1Header | Nifti2Header, bytes, tuple[int, ...], np.dtype]:
    """Header, the voxel bytes read with it, shape and stored type; the stream stands behind."""
    block = stream.read(Nifti2Header.template_dtype.itemsize)
    try:
        header = _parse(block)
        big_endian = block[:4] != _block(header)[:4]
    except ValueError:
        raise DataError(
            f"{path}: not a NIfTI file (no NIfTI-1 or NIfTI-2 header); attnseg reads .nii and "
            ".nii.gz"
        ) from None
    start = float(header["vox_offset"])
    if not header.template_dtype.itemsize <= start < 2**53 or bytes(header["magic"])[:1] != b"n":
        raise DataError(f"{path}: damaged header (voxels start at byte {start}); re-export")
    offset = int(start)
    shape = _shape(path, header)
    dtype = _stored_type(path, header).newbyteorder(">" if big_endian else "<")
    expected = math.prod(shape) * dtype.itemsize
    # Before anything is allocated: a damaged header may promise terabytes.
    if offset + expected > path.stat().st_size * _DEFLATE_RATIO:
        raise DataError(
            f"{path}: cut short: the header promises {expected} bytes of voxels, more than the "
            "file can hold; copy it again"
        )
    stream.read(max(0, offset - len(block)))
    return header, block[offset:], shape, dtype


def _read(path: Path) -> tuple[Nifti1Header | Nifti2Header, np.ndarray]:
    """Header and voxels as stored, in the file's own order of axes."""
    with _reading(path), _open(path) as stream:
        header, begun, shape, dtype = _promise(path, stream)
        content = np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
        filled = min(len(begun), len(content))
        content[:filled] = np.frombuffer(begun, dtype=np.uint8, count=filled)
        while filled < len(content):
            # In pieces, into their place: the file's voxels exist once.
            count = stream.readinto(content[filled : filled + _CHUNK_BYTES].data)
            if not count:
                break
            filled += count
    if filled < len(content):
        raise DataError(
            f"{path}: cut short: {filled} bytes of voxels where the header promises "
            f"{len(content)}; copy it again"
        )
    data = content.view(dtype).reshape(shape, order="F")
    return header, data.astype(dtype.newbyteorder("="), copy=False)


def _shape(path: Path, header: Nifti1Header | Nifti2Header) -> tuple[int, ...]:
    num_axes = int(header["dim"][0])
    shape = tuple(header.get_data_shape()) if 2 <= num_axes <= 7 else ()
    if min(shape, default=0) < 1:
        raise DataError(f"{path}: shape {shape} is not a volume; re-export the file")
    return shape + (1,) * (3 - len(shape))


def _stored_type(path: Path, header: Nifti1Header | Nifti2Header) -> np.dtype:
    try:
        dtype: np.dtype = header.get_data_dtype()
    except KeyError as error:
        raise DataError(f"{path}: unknown type of voxels, code {error}; re-export") from None
    if dtype.itemsize == 0:
        raise DataError(f"{path}: the header names no type of voxels; re-export the file")
    return dtype


def _scaling(path: Path, header: Nifti1Header | Nifti2Header) -> tuple[float, float] | None:
    """Slope and intercept, where the header has them and they change anything."""
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise DataError(f"{path}: unusable intensity scaling ({error}); re-export") from error
    return None if slope is None or (slope, inter) == (1.0, 0.0) else (slope, inter)


def _scaled(path: Path, header: Nifti1Header | Nifti2Header, data: np.ndarray) -> np.ndarray:
    """Voxels times slope plus intercept, where the header has them."""
    scaling = _scaling(path, header)
    if scaling is None:
        return data
    with np.errstate(over="ignore", invalid="ignore"):
        return data.astype(np.float64) * scaling[0] + scaling[1]


def _float32(path: Path, header: Nifti1Header | Nifti2Header, data: np.ndarray) -> np.ndarray:
    """Scaled voxels; computed in float64 as nibabel does, but never all of them at once."""
    scaling = _scaling(path, header)
    with np.errstate(over="ignore", invalid="ignore"):  # normalisation refuses what is infinite
        if scaling is None:
            return data.astype(np.float32, copy=False)
        array = np.empty(data.shape, dtype=np.float32, order="F")
        for index in np.ndindex(data.shape[2:]):
            plane = (slice(None), slice(None), *index)
            array[plane] = data[plane].astype(np.float64) * scaling[0] + scaling[1]
    return array


def _channels_last(
    path: Path, shape: tuple[int, ...], num_channels: int | None
) -> tuple[int, tuple[int, int, int]]:
    """Channels and grid of a stored shape.

    Raises:
        DataError: a 4D file of another number of channels.
    """
    axes = list(shape)
    while len(axes) > 4 and axes[-1] == 1:
        axes.pop()
    expected = 1 if num_channels is None else num_channels
    if len(axes) == 3 or (len(axes) == 4 and axes[3] in {1, expected}):
        return (axes[3] if len(axes) == 4 else 1), (axes[0], axes[1], axes[2])
    raise DataError(
        f"{path}: shape {shape} where a 3D image or a 4D one of {expected} channel(s) is "
        "expected; split time points into single files"
    )


def _channel_first(path: Path, data: np.ndarray, num_channels: int | None) -> np.ndarray:
    """`[I, J, K]` or `[I, J, K, C, 1 …]` → `[C, I, J, K]`, as a view."""
    channels, grid = _channels_last(path, data.shape, num_channels)
    return np.moveaxis(data.reshape(*grid, channels, order="F"), 3, 0)


def _geometry(
    path: Path, header: Nifti1Header | Nifti2Header, shape: tuple[int, int, int]
) -> Geometry:
    header = header.copy()
    pixdim = header["pixdim"]  # what the standard and nibabel make of sloppy fields:
    pixdim[0] = -1 if pixdim[0] == -1 else 1
    pixdim[1:4] = np.abs(pixdim[1:4])
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        raise DataError(f"{path}: unusable qform ({error}); correct the header") from error
    usable = np.isfinite(affine).all() and np.abs(affine).max() < 1e9
    if not usable or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(
            f"{path}: the affine has a zero, undefined or absurd spacing or origin; correct the "
            "header (sform)"
        )
    return Geometry(shape, affine)
