"""Lesions matched by hand."""

import math

import numpy as np
import pytest

from attnseg.evaluation import Lesions, count_lesions


def row(*spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((30, 3, 1), dtype=bool)
    for start, stop in spans:
        mask[start:stop, 1] = True
    return mask


def test_found_matched_missed_and_false() -> None:
    """A match of IoU 3/5, a touch of 1/7, one missed, one made up."""
    found = count_lesions(row((1, 5), (9, 13), (25, 26)), row((0, 4), (12, 16), (20, 22)))
    assert found == Lesions(reference=3, predicted=3, found=2, true=2, matched=1, iou=3 / 5)
    assert found.sensitivity == found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.segmentation_quality == pytest.approx(0.6)
    assert found.recognition_quality == pytest.approx(1 / 3)
    assert found.panoptic_quality == pytest.approx(0.6 / 3)


def test_one_prediction_over_two_lesions() -> None:
    """Both are found by one component, which matches neither: IoU 4/10 each."""
    found = count_lesions(row((0, 10)), row((0, 4), (6, 10)))
    assert (found.found, found.true, found.matched) == (2, 1, 0)
    assert (found.sensitivity, found.precision, found.f1) == (1, 1, 1)
    assert math.isnan(found.segmentation_quality)
    assert found.recognition_quality == found.panoptic_quality == 0


def test_an_iou_of_one_half_is_no_match() -> None:
    assert count_lesions(row((0, 3)), row((1, 4))).matched == 0
    assert count_lesions(row((0, 4)), row((1, 5))).matched == 1


def test_empty_masks() -> None:
    none = count_lesions(row(), row())
    assert np.isnan([none.sensitivity, none.precision, none.f1, none.panoptic_quality]).all()
    missed, alarm = count_lesions(row(), row((0, 2))), count_lesions(row((0, 2)), row())
    assert (missed.sensitivity, missed.f1, missed.panoptic_quality) == (0, 0, 0)
    assert (alarm.precision, alarm.f1, alarm.panoptic_quality) == (0, 0, 0)
    assert math.isnan(missed.precision)
    assert math.isnan(alarm.sensitivity)


def test_voxels_hang_together_through_corners() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert count_lesions(mask, mask).reference == 2


def test_noise_by_definition_in_any_order_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.ndimage import label

    monkeypatch.setattr("attnseg.evaluation.lesions._BLOCK", 100)
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((12, 11, 10)) < 0.05, rng.random((12, 11, 10)) < 0.05
    theirs[:4] = ours[:4]
    everywhere = np.ones((3, 3, 3))
    (a, n), (b, m) = label(ours, everywhere), label(theirs, everywhere)
    shared = np.array([[((a == x) & (b == y)).sum() for y in range(m + 1)] for x in range(n + 1)])
    joined = np.array([[((a == x) | (b == y)).sum() for y in range(m + 1)] for x in range(n + 1)])
    shared, iou = shared[1:, 1:], (shared / joined)[1:, 1:]
    found = count_lesions(np.asfortranarray(ours), theirs)
    assert found == count_lesions(ours, theirs)
    assert (found.predicted, found.reference) == (n, m)
    assert found.true == (shared > 0).any(axis=1).sum()
    assert found.found == (shared > 0).any(axis=0).sum()
    assert found.matched == (iou > 0.5).sum() > 0
    assert found.iou == pytest.approx(iou[iou > 0.5].sum())
