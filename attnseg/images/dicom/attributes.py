"""DICOM files opened, and what pydicom may raise on the way turned into one of our errors."""

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from attnseg.errors import AttnsegError, DataError
from attnseg.images.paths import Series


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
        what = re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__
        raise DataError(
            f"{path}: damaged, or not the DICOM object it says it is ({what}); export it again"
        ) from error


def open_dataset(path: Path) -> Dataset:
    """A DICOM file with its pixels.

    Raises:
        DataError: no such file, not DICOM, damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    with reading(path):
        return dcmread(path)


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
            source: Path | BytesIO = series.place if name == "." else series.place / name
            if archive is not None:
                source = BytesIO(archive.read(name))
            # `find_series` has seen to it that files without the preamble are DICOM.
            return dcmread(source, stop_before_pixels=not pixels, force=True)

        yield read


def open_series(series: Series) -> Iterator[Dataset]:
    """The headers of a series' files, in their order.

    Raises:
        DataError: a file that is gone or damaged.
    """
    with opened(series) as read:
        for name in series.files:
            yield read(name)


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
