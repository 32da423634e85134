"""What is measured on the voxels of one case. Pure functions, slice by slice where they can."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attnseg.images import Geometry, smallest_integer_type

FOREGROUND_SAMPLES = 1000
# Enough for steady percentiles, and a scan of 512 × 512 × 600 need not be sorted as a whole.
_STATISTICS_SAMPLES = 1_000_000

_T = TypeVar("_T", int, float)


@dataclass(frozen=True)
class Intensity:
    """Intensities of one channel in the scan's own unit; `percentile_99_5` is the 99.5th."""

    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float
    min: float
    max: float


def on_ras_axes(geometry: Geometry, values: tuple[_T, _T, _T]) -> tuple[_T, _T, _T]:
    """Values given along I, J, K, put in order of the patient's axes right, front, up."""
    r, a, s = (values[axis] for axis, _ in geometry.ras_axes)
    return r, a, s


def intensity_of(channel: np.ndarray) -> Intensity:
    """Statistics of `[I, J, K]`: all but the extremes from at most a million spaced-out voxels."""
    values = channel.ravel(order="K")
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Intensity(*[float("nan")] * 6)
    sample = values[:: -(-values.size // _STATISTICS_SAMPLES)].astype(np.float64)
    low, high = np.percentile(sample, (0.5, 99.5))
    return Intensity(
        mean=float(sample.mean()),
        std=float(sample.std()),
        percentile_00_5=float(low),
        percentile_99_5=float(high),
        min=float(values.min()),
        max=float(values.max()),
    )


def count_values(labels: np.ndarray) -> dict[int, int]:
    """Voxels of each value in `[I, J, K]`; slice by slice, so that no large copy is sorted."""
    counts: Counter[int] = Counter()
    for index in range(labels.shape[2]):
        values, numbers = np.unique(labels[:, :, index], return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return dict(sorted(counts.items()))


def label_digest(labels: np.ndarray, counts: dict[int, int]) -> str:
    """Digest of shape and values; the type in which the file stores them plays no part."""
    return _digest(labels[None], smallest_integer_type(tuple(counts)))


def image_digest(array: np.ndarray) -> str:
    """Digest of shape and values of `[C, I, J, K]`, whatever the file's format and name."""
    return _digest(array, np.dtype(np.float32))


def _digest(array: np.ndarray, dtype: np.dtype) -> str:
    # BLAKE2 takes half of SHA-256's time where the processor has no instructions for the latter.
    digest = hashlib.blake2b(repr((array.shape, dtype.str)).encode(), digest_size=16)
    for channel in array:
        for index in range(channel.shape[2]):
            digest.update(channel[:, :, index].astype(dtype).tobytes(order="F"))
    return digest.hexdigest()


def centroids_mm(labels: np.ndarray, geometry: Geometry) -> dict[int, tuple[float, float, float]]:
    """Label value → centre of its voxels in mm, RAS+; of `[I, J, K]`, without 0."""
    sums: dict[int, np.ndarray] = {}
    for k in range(labels.shape[2]):
        plane = labels[:, :, k]
        i, j = np.nonzero(plane)
        values, which = np.unique(plane[i, j], return_inverse=True)
        sizes = np.bincount(which, minlength=len(values))
        along_i = np.bincount(which, weights=i, minlength=len(values))
        along_j = np.bincount(which, weights=j, minlength=len(values))
        for value, *each in zip(values.tolist(), along_i, along_j, k * sizes, sizes, strict=True):
            sums[value] = sums.get(value, 0) + np.array(each)
    centres = {}
    for value, total in sorted(sums.items()):
        x, y, z = (geometry.affine @ (total / total[3]))[:3]
        centres[value] = float(x), float(y), float(z)
    return centres


def foreground_sample(array: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`[C, n]` intensities at up to 1000 evenly spaced voxels of the foreground."""
    foreground = np.flatnonzero(labels)
    if foreground.size > FOREGROUND_SAMPLES:
        picks = np.linspace(0, foreground.size - 1, FOREGROUND_SAMPLES).round().astype(np.int64)
        foreground = foreground[picks]
    i, j, k = np.unravel_index(foreground, labels.shape)
    return np.ascontiguousarray(array[:, i, j, k])
