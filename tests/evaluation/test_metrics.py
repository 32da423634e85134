"""Dice, counts and volumes against values known by hand and against a plain loop."""

import math

import numpy as np
import pytest

from attnseg.evaluation import dice, label_values, overlap_counts, volume_ml


def cube(*, start: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((24, 20, 18), dtype=bool)
    mask[start : start + side, 4 : 4 + side, 5 : 5 + side] = True
    return mask


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, 0.75), (4, 0.5), (8, 0.0)])
def test_shifted_cubes(shift: int, expected: float) -> None:
    assert dice(cube(start=3), cube(start=3 + shift)) == expected


def test_empty_masks() -> None:
    empty = np.zeros((24, 20, 18), dtype=bool)
    assert math.isnan(dice(empty, empty))
    assert dice(cube(start=3), empty) == 0.0
    assert dice(empty, cube(start=3)) == 0.0


@pytest.mark.parametrize("values", [(-1, 205, 500), (0, -1, 500, 7), (500, 1), (9,), ()])
def test_overlap_counts_equal_a_loop_over_labels(values: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    prediction = rng.choice([-1, 0, 3, 205, 500], size=(9, 7, 11), p=[0.1, 0.6, 0.1, 0.1, 0.1])
    reference = rng.choice([-1, 0, 3, 205, 500], size=(9, 7, 11)).astype(np.int16)
    counts = overlap_counts(prediction, reference, values)
    assert list(counts) == sorted(values)
    for value in values:
        ours, theirs = prediction == value, reference == value
        assert counts[value] == ((ours & theirs).sum(), ours.sum(), theirs.sum())
        assert counts[value].dice == pytest.approx(dice(ours, theirs), nan_ok=True)


def test_overlap_counts_takes_masks_of_any_type_and_memory_order() -> None:
    reference = np.zeros((6, 5, 4), dtype=np.uint8, order="F")
    reference[1:4, 1:4, 1:3] = 255
    prediction = np.where(reference == 255, 255, -3)
    assert overlap_counts(prediction, reference, [255, -3]) == {
        -3: (0, 120 - 18, 0),
        255: (18, 18, 18),
    }


def test_label_values_leave_out_the_background() -> None:
    assert label_values(np.array([[0, -1], [500, 500]])) == {-1, 500}
    assert label_values(np.zeros((2, 2), dtype=np.uint8)) == set()


def test_volume_of_unequal_spacing() -> None:
    assert volume_ml(1000, (1.25, 1.25, 8.0)) == pytest.approx(12.5)
    assert volume_ml(0, (1.0, 1.0, 1.0)) == 0.0
