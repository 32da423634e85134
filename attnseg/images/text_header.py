"""What NRRD and MetaImage have in common: a header of text, and voxels behind or beside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from attnseg.errors import DataError
from attnseg.images.contents import first_bytes
from attnseg.images.slicer import Segment

# Diffusion scans have long headers, though none near this.
HEADER_BYTES = 1 << 20
Packing = Literal["none", "gzip", "zlib"]
# In NRRD and MetaImage x grows to the patient's left and y to the back.
LPS = (-1.0, -1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Stored:
    """What a header says of the voxels behind it.

    Args:
        shape: voxels along the stored axes, the fastest first, channels included.
        channel_axis: which of them counts channels; None: none does.
        dtype: of one number, with its byte order.
        affine: `[4, 4]` voxel index → mm, RAS+; not checked yet.
        place: the header's own lines about the place of the grid, to be written again as they are.
        data: the file that holds the voxels.
        offset: byte in it at which they begin; -1: they are its last bytes.
        packing: how they are packed from there on.
        packed_bytes: length of what is packed; None: all that follows.
        skip: bytes to leave out once it is unpacked.
        notes: what had to be settled.
        segments: of a segmentation of 3D Slicer, as its header describes them.
    """

    shape: tuple[int, ...]
    channel_axis: int | None
    dtype: np.dtype
    affine: np.ndarray
    place: bytes
    data: Path
    offset: int
    packing: Packing = "none"
    packed_bytes: int | None = None
    skip: int = 0
    notes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along I, J, K; a picture has one slice."""
        axes = [n for axis, n in enumerate(self.shape) if axis != self.channel_axis]
        i, j, k = (*axes, 1)[:3]
        return i, j, k

    @property
    def channels(self) -> int:
        return 1 if self.channel_axis is None else self.shape[self.channel_axis]


def read_header(path: Path, *, end: str) -> tuple[str, int | None]:
    """Text of a header, and the byte behind it.

    Args:
        path: of the header, and of the voxels where these follow it.
        end: pattern of what ends the header.

    Raises:
        DataError: no such file, an empty one, no end of the header in its first mebibyte.
    """
    first_bytes(path)
    with path.open("rb") as stream:
        content = stream.read(HEADER_BYTES)
    found = re.search(end.encode(), content)
    if found is None and len(content) == HEADER_BYTES:
        raise DataError(f"{path}: damaged header (it has no end); copy it again")
    text = content[: found.end() if found else len(content)].decode("utf-8", errors="replace")
    return text, found.end() if found else None


def damaged(path: Path, key: str, value: str) -> DataError:
    """The error for a line of the header that makes no sense."""
    shown = value if len(value) <= 60 else value[:60] + "…"
    return DataError(f"{path}: unusable header ({key}: {shown!r}); correct it, or export it again")


def numbers(path: Path, key: str, words: Sequence[str], *, count: int) -> list[float]:
    """So many finite numbers.

    Raises:
        DataError: another number of them, or words that are none.
    """
    try:
        found = [float(word) for word in words]
    except ValueError:
        found = []
    if len(found) != count or not np.isfinite(found).all():
        raise damaged(path, key, " ".join(words))
    return found


def wholes(path: Path, key: str, words: Sequence[str], *, count: int) -> tuple[int, ...]:
    """So many whole numbers of 1 or more.

    Raises:
        DataError: another number of them, or words that are none.
    """
    if len(words) != count or not all(re.fullmatch(r"0*[1-9][0-9]{0,17}", word) for word in words):
        raise damaged(path, key, " ".join(words))
    return tuple(int(word) for word in words)


def whole(path: Path, key: str, word: str) -> int:
    """One whole number of -1 or more.

    Raises:
        DataError: it is none.
    """
    if not re.fullmatch(r"-1|0*[0-9]{1,18}", word):
        raise damaged(path, key, word)
    return int(word)


def data_beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names.

    Raises:
        DataError: it does not lie in the folder of the header, or is not one file.
    """
    name = name.removeprefix("./")
    if not name.isprintable() or re.search(r"[/\\%]|^\.*$|^LIST\b", name):
        shown = name if len(name) <= 60 else name[:60] + "…"
        raise DataError(
            f"{path}: its voxels are in {shown!r}, which is not one file beside it; save the scan "
            "as a single file"
        )
    # A name too long for the disk is that of no file.
    if len(name.encode(errors="replace")) > 255 or not (data := path.with_name(name)).is_file():
        raise DataError(f"{path}: its voxels are not there ({name[:60]}); put the file beside it")
    return data


def grid_affine(
    columns: Sequence[Sequence[float]],
    origin: Sequence[float],
    *,
    signs: tuple[float, float, float] = LPS,
) -> np.ndarray:
    """`[4, 4]` voxel index → mm, RAS+.

    Args:
        columns: steps in mm along two or three axes, each of two or three numbers.
        origin: of the first voxel.
        signs: what turns the header's axes into RAS+.
    """
    affine = np.eye(4)
    for axis, step in enumerate(columns):
        affine[: len(step), axis] = step
    affine[: len(origin), 3] = origin
    affine[:3] *= np.array(signs)[:, None]
    if len(columns) == 2:  # a picture: a slice of 1 mm, square to its rows and columns
        with np.errstate(all="ignore"):
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            affine[:3, 2] = normal / np.linalg.norm(normal)
    return affine
