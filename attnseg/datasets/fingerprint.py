"""The few figures of a data set from which a training run is planned and scans are normalised."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.measures import Intensity
from attnseg.errors import DataError


@dataclass(frozen=True)
class Fingerprint:
    """Figures over all usable cases; `dataclasses.asdict` makes them ready for JSON.

    Shapes and spacings are along the patient's axes right, front, up, however a file stores them.

    Args:
        num_cases: usable cases.
        median_shape: voxels per axis.
        median_spacing_mm: distance of voxel centres per axis.
        percentile_10_spacing_mm: per axis, what a tenth of the cases are finer than.
        min_spacing_mm: finest per axis.
        max_spacing_mm: coarsest per axis.
        min_extent_mm: smallest field of view per axis: voxels times their distance.
        max_extent_mm: largest per axis.
        orientations: orientation code such as "RAS" → cases stored so.
        label_values: all label values but 0 and the one to ignore, ascending.
        label_volumes_mm3: for each of `label_values` the median over the cases that have it.
        intensity: per channel; mean, std and percentiles over foreground voxels of all cases
            pooled, min and max over the whole images.
    """

    num_cases: int
    median_shape: tuple[int, int, int]
    median_spacing_mm: tuple[float, float, float]
    percentile_10_spacing_mm: tuple[float, float, float]
    min_spacing_mm: tuple[float, float, float]
    max_spacing_mm: tuple[float, float, float]
    min_extent_mm: tuple[float, float, float]
    max_extent_mm: tuple[float, float, float]
    orientations: dict[str, int]
    label_values: tuple[int, ...]
    label_volumes_mm3: tuple[float, ...]
    intensity: tuple[Intensity, ...]


def fingerprint(facts: Sequence[CaseFacts]) -> Fingerprint:
    """Figures over the usable cases among `facts`.

    Raises:
        DataError: no usable case, or none with foreground.
    """
    cases = [case for case in facts if case.usable]
    values = sorted({value for case in cases for value in case.label_counts if value != 0})
    if not values:
        raise DataError(
            f"none of {len(facts)} case(s) has a usable image with a label; mend the findings of "
            "`attnseg check` first"
        )
    shapes = np.array([case.ras_shape for case in cases])
    spacings = np.array([case.ras_spacing_mm for case in cases])
    extents = shapes * spacings
    return Fingerprint(
        num_cases=len(cases),
        median_shape=_triple(np.median(shapes, axis=0).round().astype(int)),
        median_spacing_mm=_triple(np.median(spacings, axis=0)),
        percentile_10_spacing_mm=_triple(np.percentile(spacings, 10, axis=0)),
        min_spacing_mm=_triple(spacings.min(axis=0)),
        max_spacing_mm=_triple(spacings.max(axis=0)),
        min_extent_mm=_triple(extents.min(axis=0)),
        max_extent_mm=_triple(extents.max(axis=0)),
        orientations=dict(sorted(Counter(case.orientation for case in cases).items())),
        label_values=tuple(values),
        label_volumes_mm3=tuple(_median_volume_mm3(value, cases) for value in values),
        intensity=_pooled_intensity(cases),
    )


def _triple(row: np.ndarray) -> tuple:
    return tuple(row.tolist())


def _median_volume_mm3(value: int, cases: Sequence[CaseFacts]) -> float:
    volumes = [
        case.label_counts[value] * np.prod(case.spacing_mm)
        for case in cases
        if value in case.label_counts
    ]
    return float(np.median(volumes))


def _pooled_intensity(cases: Sequence[CaseFacts]) -> tuple[Intensity, ...]:
    pooled = np.concatenate([case.foreground_sample for case in cases], axis=1).astype(np.float64)
    low, high = np.percentile(pooled, (0.5, 99.5), axis=1)
    return tuple(
        Intensity(
            mean=float(channel.mean()),
            std=float(channel.std()),
            percentile_00_5=float(low[number]),
            percentile_99_5=float(high[number]),
            min=min(case.intensity[number].min for case in cases),
            max=max(case.intensity[number].max for case in cases),
        )
        for number, channel in enumerate(pooled)
    )
