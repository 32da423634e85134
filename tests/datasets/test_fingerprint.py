"""Figures of a data set, against values worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest

from attnseg.datasets import (
    CaseFacts,
    Finding,
    Intensity,
    find_dataset,
    fingerprint,
    inspect_dataset,
)
from attnseg.errors import DataError


def facts(
    name: str,
    *,
    shape: tuple[int, int, int] = (10, 20, 30),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 2.0),
    ras: tuple[int, int, int] = (0, 1, 2),
    counts: dict[int, int] | None = None,
    sample: tuple[float, ...] = (1.0,),
    extremes: tuple[float, float] = (0.0, 1.0),
    findings: tuple[Finding, ...] = (),
) -> CaseFacts:
    """`ras` gives for right, front, up the voxel axis that runs along it."""
    return CaseFacts(
        name,
        findings,
        shape=shape,
        spacing_mm=spacing_mm,
        orientation="RAS" if ras == (0, 1, 2) else "other",
        ras_shape=tuple(shape[axis] for axis in ras),
        ras_spacing_mm=tuple(spacing_mm[axis] for axis in ras),
        label_counts={0: 100, 1: 10} if counts is None else counts,
        intensity=(Intensity(0, 1, 0, 1, *extremes),),
        foreground_sample=np.array([sample], np.float32),
    )


def test_figures_by_hand():
    figures = fingerprint(
        [
            facts("a", counts={0: 9, 1: 10, 5: 3}, sample=(1, 2, 3), extremes=(-5, 4)),
            facts("b", shape=(12, 20, 40), counts={0: 9, 1: 30}, sample=(4,), extremes=(-1, 9)),
            # Stored with the slices first: K and I swapped, but the same patient axes.
            facts(
                "c",
                shape=(50, 22, 14),
                spacing_mm=(3.0, 1.5, 1.0),
                ras=(2, 1, 0),
                counts={-1: 2, 0: 9},
                sample=(),
            ),
        ]
    )
    assert figures.num_cases == 3
    assert figures.median_shape == (12, 20, 40)
    assert figures.median_spacing_mm == (1, 1, 2)
    assert figures.min_spacing_mm == (1, 1, 2)
    assert figures.percentile_10_spacing_mm == (1, 1, 2)
    assert figures.max_spacing_mm == (1, 1.5, 3)
    assert figures.min_extent_mm == (10, 20, 60)
    assert figures.max_extent_mm == (14, 33, 150)
    assert figures.orientations == {"RAS": 2, "other": 1}
    assert figures.label_values == (-1, 1, 5)
    assert figures.label_volumes_mm3 == (9.0, 40.0, 6.0)
    (intensity,) = figures.intensity
    assert (intensity.mean, intensity.std) == (2.5, pytest.approx(np.sqrt(1.25)))
    low, high = np.percentile([1, 2, 3, 4], (0.5, 99.5))
    assert intensity.percentile_00_5 == pytest.approx(low)
    assert intensity.percentile_99_5 == pytest.approx(high)
    assert (intensity.min, intensity.max) == (-5, 9)


def test_the_tenth_percentile_lies_between_the_finest_cases():
    figures = fingerprint([facts(str(n), spacing_mm=(1.0, 2.0, 3.0 + n)) for n in range(6)])
    assert figures.percentile_10_spacing_mm == (1, 2, 3.5)
    assert figures.min_spacing_mm == (1, 2, 3)


def test_unusable_cases_do_not_count():
    broken = facts("b", shape=(1, 1, 1), findings=(Finding("b", "fatal", "cut short", "copy"),))
    assert fingerprint([facts("a"), broken]) == fingerprint([facts("a")])
    for cases in ([], [broken], [facts("a", counts={0: 100})]):
        with pytest.raises(DataError, match="has a usable image with a label"):
            fingerprint(cases)


def test_it_is_ready_for_json():
    figures = dataclasses.asdict(fingerprint([facts("a"), facts("b")]))
    loaded = json.loads(json.dumps(figures, allow_nan=False))
    assert loaded["median_spacing_mm"] == [1.0, 1.0, 2.0]
    assert loaded["intensity"][0]["max"] == 1.0


def test_real_data(real_data):
    dataset = find_dataset(real_data / "head_neck_ct")
    few = dataclasses.replace(dataset, cases=dataset.cases[:4])
    figures = fingerprint(inspect_dataset(few))
    assert figures.orientations == {"LPI": 4}
    assert figures.median_shape == (128, 128, 128)
    assert figures.label_values == (1, 2, 3, 4, 5, 6, 7)
    assert figures.median_spacing_mm[2] == 2.5
    assert figures.intensity[0].min >= -1024
