"""What α says by itself, against sklearn-like closed forms and brute force."""

import math

import numpy as np
import pytest

from attnseg.evaluation.attention import GateFigures, LabelFigures, gate_figures, mean_figures


def brute_auc(inside, outside):
    pairs = inside[:, None] - outside[None]
    return ((pairs > 0).sum() + 0.5 * (pairs == 0).sum()) / pairs.size


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_brute_force(seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, (7, 9, 5)).astype(np.uint8)
    alpha = np.clip(generator.normal(0.4, 0.2, labels.shape) + 0.1 * labels, 0, 1)
    alpha = (np.rint(alpha * 4095) / 4096).astype(np.float32)  # no two values in one bin
    found = gate_figures(alpha, labels, [1, 2, 3])
    assert found.mean == pytest.approx(alpha.mean(dtype=np.float64))
    assert found.sd == pytest.approx(alpha.std(dtype=np.float64))
    assert found.saturated == np.mean((alpha > 0.99) | (alpha < 0.01))
    share = alpha[alpha > 0].astype(np.float64) / alpha.sum(dtype=np.float64)
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum() / np.log(alpha.size))
    for value in (1, 2, 3):
        inside, outside = alpha[labels == value], alpha[labels != value]
        assert found.labels[value].inside == pytest.approx(inside.mean(dtype=np.float64))
        assert found.labels[value].outside == pytest.approx(outside.mean(dtype=np.float64))
        assert found.labels[value].auc == pytest.approx(brute_auc(inside, outside))


def test_a_constant_map_says_nothing():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3] = 1
    found = gate_figures(np.full(labels.shape, 0.5, np.float32), labels, [1, 2])
    assert (found.mean, found.sd, found.saturated) == (0.5, 0.0, 0.0)
    assert found.entropy == pytest.approx(1.0)
    assert found.labels[1] == LabelFigures(0.5, 0.5, 0.5)
    assert math.isnan(found.labels[2].inside)
    assert math.isnan(found.labels[2].auc)


def test_maps_as_files_hold_them_say_the_same():
    generator = np.random.default_rng(0)
    stored = generator.integers(0, 65536, (5, 6, 7)).astype(np.uint16)
    labels = generator.integers(0, 2, stored.shape)
    assert gate_figures(stored, labels, [1]) == gate_figures(stored / 65535.0, labels, [1])


def test_the_mean_over_scans_is_over_those_that_have_the_label():
    a = GateFigures(0.2, 0.1, 0.9, 0.0, {1: LabelFigures(0.8, 0.1, 0.9)})
    b = GateFigures(0.4, 0.3, 0.7, 0.5, {1: LabelFigures(0.6, 0.3, math.nan), 2: a.labels[1]})
    mean = mean_figures([a, b])
    assert mean.mean == pytest.approx(0.3)
    assert mean.labels[1].inside == pytest.approx(0.7)
    assert mean.labels[1].auc == 0.9
    assert mean.labels[2] == a.labels[1]
