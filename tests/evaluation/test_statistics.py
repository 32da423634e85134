"""Intervals against scipy's bootstrap, and against variances known in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from attnseg.evaluation import bootstrap_interval, paired_difference

RNG = np.random.default_rng(0)
DICE = RNG.beta(9, 2, 37)


def by_scipy(*samples: np.ndarray, statistic=np.mean, confidence: float = 0.95) -> tuple:
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=10_000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(1),
        paired=len(samples) > 1,
    )
    return found.confidence_interval


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_interval_of_a_mean_is_that_of_scipy(confidence: float) -> None:
    low, high = bootstrap_interval(DICE, confidence=confidence)
    assert low < DICE.mean() < high
    # Ends of two independent bootstraps differ by a few hundredths of their distance.
    assert (low, high) == pytest.approx(by_scipy(DICE, confidence=confidence), abs=0.003)


def test_interval_is_that_of_the_normal_distribution_for_many_cases() -> None:
    values = RNG.normal(0.8, 0.1, 2000)
    half = 1.959964 * values.std() / math.sqrt(len(values))
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.05 * half
    )


def test_two_cases_have_three_means() -> None:
    # Means 0, ½ and 1 with probabilities ¼, ½, ¼.
    assert bootstrap_interval(np.array([0.0, 1.0])) == (0.0, 1.0)
    assert bootstrap_interval(np.array([0.0, 1.0]), confidence=0.4) == (0.5, 0.5)


def test_missing_values_are_left_out() -> None:
    gaps = np.insert(DICE, [0, 5, 20], np.nan)
    assert bootstrap_interval(gaps) == bootstrap_interval(DICE)


@pytest.mark.parametrize("values", [[], [0.7], [np.nan, 0.7], [np.nan, np.nan]])
def test_one_case_says_nothing_about_others(values: list[float]) -> None:
    assert np.isnan(bootstrap_interval(np.array(values))).all()


def test_equal_values_have_no_spread() -> None:
    low, high = bootstrap_interval(np.full(11, 0.1))
    assert low == high == pytest.approx(0.1)


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(monkeypatch) -> None:
    whole = bootstrap_interval(DICE)
    assert whole == bootstrap_interval(DICE)
    assert whole != bootstrap_interval(DICE, seed=1)
    monkeypatch.setattr("attnseg.evaluation.statistics._BLOCK", 1000)
    assert bootstrap_interval(DICE) == pytest.approx(whole, abs=1e-12)


def test_mean_over_labels_of_the_means_over_cases() -> None:
    table = RNG.beta(9, 2, (30, 3))
    table[RNG.random((30, 3)) < 0.3] = np.nan
    found = bootstrap_interval(table)

    def mean_of_means(index: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.nanmean(np.nanmean(table[index.astype(int)], axis=-2), axis=-1)

    assert found == pytest.approx(by_scipy(np.arange(30), statistic=mean_of_means), abs=0.003)
    full = np.stack([DICE, DICE], axis=1)
    assert bootstrap_interval(full) == pytest.approx(bootstrap_interval(DICE), abs=1e-12)


def test_a_label_that_no_drawn_case_has_is_left_out() -> None:
    table = np.array([[0.5, 1.0], [0.5, np.nan]])
    # Where only the second case is drawn the mean is that of the first label.
    assert bootstrap_interval(table) == (0.5, 0.75)


def test_difference_of_paired_cases_is_that_of_scipy() -> None:
    other = np.clip(DICE - 0.02 + RNG.normal(0, 0.02, DICE.shape), 0, 1)
    found = paired_difference(DICE, other)
    assert found.mean == pytest.approx((DICE - other).mean())
    assert (found.low, found.high) == pytest.approx(by_scipy(DICE - other), abs=0.0007)
    # What is common to both methods cancels: unpaired, the interval would be far wider.
    assert found.high - found.low < 0.3 * np.ptp(bootstrap_interval(DICE))
    reverse = paired_difference(other, DICE, seed=0)
    assert (reverse.mean, reverse.low, reverse.high) == pytest.approx(
        (-found.mean, -found.high, -found.low), abs=0.0007
    )


def test_equal_methods_do_not_differ() -> None:
    assert paired_difference(DICE, DICE) == (0, 0, 0)


def test_cases_that_either_method_lacks_are_left_out() -> None:
    gaps_a, gaps_b = DICE.copy(), DICE - 0.1
    gaps_a[3] = gaps_b[5] = np.nan
    kept = np.delete(DICE, [3, 5])
    assert paired_difference(gaps_a, gaps_b) == pytest.approx(paired_difference(kept, kept - 0.1))
    one = paired_difference(np.array([0.5, np.nan]), np.array([0.25, 0.5]))
    assert one.mean == 0.25
    assert np.isnan(one[1:]).all()
    assert np.isnan(paired_difference(np.array([np.nan]), np.array([0.5]))).all()


def test_one_seed_is_the_same_as_none() -> None:
    other = DICE - RNG.random(37)
    assert paired_difference(DICE[None], other[None]) == paired_difference(DICE, other)


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(3, 3), (5, 2)])
def test_seeds_add_their_own_variance(seeds_a: int, seeds_b: int) -> None:
    """Scores = case + seed, so that the variances of the resampled means add."""
    num_cases = 60
    cases = RNG.normal(0, 0.05, num_cases)
    a = RNG.normal(0.8, 0.02, (seeds_a, 1)) + cases
    b = RNG.normal(0.7, 0.03, (seeds_b, 1)) + RNG.normal(0, 0.05, num_cases)
    variance = (a.mean(axis=0) - b.mean(axis=0)).var() / num_cases
    variance += sum(each.mean(axis=1).var() / len(each) for each in (a, b))
    found = paired_difference(a, b, confidence=0.6827)
    assert found.mean == pytest.approx(a.mean() - b.mean())
    # Few seeds make the distribution lumpy; its width stays that of one standard deviation.
    assert (found.high - found.low) / 2 == pytest.approx(math.sqrt(variance), rel=0.1)
    # Without drawing seeds it would be too narrow.
    narrow = paired_difference(a.mean(axis=0), b.mean(axis=0), confidence=0.6827)
    assert narrow.high - narrow.low < found.high - found.low
