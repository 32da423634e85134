"""Intensities brought to the network's range, channel by channel."""

import numpy as np

from attnseg.errors import DataError
from attnseg.spec import ClipZScore, Normalization


def normalize(channel: np.ndarray, scheme: Normalization, *, source: str) -> np.ndarray:
    """Normalise one channel `[I, J, K]`, float32 in and out.

    Args:
        channel: intensities as read.
        scheme: from the model's spec.
        source: the file, named in errors.

    Raises:
        DataError: values that are not finite, or a foreground without contrast.
    """
    if isinstance(scheme, ClipZScore):
        _check_finite(channel, source)
        clipped = np.clip(channel, scheme.low, scheme.high)
        return ((clipped - scheme.mean) / scheme.std).astype(np.float32)
    mean, std = foreground_statistics(channel, source=source)
    return ((channel - np.float32(mean)) / np.float32(std)).astype(np.float32)


def foreground_statistics(channel: np.ndarray, *, source: str) -> tuple[float, float]:
    """Mean and deviation of the voxels that are not zero (all, where none differs from zero).

    Scanners and defacing tools fill the outside with zeros; counting them would tie the
    normalisation to the size of the field of view.
    """
    _check_finite(channel, source)
    foreground = channel[channel != 0]
    if foreground.size == 0:
        foreground = channel
    # float64: some scans reach 10^6, and float32 sums of squares would lose their contrast.
    mean, std = float(foreground.mean(dtype=np.float64)), float(foreground.std(dtype=np.float64))
    if std <= 1e-6 * abs(mean):
        # A constant foreground on a zero background still has the contrast between the two.
        mean, std = float(channel.mean(dtype=np.float64)), float(channel.std(dtype=np.float64))
    if std <= 1e-6 * abs(mean):
        raise DataError(
            f"{source}: every voxel has the value {mean:g}; a scan needs contrast: check the export"
        )
    return mean, std


def _check_finite(channel: np.ndarray, source: str) -> None:
    bad = channel.size - int(np.isfinite(channel).sum())
    if bad:
        raise DataError(
            f"{source}: {bad} of {channel.size} voxels are NaN or infinite; replace them (by 0, "
            "say) or export again"
        )
