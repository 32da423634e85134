"""DICOM files opened, and what pydicom may raise on the way turned into one of our errors."""

import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from attnseg.errors import AttnsegError, DataError
from attnseg.images.contents import absence
from attnseg.images.paths import Series, starts_as_dicom

# Of a deflated file: pydicom unpacks all of it to read its header, and takes four times as much.
_MAX_INFLATED = 1 << 27
# Value representations whose length has four bytes, behind two that are reserved (PS3.5, 7.1.2).
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong while a DICOM file is read, as one of our errors.

    pydicom parses a value when it is first asked for, and raises whatever it meets there: anything
    from AttributeError to struct.error. It warns of values that break the standard; where such a
    value matters, the reader refuses it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except AttnsegError:
        raise
    except InvalidDicomError:
        raise DataError(f"{path}: not a DICOM file; check what it is") from None
    except Exception as error:
        raise DataError(
            f"{path}: damaged, or not the DICOM object it says it is ({first_line(error)}); export "
            "it again"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    return re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__


def open_dataset(path: Path) -> Dataset:
    """A DICOM file with its pixels.

    Raises:
        DataError: no such file, not DICOM, damaged.
    """
    if not path.is_file():
        raise DataError(absence(path))
    with reading(path), path.open("rb") as stream:
        refuse_bomb(path, stream)
        return dcmread(path)


def refuse_bomb(path: Path, stream: BinaryIO) -> None:
    """How much a deflated file (PS3.5, A.5) holds, before pydicom unpacks it at one go.

    Args:
        path: named in the error.
        stream: the file; back at its start in the end.

    Raises:
        DataError: more than any image that is stored so.
    """
    if not starts_as_dicom(stream):
        stream.seek(0)
    if DeflatedExplicitVRLittleEndian.encode() in _meta_information(stream):
        engine = zlib.decompressobj(-zlib.MAX_WBITS)
        size = 0
        while not engine.eof and (packed := engine.unconsumed_tail or stream.read(1 << 16)):
            size += len(engine.decompress(packed, 1 << 20))
            if size > _MAX_INFLATED:
                raise DataError(
                    f"{path}: deflated, and unpacks to more than {_MAX_INFLATED >> 20} MiB; store "
                    "it unpacked (dcmconv does) if it is an image"
                )
    stream.seek(0)


def _meta_information(stream: BinaryIO) -> bytes:
    """The elements of group 2, in explicit little endian (PS3.10, 7.1); stands behind them."""
    found = b""
    while (head := stream.read(8))[:2] == b"\2\0":
        size = int.from_bytes(head[6:8], "little")
        if head[4:6] in _LONG:
            size = int.from_bytes(stream.read(4), "little")
        # Far more than any of them holds.
        found += stream.read(min(size, 1 << 16))
    stream.seek(-len(head), 1)
    return found


@contextmanager
def opened(series: Series) -> Iterator[Callable[..., Dataset]]:
    """A function that opens a file of a series by its name, with or without its pixels.

    Raises:
        DataError: a file that is gone, damaged or encrypted.
    """
    with reading(series.place), ExitStack() as stack:
        archive = None
        if series.place.is_file() and series.files != (".",):
            archive = stack.enter_context(zipfile.ZipFile(series.place))

        def read(name: str, *, pixels: bool = False) -> Dataset:
            path = file_of(series, name)
            with ExitStack() as held:
                held.enter_context(reading(path))
                stream = cast(
                    BinaryIO,
                    held.enter_context(path.open("rb") if archive is None else archive.open(name)),
                )
                refuse_bomb(path, stream)
                # `find_series` has seen to it that files without the preamble are DICOM.
                dataset = dcmread(stream, stop_before_pixels=not pixels, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                # No meta information either: pydicom went by how the first elements look.
                implicit, little = dataset.original_encoding
                explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
                dataset.file_meta.TransferSyntaxUID = (
                    ImplicitVRLittleEndian if implicit else explicit
                )
            return dataset

        yield read


def file_of(series: Series, name: str) -> Path:
    """Where a file of a series lies; within an archive as if that were a folder."""
    return series.place if name == "." else series.place / name


def open_series(series: Series) -> Iterator[Dataset]:
    """The headers of a series' files, in their order.

    Raises:
        DataError: a file that is gone or damaged.
    """
    with opened(series) as read:
        for name in series.files:
            yield read(name)


def frame_of_reference(series: Series) -> str:
    """FrameOfReferenceUID of a series, by its first file; "" where it has none.

    Raises:
        DataError: a file that is gone or damaged.
    """
    with opened(series) as read:
        return str(read(series.files[0]).get("FrameOfReferenceUID") or "") if series.files else ""


def numbers(values: Any, count: int, *, what: str) -> np.ndarray:
    """`count` finite numbers of an attribute as float64.

    Raises:
        ValueError: another count, or not finite.
    """
    array = np.asarray([] if values is None else values, dtype=np.float64).ravel()
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(f"{what} is {values}, not {count} finite number(s)")
    return array


def group_item(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """The item of a functional group macro that holds for a frame: its own, or the shared one."""
    for groups in (
        dataset.PerFrameFunctionalGroupsSequence[frame : frame + 1]
        if "PerFrameFunctionalGroupsSequence" in dataset
        else (),
        dataset.get("SharedFunctionalGroupsSequence") or (),
    ):
        for group in groups:
            if group.get(keyword):
                item: Dataset = group[keyword].value[0]
                return item
    return None
