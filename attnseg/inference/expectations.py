"""A scan beside what its model was trained on: what is so different that its mask may not hold.

Only what a user can act on is said, and only where a scan lies far outside of training: a warning
that comes with every scan is not read. So what is not said, on purpose: the order in which a file
stores its axes, for the header turns them (where a header is wrong, spacing and field of view along
the patient's axes tell); intensities of channels that are normalised scan by scan, whose units mean
nothing; spacing and size of pictures, whose pixels have none.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from attnseg.images import Geometry, Image, is_picture
from attnseg.spec import ClipZScore, ModelSpec

# Resampling bridges differences of spacing; half as coarse again as anything seen, detail is gone.
_COARSER = 1.5
# Finer scans lose nothing; five times finer is another kind of scan, or a header of wrong units.
_FINER = 5.0
# Half as wide again: a whole head for a model of cut-out organs. People themselves differ by less.
_WIDER = 1.5
# Half as wide: organs that lean on their surroundings have none.
_NARROWER = 2.0
# An axis whose voxels are twice as long as along the others is one of slices.
_SLICES = 2.0
# Hounsfield units: air lies at −1000 and fat at −100. A model that has seen scans with air expects
# some; a scan without either is one without the offset, or of other units.
_AIR, _FAT = -500.0, -100.0
# Share of a scan's voxels in the window of training's labels (its percentiles 0.5 to 99.5). Of a
# body in CT even bone takes some per cent; next to none is a matter of units or of contents.
_WINDOW_SHARE = 1e-3
_SAMPLES = 200_000


def surprises(image: Image, spec: ModelSpec) -> list[str]:
    """Plain sentences, one for each way in which a scan is unlike the training set.

    Args:
        image: the scan as read.
        spec: of the model; an empty fingerprint, or one that lacks figures, means fewer sentences.

    Returns:
        For example `["slice thickness 7.5 mm along S; training 0.7–3 mm"]`; empty for a scan like
        those of training.
    """
    found = []
    if image.path is None or not is_picture(image.path):
        found += spacing_surprises(image.geometry, spec.fingerprint)
        found += extent_surprises(image.geometry, spec.fingerprint)
    return found + intensity_surprises(image.array, spec)


def spacing_surprises(geometry: Geometry, fingerprint: Mapping[str, Any]) -> list[str]:
    """Along which of R, A, S the voxels are far coarser or finer than any of training."""
    low, high = _triple(fingerprint, "min_spacing_mm"), _triple(fingerprint, "max_spacing_mm")
    if low is None or high is None:
        return []
    spacing = [geometry.spacing_mm[axis] for axis, _ in geometry.ras_axes]
    found = []
    for axis, mm in enumerate(spacing):
        others = [spacing[other] for other in range(3) if other != axis]
        slices = mm >= _SLICES * max(others)
        if not low[axis] / _FINER <= mm <= high[axis] * _COARSER:
            what = "slice thickness" if slices else "spacing"
            found.append(_sentence(what, mm, "RAS"[axis], low[axis], high[axis]))
    return found


def extent_surprises(geometry: Geometry, fingerprint: Mapping[str, Any]) -> list[str]:
    """Along which of R, A, S a scan covers far more or less of the patient than any of training."""
    low, high = _triple(fingerprint, "min_extent_mm"), _triple(fingerprint, "max_extent_mm")
    if low is None or high is None:
        return []
    found = []
    for axis, (stored, _) in enumerate(geometry.ras_axes):
        mm = geometry.shape[stored] * geometry.spacing_mm[stored]
        if not low[axis] / _NARROWER <= mm <= high[axis] * _WIDER:
            found.append(_sentence("field of view", mm, "RAS"[axis], low[axis], high[axis]))
    return found


def intensity_surprises(array: np.ndarray, spec: ModelSpec) -> list[str]:
    """Channels of fixed units, as of CT, whose numbers do not seem to be of these units.

    Args:
        array: `[C, I, J, K]`; some 200,000 to 1,600,000 spaced-out voxels a channel are looked at.
        spec: of the model.
    """
    figures = spec.fingerprint.get("intensity")
    schemes = spec.preprocessing.normalization
    if not isinstance(figures, list | tuple) or not len(figures) == len(array) == len(schemes):
        return []
    found = []
    for name, channel, figure, scheme in zip(
        spec.channel_names, array, figures, schemes, strict=True
    ):
        if isinstance(scheme, ClipZScore) and isinstance(figure, Mapping):
            told = _unit_surprise(_sample(channel), figure)
            found += [f"channel {name}: {told}" if len(array) > 1 else told] if told else []
    return found


def _unit_surprise(values: np.ndarray, figure: Mapping[str, Any]) -> str:
    """What is odd about a sample of a channel's finite values; empty if nothing is."""
    if not values.size:
        return ""
    lowest = float(values.min())
    least = figure.get("min")
    if _is_number(least) and least <= _AIR and lowest > _FAT:
        return (
            f"no value below {lowest:.4g}; training's scans reach down to {least:.4g}: are these "
            "Hounsfield units?"
        )
    low, high = figure.get("percentile_00_5"), figure.get("percentile_99_5")
    if _is_number(low) and _is_number(high):
        share = float(((values >= low) & (values <= high)).mean())
        if share < _WINDOW_SHARE:
            return (
                f"{100 * share:.2g} % of the voxels from {low:.4g} to {high:.4g}, where training's "
                "labels lie: are the units the same?"
            )
    return ""


def _sample(channel: np.ndarray) -> np.ndarray:
    """Finite values of `[I, J, K]` at every n-th voxel along each axis."""
    step = max(1, math.floor((channel.size / _SAMPLES) ** (1 / 3)))
    # Never so wide that a thin axis is all but skipped.
    strides = (slice(None, None, min(step, max(1, n // 16))) for n in channel.shape)
    values = channel[tuple(strides)]
    return values[np.isfinite(values)]


def _sentence(what: str, mm: float, axis: str, low: float, high: float) -> str:
    first, last = f"{low:.3g}", f"{high:.3g}"
    training = first if first == last else f"{first}–{last}"
    return f"{what} {mm:.3g} mm along {axis}; training {training} mm"


def _triple(fingerprint: Mapping[str, Any], key: str) -> tuple[float, float, float] | None:
    """Three positive numbers of a fingerprint; None where it has none, as an older one may."""
    found = fingerprint.get(key)
    if not isinstance(found, list | tuple) or len(found) != 3:
        return None
    if not all(_is_number(value) and value > 0 for value in found):
        return None
    return float(found[0]), float(found[1]), float(found[2])


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
