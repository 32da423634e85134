"""Intensities brought to the network's range, channel by channel."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attnseg.errors import DataError
from attnseg.spec import ClipZScore, Normalization

# A deviation below this part of the mean is rounding: the channel is constant.
_NO_CONTRAST = 1e-6
# A channel is looked at in parts of about this many voxels: what is computed of one stays small.
_PART_VOXELS = 1 << 22


@dataclass(frozen=True)
class Scale:
    """Clip, subtract the mean, divide by the deviation."""

    mean: float
    std: float
    low: float | None = None
    high: float | None = None

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Any part of the channel, float32 in and out."""
        if self.low is not None:
            values = np.clip(values, self.low, self.high)
        return ((values - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32)


def scale_of(channel: np.ndarray, scheme: Normalization, *, source: str) -> Scale:
    """How one channel `[I, J, K]` is normalised.

    Args:
        channel: intensities as read.
        scheme: from the model's spec.
        source: the file, named in errors.

    Raises:
        DataError: values that are not finite.
    """
    if isinstance(scheme, ClipZScore):
        _check_finite(channel, source)
        return Scale(scheme.mean, scheme.std, scheme.low, scheme.high)
    mean, std = foreground_statistics(channel, source=source)
    # A constant channel, such as a sequence that was not acquired, says nothing: zeros.
    return Scale(mean, std or np.inf)


def normalize(channel: np.ndarray, scheme: Normalization, *, source: str) -> np.ndarray:
    """Normalise one channel `[I, J, K]`, float32 in and out. Args and errors of `scale_of`."""
    return scale_of(channel, scheme, source=source).apply(channel)


def foreground_statistics(channel: np.ndarray, *, source: str) -> tuple[float, float]:
    """Mean and deviation of the voxels that are not zero (all, where none differs from zero).

    Scanners and defacing tools fill the outside with zeros; counting them would tie the
    normalisation to the size of the field of view. The deviation of a constant channel is 0.

    Raises:
        DataError: values that are not finite.
    """
    _check_finite(channel, source)
    mean, std = _moments(channel, foreground=True)
    if _flat(mean, std):
        # A constant foreground on a zero background still has the contrast between the two.
        mean, std = _moments(channel, foreground=False)
    return mean, 0.0 if _flat(mean, std) else std


def is_constant(channel: np.ndarray) -> bool:
    """Whether `[I, J, K]` has the same finite value everywhere, but for rounding.

    Then, and only then, `foreground_statistics` gives a deviation of 0; this takes less time.
    """
    low, high = float(channel.min()), float(channel.max())
    if not np.isfinite(high - low):
        return False
    # No deviation is smaller than that of a single voxel that differs from all others.
    least = (high - low) / (2 * channel.size**0.5)
    if not _flat(max(abs(low), abs(high)), least):
        return False
    mean, std = _moments(channel, foreground=False)
    return _flat(mean, std)


def _flat(mean: float, std: float) -> bool:
    return std <= _NO_CONTRAST * abs(mean)


def _moments(channel: np.ndarray, *, foreground: bool) -> tuple[float, float]:
    """Mean and deviation; 0 and 0 of an empty foreground."""

    def voxels() -> Iterator[np.ndarray]:
        return (part[part != 0] if foreground else part for part in _parts(channel))

    # float64: some scans reach 10^6, and float32 sums of squares would lose their contrast.
    count = sum(part.size for part in voxels())
    if count == 0:
        return 0.0, 0.0
    mean = sum(float(part.sum(dtype=np.float64)) for part in voxels()) / count
    squares = sum(float(np.square(part - mean, dtype=np.float64).sum()) for part in voxels())
    return mean, float(np.sqrt(squares / count))


def _check_finite(channel: np.ndarray, source: str) -> None:
    bad = channel.size - sum(int(np.isfinite(part).sum()) for part in _parts(channel))
    if bad:
        raise DataError(
            f"{source}: {bad} of {channel.size} voxels are NaN or infinite; replace them (by 0, "
            "say) or export again"
        )


def _parts(channel: np.ndarray) -> Iterator[np.ndarray]:
    """The channel in slabs along its slowest axis."""
    axis = int(np.argmax(np.abs(channel.strides)))
    slowest = np.moveaxis(channel, axis, 0)
    step = max(1, _PART_VOXELS * len(slowest) // channel.size)
    for start in range(0, len(slowest), step):
        yield slowest[start : start + step]
