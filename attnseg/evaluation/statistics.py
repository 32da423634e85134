"""How sure a mean is: bootstrap over cases, and over the seeds of repeated trainings."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Numbers held at a time: 32 MB an array.
_BLOCK = 4_000_000


class Difference(NamedTuple):
    """Mean difference of two methods and its confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: np.ndarray, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of a mean: percentile bootstrap over cases.

    Args:
        values: `[cases]` scores, or `[cases, labels]`, of which the mean over labels of the mean
            over cases is taken. NaN are left out.
        confidence: share of the resampled means that lie inside.
        resamples: how often as many cases are drawn, with replacement.
        seed: of the draws; the same values and seed give the same interval.

    Returns:
        Low and high end; NaN where there are fewer than two cases, which say nothing about others.

    Example:
        >>> bootstrap_interval(np.array([0.75, 0.75, np.nan]))
        (0.75, 0.75)
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    known = ~np.isnan(table)
    table, known = table[known.any(axis=1)], known[known.any(axis=1)]
    if len(table) < 2:
        return float("nan"), float("nan")
    middle = table[known].mean()  # sums of deviations keep equal values exactly equal
    deviations = np.where(known, table - middle, 0.0)
    rng = np.random.default_rng(seed)
    means = []
    for rows in _blocks(resamples, len(table)):
        draws = _draws(rng, rows, len(table))
        # A label that no drawn case has is left out of the mean over labels.
        numbers = draws @ known
        by_label = np.divide(
            draws @ deviations, numbers, out=np.zeros_like(numbers), where=numbers > 0
        )
        means.append(by_label.sum(axis=1) / (numbers > 0).sum(axis=1))
    low, high = _percentiles(np.concatenate(means), confidence)
    return float(middle + low), float(middle + high)


def bootstrap_intervals(table: np.ndarray) -> list[tuple[float, float]]:
    """`bootstrap_interval` of every column of `[cases, columns]`, NaN left out of each.

    The same numbers; columns with as many cases share the draws, which take the time.
    """
    known = ~np.isnan(table)
    sizes = known.sum(axis=0)
    intervals = [(float("nan"), float("nan"))] * table.shape[1]
    for size in sorted(set(sizes[sizes > 1].tolist())):
        columns = np.flatnonzero(sizes == size)
        values = np.stack([table[known[:, column], column] for column in columns], axis=1)
        middle = values.mean(axis=0)
        rng = np.random.default_rng(0)
        means = [
            _draws(rng, rows, size) @ (values - middle) / size for rows in _blocks(10_000, size)
        ]
        for column, center, each in zip(columns, middle, np.concatenate(means).T, strict=True):
            low, high = _percentiles(each, 0.95)
            intervals[column] = (float(center + low), float(center + high))
    return intervals


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Mean of a − b over the same cases, with the percentile bootstrap's interval.

    Cases are drawn together for both methods, so that what makes a case hard for either cancels.
    Of repeated trainings, seeds are drawn too, for each method by itself: the interval then holds
    for other seeds as well, and not only for the networks at hand.

    Args:
        a: `[cases]` scores of one method, or `[seeds, cases]`.
        b: of the other, the same cases; the number of seeds may differ.
        confidence: share of the resampled differences that lie inside.
        resamples: how often cases and seeds are drawn, with replacement.
        seed: of the draws.

    Returns:
        The difference; its interval is NaN where there are fewer than two cases, and all of it
        where there is none. Cases with a NaN in any row are left out.

    Example:
        >>> paired_difference(np.array([0.75, 0.5]), np.array([0.5, 0.25]))
        Difference(mean=0.25, low=0.25, high=0.25)
    """
    ours, theirs = (
        np.atleast_2d(np.asarray(a, np.float64)),
        np.atleast_2d(np.asarray(b, np.float64)),
    )
    assert ours.shape[1] == theirs.shape[1], (ours.shape, theirs.shape)
    known = ~(np.isnan(ours).any(axis=0) | np.isnan(theirs).any(axis=0))
    ours, theirs = ours[:, known], theirs[:, known]
    num_cases = ours.shape[1]
    mean = ours.mean() - theirs.mean() if num_cases else float("nan")
    if num_cases < 2:
        return Difference(float(mean), float("nan"), float("nan"))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    rng = np.random.default_rng(seed)
    deviations = []
    for rows in _blocks(resamples, max(num_cases, len(ours), len(theirs))):
        by_case = _draws(rng, rows, len(ours)) @ ours / len(ours)
        by_case -= _draws(rng, rows, len(theirs)) @ theirs / len(theirs)
        deviations.append((_draws(rng, rows, num_cases) * by_case).sum(axis=1) / num_cases)
    low, high = _percentiles(np.concatenate(deviations), confidence)
    return Difference(float(mean), float(mean + low), float(mean + high))


def _blocks(resamples: int, n: int) -> Iterator[int]:
    """Numbers of resamples that are made at once, `resamples` in all."""
    step = max(1, _BLOCK // n)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def _draws(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """`[rows, n]` how often each of n is among n draws with replacement."""
    picks = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(picks.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)
