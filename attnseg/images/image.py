"""One scan or one mask in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.geometry import Geometry
from attnseg.images.paths import Series, Source, strip_suffix


@dataclass(frozen=True, eq=False)
class Image:
    """An array with its place in the world.

    Args:
        array: `[C, I, J, K]`, channel first; float32 for scans, an integer type for labels.
        geometry: shape, affine and spacing of the voxel grid.
        header: what the source's NIfTI, NRRD or MetaImage header says of its place, in its own
            bytes, so that a mask of the same format is written with the very same fields; None for
            other formats and for images made in memory.
        path: where it was read from; None for images made in memory.
        notes: what the reader had to settle, in plain sentences: two places in the header that
            contradict each other, directions a little askew, a series chosen among several.
        rounded: of a mask, whether its file holds other numbers: values with rounding, or NaN.
        sources: one a channel, where each channel was read from a file of its own; () otherwise.
    """

    array: np.ndarray
    geometry: Geometry
    header: bytes | None = None
    path: Source | None = None
    notes: tuple[str, ...] = ()
    rounded: bool = False
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        assert self.array.shape[1:] == self.geometry.shape, (self.array.shape, self.geometry.shape)

    @property
    def name(self) -> str:
        """File name without folder and suffix."""
        if self.path is None:
            return "image"
        return self.path.name if isinstance(self.path, Series) else strip_suffix(self.path.name)

    def source_of(self, channel: int) -> str:
        """The file of a channel, for messages; its number too where one file holds several."""
        if self.sources:
            return str(self.sources[channel])
        source = str(self.path or "image")
        return source if len(self.array) == 1 else f"{source}, channel {channel}"


@dataclass(frozen=True, eq=False)
class Outline:
    """What a file's header says of a scan, before its voxels are read.

    Args:
        geometry: shape and place.
        channels: how many.
        stored_bytes: of the voxels as stored, unpacked.
    """

    geometry: Geometry
    channels: int
    stored_bytes: int

    @classmethod
    def of(cls, image: Image) -> "Outline":
        """Of a scan that was read already: nothing of its file is in memory any more."""
        return cls(image.geometry, len(image.array), stored_bytes=0)


def smallest_integer_type(values: tuple[int, ...]) -> np.dtype:
    """Smallest integer type that holds all values; unsigned where none is negative."""
    low, high = min(values, default=0), max(values, default=0)
    kinds = (
        (np.int8, np.int16, np.int32, np.int64)
        if low < 0
        else (np.uint8, np.uint16, np.uint32, np.uint64)
    )
    for kind in kinds:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise AssertionError(f"no integer type holds {low}..{high}")


def channels_last(
    path: Path, shape: tuple[int, ...], num_channels: int | None
) -> tuple[int, tuple[int, int, int]]:
    """Channels and grid of a stored shape, the axis of channels its last one.

    Args:
        path: named in the error.
        shape: three axes or more.
        num_channels: how many channels the layout or the model expects; 0 takes any number.

    Raises:
        DataError: a 4D file of another number of channels.
    """
    axes = list(shape)
    while len(axes) > 4 and axes[-1] == 1:
        axes.pop()
    expected = 1 if num_channels is None else num_channels
    if len(axes) == 3 or (len(axes) == 4 and (axes[3] in {1, expected} or num_channels == 0)):
        return (axes[3] if len(axes) == 4 else 1), (axes[0], axes[1], axes[2])
    four = "4D one" if num_channels == 0 else f"4D one of {expected} channel(s)"
    raise DataError(
        f"{path}: shape {shape} where a 3D image or a {four} is expected; split time points into "
        "single files"
    )


def channel_first(path: Path, data: np.ndarray, num_channels: int | None) -> np.ndarray:
    """`[I, J, K]` or `[I, J, K, C, 1 …]` → `[C, I, J, K]`, as a view where it can be one."""
    channels, grid = channels_last(path, data.shape, num_channels)
    return np.moveaxis(data.reshape(*grid, channels, order="F"), 3, 0)
