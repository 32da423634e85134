"""One scan or one mask of any format, and how a case of several files becomes one image."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images import nifti, pictures
from attnseg.images.image import Image, Outline
from attnseg.images.paths import is_picture


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a scan as float32 `[C, I, J, K]`: a picture by its suffix, anything else as NIfTI.

    Args:
        path: a NIfTI, PNG, JPEG or TIFF file.
        num_channels: what the layout or the model expects; see `nifti.read_image` and
            `pictures.read_image`.

    Raises:
        DataError: a file that cannot be read as it is.
    """
    reader = pictures.read_image if is_picture(Path(path)) else nifti.read_image
    return reader(path, num_channels=num_channels)


def read_outline(paths: tuple[Path, ...], *, num_channels: int | None = None) -> Outline:
    """What the headers of a case say: its grid, channels and size, no voxel read.

    Args: as of `read_case`, whose memory can be told from it.

    Raises:
        DataError: a file that cannot be read as far as its header tells.
    """
    single = len(paths) == 1
    outlines = []
    for path in map(Path, paths):
        reader = pictures.read_outline if is_picture(path) else nifti.read_outline
        outlines.append(reader(path, num_channels=num_channels if single else 1))
    return Outline(
        outlines[0].geometry,
        sum(outline.channels for outline in outlines),
        sum(outline.stored_bytes for outline in outlines),
    )


def read_labels(path: Path, *, label_values: Collection[int] | None = None) -> Image:
    """Read a mask as integers `[1, I, J, K]`.

    Args:
        path: a NIfTI, PNG or TIFF file.
        label_values: the values that masks are to hold, where they are known: a picture of 0 and
            255 alone is then read as 0 and 1 if 1 is among them and 255 is not.

    Raises:
        DataError: a file that cannot be read as a mask.
    """
    if is_picture(Path(path)):
        return pictures.read_labels(path, label_values=label_values)
    return nifti.read_labels(path)


def write_labels(path: Path, labels: np.ndarray, *, like: Image, dtype: np.dtype) -> None:
    """Write a mask on the grid of the scan it belongs to, under a temporary name first.

    Args:
        path: ends in `.png` for a picture, in `.nii` or `.nii.gz` for any scan.
        labels: `[I, J, K]` label values, the scan's own shape.
        like: the scan; a NIfTI mask takes its header fields for geometry unchanged.
        dtype: integer type on disk; PNG knows uint8 and uint16.

    Raises:
        DataError: labels that the format cannot hold.
    """
    assert labels.shape == like.geometry.shape, (labels.shape, like.geometry.shape)
    if is_picture(Path(path)):
        pictures.write_labels(path, labels, dtype=dtype)
    else:
        nifti.write_labels(path, labels, like=like, dtype=dtype)


def read_case(paths: tuple[Path, ...], *, num_channels: int | None = None) -> Image:
    """Read one case: a single file, or one file per channel on a common grid.

    Args:
        paths: files in channel order.
        num_channels: channels that the layout or model expects; None takes what is there. A single
            picture becomes grey or colour where 1 or 3 are expected.

    Raises:
        DataError: unreadable, grids that differ, or another number of channels.
    """
    single = len(paths) == 1
    images = [read_image(path, num_channels=num_channels if single else 1) for path in paths]
    first = images[0]
    for image in images[1:]:
        if not image.geometry.matches(first.geometry):
            raise DataError(
                f"{image.path}: its grid differs from that of {first.path}; the channels of one "
                "case must share shape and affine: resample it"
            )
    array = first.array if single else np.concatenate([image.array for image in images])
    if num_channels is not None and array.shape[0] != num_channels:
        raise DataError(
            f"{first.path}: {array.shape[0]} channel(s) where {num_channels} are expected; give "
            "the files of all channels, named CASE_0000, CASE_0001, …"
        )
    return Image(array, first.geometry, first.header, first.path)
