"""Which files are scans, how a case of several files becomes one image, and where masks go."""

import re
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images import nifti
from attnseg.images.image import Image

SCAN_SUFFIXES = (".nii.gz", ".nii")


def split_channel(name: str) -> tuple[str, int] | None:
    """`case_0001` → (`case`, 1), as nnU-Net names the channels of a case; None for other names."""
    match = re.fullmatch(r"(.+)_(\d{4})", name)
    return (match[1], int(match[2])) if match else None


def is_scan(path: Path) -> bool:
    """Whether the file name says that it is an image attnseg reads; hidden files never are."""
    return path.name.endswith(SCAN_SUFFIXES) and not path.name.startswith(".")


def read_case(paths: tuple[Path, ...], *, num_channels: int | None = None) -> Image:
    """Read one case: a single file, or one file per channel on a common grid.

    Args:
        paths: files in channel order.
        num_channels: channels that the layout or model expects; None takes what is there.

    Raises:
        DataError: unreadable, grids that differ, or another number of channels.
    """
    single = len(paths) == 1
    images = [
        nifti.read_image(path, num_channels=num_channels if single else None) for path in paths
    ]
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
