"""Scans, masks and α as gzipped NIfTI files in memory: what viewers in a browser are handed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnseg.datasets.copies import fitting_type
from attnseg.errors import DataError
from attnseg.files import scratch_folder
from attnseg.images import Geometry, Image, is_picture, smallest_integer_type, write_volumes

# A browser draws a scan from one 3D texture. 2048 voxels along an axis is what graphics of desktop
# computers have held for many years; WebGL 2 itself promises 256.
MAX_AXIS = 2048
_RGB = np.dtype([("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])  # NIfTI's RGB24
_ALPHA_STEPS = 255  # α is stored in 8 bits: at most 0.002 off


def thinned(image: Image) -> tuple[Image, tuple[int, int, int]]:
    """Every n-th voxel along each axis that is longer than `MAX_AXIS`, at its own place.

    No value is averaged, so that what is shown is what the file holds.

    Returns:
        The image, and n along I, J, K; the image itself where it fits.
    """
    i, j, k = (math.ceil(n / MAX_AXIS) for n in image.geometry.shape)
    if max(i, j, k) == 1:
        return image, (1, 1, 1)
    array = image.array[:, ::i, ::j, ::k]
    affine = image.geometry.affine @ np.diag([i, j, k, 1])
    shape = (array.shape[1], array.shape[2], array.shape[3])
    return replace(image, array=array, geometry=Geometry(shape, affine)), (i, j, k)


def note_of_thinning(scan: Image, small: Image) -> str:
    """What is told of a scan that was `thinned`; "" of one that fits."""
    if small is scan:
        return ""
    axes, unit = (2, "pixels") if of_picture(scan) else (3, "voxels")
    whole, shown = (" × ".join(map(str, each.geometry.shape[:axes])) for each in (scan, small))
    return (
        f"Too large for a browser's graphics: of {whole} {unit}, {shown} are shown, evenly spaced."
    )


def refuse_other_grid(image: Image, scan: Image, what: str) -> None:
    """Check that an image lies on the scan's grid.

    Args:
        image: the one to check.
        scan: the scan.
        what: "mask" or "attention map", for the error.

    Raises:
        DataError: another shape or place.
    """
    ours, theirs = image.geometry, scan.geometry
    if ours.matches(theirs):
        return
    if ours.shape != theirs.shape:
        differs = f"shape {ours.shape}, and the scan {scan.name} has {theirs.shape}"
    else:
        differs = (
            f"shape {ours.shape} as the scan {scan.name}, but lies up to "
            f"{ours.distance_mm(theirs):.3g} mm off it"
        )
    raise DataError(
        f"{image.path or image.name}: {differs}; give the {what} of this scan, or resample it "
        "onto the scan's grid"
    )


def of_picture(scan: Image) -> bool:
    """Whether the scan was read from a PNG, JPEG or TIFF file."""
    return isinstance(scan.path, Path) and is_picture(scan.path)


def is_colour(scan: Image) -> bool:
    """Whether the scan is a picture of red, green and blue."""
    return of_picture(scan) and scan.array.shape[0] == 3


def ranks(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Label values → 0 for the background and n for the n-th of `values`, which rise."""
    lookup = np.array(sorted({0, *values}))
    rank = np.array([0 if value == 0 else 1 + list(values).index(value) for value in lookup])
    return rank[np.searchsorted(lookup, labels)]


def packed_scan(scan: Image) -> bytes:
    """All channels in the smallest of int16, uint16, int32 and float32 that holds them exactly;
    values that are not finite as 0, a colour picture as RGB of 8 bits, the upper ones of 16."""
    if is_colour(scan):
        array = scan.array if scan.array.max() <= 255 else scan.array // 256
        pixels = np.ascontiguousarray(np.moveaxis(array, 0, -1).astype(np.uint8))
        return packed(scan.geometry, [pixels.view(_RGB)[..., 0]], _RGB)
    array = np.nan_to_num(scan.array, nan=0.0, posinf=0.0, neginf=0.0)
    return packed(scan.geometry, array, fitting_type(array))


def packed_labels(mask: Image, values: Sequence[int]) -> bytes:
    """A mask as the `ranks` of its labels."""
    dtype = smallest_integer_type((0, len(values)))
    return packed(mask.geometry, [ranks(mask.array[0], values)], dtype)


def packed_attention(attention: Image) -> bytes:
    """α of all gates in 8 bits.

    Raises:
        DataError: values outside 0 to 1.
    """
    alpha = attention.array
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise DataError(
            f"{attention.path or attention.name}: values from {low:g} to {high:g}; α lies between "
            "0 and 1: give the file of attention maps"
        )
    steps = np.rint(alpha.clip(0, 1) * _ALPHA_STEPS)
    return packed(attention.geometry, steps, np.dtype(np.uint8), slope=1 / _ALPHA_STEPS)


def packed(
    geometry: Geometry,
    volumes: Sequence[np.ndarray] | np.ndarray,
    dtype: np.dtype,
    *,
    slope: float = 1.0,
) -> bytes:
    """A gzipped NIfTI file of volumes `[I, J, K]`, with the affine as its sform."""
    like = Image(np.empty((0, *geometry.shape)), geometry)
    with scratch_folder() as folder:
        path = folder / "volume.nii.gz"
        write_volumes(path, volumes, count=len(volumes), like=like, dtype=dtype, slope=slope)
        return path.read_bytes()
