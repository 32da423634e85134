"""What the α of a gate says by itself: where it is open, how evenly, and whether a label is there.

Nothing here says that the network uses it; see `faithfulness`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnseg.evaluation.metrics import label_index, mean

_BINS = 4096  # of α from 0 to 1: an AUC is exact but for voxels that share a bin
_OPEN, _CLOSED = 0.99, 0.01

DEFINITIONS = {
    "mean, sd": "of α over all voxels of the scan",
    "entropy": "Shannon entropy of α/Σα over the voxels, divided by the logarithm of their number: "
    "1 where α is the same everywhere, 0 where a single voxel is open",
    "saturated": "share of voxels with α above 0.99 or below 0.01",
    "inside, outside": "mean α in the voxels of a label, and in all others",
    "auc": "area under the ROC curve of α as a detector of the label's voxels among all others: "
    "0.5 says nothing, 1 open there alone, 0 closed there alone; ties count half",
    "agreement": "1 − mean standard deviation of α among the windows that see a voxel, weighted as "
    "logits are, over the voxels that several windows see; null where there are none",
}


@dataclass(frozen=True)
class LabelFigures:
    """α and one label: mean inside and outside, and the AUC; NaN where a side is empty."""

    inside: float
    outside: float
    auc: float


@dataclass(frozen=True)
class GateFigures:
    """One gate in one scan.

    Args:
        mean: of α.
        sd: of α over the voxels.
        entropy: relative, 0 to 1.
        saturated: share of voxels that are quite open or quite closed.
        labels: label value → figures.
    """

    mean: float
    sd: float
    entropy: float
    saturated: float
    labels: dict[int, LabelFigures]


def gate_figures(alpha: np.ndarray, labels: np.ndarray, values: Sequence[int]) -> GateFigures:
    """Figures of one gate, in one pass, plane by plane.

    Args:
        alpha: `[I, J, K]`, 0 to 1; or uint16 in steps of 1/65535, as files hold it.
        labels: `[I, J, K]` label values on the same grid.
        values: labels to look at; those that are not there have NaN.

    Example:
        >>> mask = np.array([[[1, 1, 0, 0]]])
        >>> figures = gate_figures(mask * 0.5 + 0.25, mask, [1])
        >>> figures.mean, figures.labels[1]
        (0.5, LabelFigures(inside=0.75, outside=0.25, auc=1.0))
    """
    assert alpha.shape == labels.shape, (alpha.shape, labels.shape)
    wanted = np.array(sorted(values), dtype=np.int64)
    histogram = np.zeros((len(wanted) + 1, _BINS), dtype=np.int64)
    sums = np.zeros(len(wanted) + 1)
    squares = entropy = 0.0
    saturated = 0
    for a, mask in zip(alpha, labels, strict=True):
        a = a / 65535.0 if a.dtype == np.uint16 else a.astype(np.float64)
        index = label_index(mask, wanted)
        bins = np.minimum((a * _BINS).astype(np.int64), _BINS - 1)
        code = (index * _BINS + bins).ravel()
        histogram += np.bincount(code, minlength=histogram.size).reshape(histogram.shape)
        sums += np.bincount(index.ravel(), weights=a.ravel(), minlength=len(sums))
        squares += float(np.square(a).sum())
        entropy -= float((a * np.log(np.maximum(a, 1e-12))).sum())
        saturated += int(np.count_nonzero((a > _OPEN) | (a < _CLOSED)))
    size, total = alpha.size, float(sums.sum())
    average = total / size
    counts = histogram.sum(axis=1)
    return GateFigures(
        mean=average,
        sd=math.sqrt(max(0.0, squares / size - average**2)),
        entropy=_relative_entropy(entropy, total, size),
        saturated=saturated / size,
        labels={
            int(value): LabelFigures(
                inside=_ratio(sums[n], counts[n]),
                outside=_ratio(total - sums[n], size - counts[n]),
                auc=_auc(histogram[n], histogram.sum(axis=0) - histogram[n]),
            )
            for n, value in enumerate(wanted)
        },
    )


def mean_figures(figures: Sequence[GateFigures]) -> GateFigures:
    """The mean over scans; of a label over those that have it."""
    values = sorted({value for each in figures for value in each.labels})
    labels = {
        value: LabelFigures(
            **{
                key: mean([getattr(f.labels[value], key) for f in figures if value in f.labels])
                for key in ("inside", "outside", "auc")
            }
        )
        for value in values
    }
    plain = ("mean", "sd", "entropy", "saturated")
    return GateFigures(
        **{key: mean([getattr(each, key) for each in figures]) for key in plain}, labels=labels
    )


def _relative_entropy(minus_a_log_a: float, total: float, size: int) -> float:
    """From Σ −α log α: with p = α/Σα, −Σ p log p = (Σ −α log α)/Σα + log Σα."""
    if total <= 0 or size < 2:
        return math.nan
    return (minus_a_log_a / total + math.log(total)) / math.log(size)


def _auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Share of pairs (inside, outside) in which α is higher inside, from two histograms."""
    pairs = int(inside.sum()) * int(outside.sum())
    below = np.cumsum(outside) - outside
    return float((inside * (below + outside / 2.0)).sum() / pairs) if pairs else math.nan


def _ratio(total: float, count: int) -> float:
    return float(total / count) if count else math.nan
