"""NIfTI-1 and NIfTI-2 in and out: `.nii`, `.nii.gz`, and pairs of `.hdr` and `.img`.

Headers and affines are nibabel's; the voxel bytes are read and written by `streams`.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import numpy as np

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images import nifti_header as headers
from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, Outline, channel_first, channels_last
from attnseg.images.paths import NIFTI_SUFFIXES, half_of_a_pair, has_suffix
from attnseg.images.streams import (
    open_packed,
    packing,
    planes,
    read_voxels,
    reading,
    refuse_promise,
    room_for_voxels,
)
from attnseg.images.whole import whole_numbers

# What SPM writes where there is no auxiliary file: it names nobody, and masks of such scans stay
# byte for byte what they were.
_NO_FILE = b"none"
# Fields of text, in which scanners and converters may name a patient: no file of ours takes them
# over, nor the extensions behind the header.
_TEXTS = frozenset({"data_type", "db_name", "aux_file", "intent_name", "unused_str"})


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a scan as float32 `[C, I, J, K]`.

    Args:
        path: a `.nii` or `.nii.gz` file, or the `.hdr` of a pair.
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
    channels_last(path, data.shape, num_channels)  # before anything more is allocated
    array = channel_first(path, _float32(path, header, data), num_channels)
    geometry, notes = headers.geometry_of(path, header, array.shape[1:])
    return Image(array, geometry, headers.to_bytes(header), path, notes)


def read_outline(path: Path, *, num_channels: int | None = None) -> Outline:
    """What the header says of a scan, no voxel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `read_image`, so far as the header tells.
    """
    path = Path(path)
    with _opened(path) as file:
        channels, spatial = channels_last(path, file.shape, num_channels)
        geometry, _ = headers.geometry_of(path, file.header, spatial)
    return Outline(geometry, channels, math.prod(file.shape) * file.dtype.itemsize)


def files_of(path: Path) -> tuple[Path, ...]:
    """The file itself, or both of a pair.

    Raises:
        DataError: a `.hdr` without its voxels.
    """
    return (path, _other_half(path)) if has_suffix(path.name, ".hdr") else (path,)


def read_labels(path: Path) -> Image:
    """Read a mask as integers `[1, I, J, K]`.

    Floating-point files, and integers with a scale factor, are accepted when every value is whole
    but for rounding; see `whole_numbers`.

    Raises:
        DataError: not a NIfTI file, cut short, more than 3D, values that are not whole numbers.
    """
    path = Path(path)
    header, data = _read(path)
    if data.dtype.kind not in "iuf":
        raise DataError(f"{path}: labels are of type {data.dtype}; they must be integers")
    channels_last(path, data.shape, 1)
    data, settled = whole_numbers(data, source=str(path), scaling=headers.scaling(path, header))
    data = channel_first(path, data, 1)
    geometry, notes = headers.geometry_of(path, header, data.shape[1:])
    place = headers.to_bytes(header)
    return Image(data, geometry, place, path, (*notes, *settled), rounded=bool(settled))


@contextmanager
def open_volumes(path: Path) -> Iterator[tuple[Geometry, int, Iterator[np.ndarray]]]:
    """The volumes of a 4D file, one in memory at a time; a 3D file is one volume.

    Yields:
        geometry of the first three axes; number of volumes; volumes `[I, J, K]`, float32.

    Raises:
        DataError: not a NIfTI file, neither 3D nor 4D, cut short.
    """
    with _opened(path) as file:
        if len(file.shape) not in (3, 4):
            raise DataError(f"{path}: {len(file.shape)}D; probabilities are 4D, a class a volume")
        i, j, k, *volumes = file.shape
        geometry, _ = headers.geometry_of(path, file.header, (i, j, k))
        count = math.prod(volumes)  # a model of a single region writes 3D
        yield geometry, count, _volumes(path, file, count)


def _volumes(path: Path, file: "_Opened", count: int) -> Iterator[np.ndarray]:
    begun, size = file.begun, math.prod(file.shape[:3]) * file.dtype.itemsize
    for _ in range(count):
        data = read_voxels(
            file.holder, file.stream, shape=file.shape[:3], dtype=file.dtype, begun=begun
        )
        begun = begun[size:]
        yield _float32(path, file.header, data[..., None])[..., 0]


def write_labels(path: Path, labels: np.ndarray, *, like: Image, dtype: np.dtype) -> None:
    """Write a mask on the grid of the scan it belongs to.

    The mask takes the scan's own header fields for geometry (affine, qform and sform with their
    codes, units) unchanged, and is written under a temporary name first.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        labels: `[I, J, K]` label values, the scan's own shape.
        like: the scan; where it is not of NIfTI its affine becomes the sform.
        dtype: integer type on disk.
    """
    assert labels.shape == like.geometry.shape, (labels.shape, like.geometry.shape)
    write_volumes(path, [labels], count=1, like=like, dtype=dtype)


def write_image(path: Path, image: Image) -> None:
    """Write `image`, channels as the 4th axis: with the header it was read with, where that is
    NIfTI's, or as a new NIfTI-1 file with its affine as sform."""
    count, dtype = image.array.shape[0], image.array.dtype
    write_volumes(path, image.array, count=count, like=image, dtype=dtype)


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
        volumes: on the grid of `like`; a single one is written 3D, or of fewer axes as its source.
        count: how many they are.
        like: a scan whose geometry they take, its header fields unchanged where they are NIfTI's.
        dtype: type on disk.
        slope: what a stored number is multiplied by when it is read.
    """
    path = Path(path)
    try:
        header, of_nifti = headers.parse(like.header or b""), True
    except ValueError:
        header, of_nifti = headers.new_header(like.geometry), False
    shape: tuple[int, ...] = like.geometry.shape
    if count > 1:
        shape = (*shape, count)
    elif of_nifti and 1 <= (axes := int(header["dim"][0])) < 3:
        shape = shape[:axes]  # the mask of a 2D file is 2D
    header.set_data_dtype(np.dtype(dtype))
    spacing = header["pixdim"][:4].copy()
    header.set_data_shape(shape)
    header["pixdim"][:4] = spacing  # set_data_shape forgets that of axes that are not there
    header["scl_slope"], header["scl_inter"] = slope, 0
    header["cal_min"], header["cal_max"] = 0, 0
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    for text in _TEXTS.intersection(header.keys()):
        if header[text].item() != _NO_FILE:
            header[text] = b""
    header["descrip"] = b"attnseg"
    with atomic_path(path) as temporary, ExitStack() as stack:
        stream = stack.enter_context(temporary.open("wb"))
        packed = has_suffix(path.name, ".gz")
        out = stack.enter_context(packing(stream)) if packed else stream
        out.write(headers.to_bytes(header) + b"\0\0\0\0")
        for piece in planes(volumes, header.get_data_dtype()):
            out.write(piece)


@dataclass(frozen=True)
class _Opened:
    """A file whose header has been read: the stream stands behind the `begun` first voxels."""

    header: headers.Header
    shape: tuple[int, ...]
    dtype: np.dtype
    stream: BufferedIOBase
    begun: bytes
    holder: Path


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    with reading(path), ExitStack() as stack:
        stream: BufferedIOBase = stack.enter_context(open_packed(path))
        block = stream.read(headers.HEADER_BYTES)
        try:
            header = headers.parse(block)
        except ValueError:
            raise DataError(_no_nifti(path)) from None
        # `parse` turns all to little-endian, and what is turned differs from what was read.
        order: Literal["<", ">"] = "<" if block[:4] == headers.to_bytes(header)[:4] else ">"
        pair = has_suffix(path.name, ".hdr")
        offset = headers.voxel_offset(path, header, pair=pair)
        shape = headers.stored_shape(path, header)
        dtype = headers.stored_type(path, header).newbyteorder(order)
        holder = _other_half(path) if pair else path
        if pair:
            stream, block = stack.enter_context(open_packed(holder)), b""
        room = room_for_voxels(holder, stream) - offset
        refuse_promise(holder, math.prod(shape) * dtype.itemsize, room=room)
        stream.read(max(0, offset - len(block)))
        yield _Opened(header, shape, dtype, stream, block[offset:], holder)


def _other_half(path: Path) -> Path:
    """The voxels that belong to a `.hdr`, whose suffix may be in capitals like its own."""
    stem, small = path.name[: -len(".hdr")], path.name.endswith(".hdr")
    endings = (".img", ".img.gz") if small else (".IMG", ".IMG.GZ")
    halves = [path.with_name(stem + ending) for ending in endings]
    for half in halves:
        if half.is_file():
            return half
    wanted = [stem + ending.lower() for ending in endings]
    for half in sorted(path.parent.iterdir()):
        if half.name[: len(stem)] + half.name[len(stem) :].lower() in wanted:
            return half
    raise DataError(
        f"{path}: its voxels are not there ({halves[0].name}); put both files into one folder"
    )


def _no_nifti(path: Path) -> str:
    if has_suffix(path.name, (".img", ".img.gz")):
        return half_of_a_pair(path)
    if has_suffix(path.name, NIFTI_SUFFIXES):
        return (
            f"{path}: not a NIfTI file (no NIfTI-1 or NIfTI-2 header); was it renamed, or never "
            "copied whole?"
        )
    return (
        f"{path}: not a format attnseg reads; convert it to NIfTI, NRRD, MHA, MGH, DICOM, PNG, "
        "JPEG or TIFF"
    )


def _read(path: Path) -> tuple[headers.Header, np.ndarray]:
    """Header and voxels as stored, in the file's own order of axes."""
    with _opened(path) as file:
        data = read_voxels(
            file.holder, file.stream, shape=file.shape, dtype=file.dtype, begun=file.begun
        )
    return file.header, data


def _float32(path: Path, header: headers.Header, data: np.ndarray) -> np.ndarray:
    """Scaled voxels; computed in float64 as nibabel does, but never all of them at once."""
    scaling = headers.scaling(path, header)
    with np.errstate(over="ignore", invalid="ignore"):  # normalisation refuses what is infinite
        if scaling is None:
            return data.astype(np.float32, copy=False)
        array = np.empty(data.shape, dtype=np.float32, order="F")
        for index in np.ndindex(data.shape[2:]):
            plane = (slice(None), slice(None), *index)
            array[plane] = data[plane].astype(np.float64) * scaling[0] + scaling[1]
    return array
