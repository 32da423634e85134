"""Whether probabilities mean what they say: calibration error and Brier score."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.evaluation.metrics import label_values
from attnseg.images import Image, open_volumes, strip_suffix

_BINS = 15
_ENDING = "_probabilities"
# Voxels that are sorted into bins at one time.
_BLOCK = 1 << 20

CALIBRATION = {
    "calibration": "of the probabilities (NAME_probabilities.nii.gz beside the predictions), over "
    "all voxels that are not ignored, background included, of the cases in which all labels were "
    "drawn: of all cases together and of each; failed: cases whose probabilities could not be "
    "compared, with the reason",
    "ece": "expected calibration error (Guo et al. 2017): 15 bins of equal width by the largest "
    "probability of a voxel; sum over the bins of their share of the voxels × |mean of that "
    "probability - share of voxels where its class is the reference's|",
    "brier": "Brier score: mean over the voxels of the sum over all classes of (probability - 1 "
    "for the reference's class, 0 for others)², from 0 to 2",
}


@dataclass(frozen=True)
class Calibration:
    """Calibration of all cases that have probabilities.

    Args:
        ece: expected calibration error over all voxels; NaN where no case could be compared.
        brier: Brier score over all voxels; NaN likewise.
        cases: `ece` and `brier` of each case.
        failed: why the probabilities of a case could not be compared.
    """

    ece: float
    brier: float
    cases: Mapping[str, Mapping[str, float]]
    failed: Mapping[str, str]


class Tally:
    """Sums over voxels, of which both figures are made; tallies add up.

    Args:
        bins: `[3, 15]` voxels, sums of their confidence, and how many are right.
        squares: sum of the squared errors.
    """

    def __init__(self, bins: np.ndarray | None = None, squares: float = 0.0) -> None:
        self.bins = np.zeros((3, _BINS)) if bins is None else bins
        self.squares = squares

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.bins + other.bins, self.squares + other.squares)

    @property
    def ece(self) -> float:
        """Expected calibration error; NaN without any voxel."""
        voxels, confidence, right = self.bins
        total = voxels.sum()
        return float(np.abs(confidence - right).sum() / total) if total else math.nan

    @property
    def brier(self) -> float:
        """Brier score; NaN without any voxel."""
        total = self.bins[0].sum()
        return float(self.squares / total) if total else math.nan


def tally(
    volumes: Iterable[np.ndarray],
    reference: np.ndarray,
    *,
    values: Sequence[int],
    ignore_label: int | None = None,
) -> Tally:
    """Compare probabilities with labels, class by class.

    Args:
        volumes: probabilities of each class `[I, J, K]`, float, in the order of `values`.
        reference: integer labels `[I, J, K]`.
        values: label value of each class, the background's among them.
        ignore_label: voxels of this value are not counted.

    Example:
        >>> halves = np.full((2, 2, 2), 0.5, dtype=np.float32)
        >>> found = tally([halves, halves], np.zeros((2, 2, 2), dtype=int), values=(0, 1))
        >>> found.ece, found.brier
        (0.5, 0.5)
    """
    counted = None if ignore_label is None else reference != ignore_label
    confidence = np.full(reference.shape, -1, dtype=np.float32)
    right = np.zeros(reference.shape, dtype=bool)
    squares = 0.0
    for value, volume in zip(values, volumes, strict=True):
        probability = volume if counted is None else np.where(counted, volume, 0)
        true = reference == value
        squares += float(np.square(probability).sum(dtype=np.float64))
        squares -= 2 * float(probability.sum(dtype=np.float64, where=true))
        higher = volume > confidence  # of equal ones the first class counts, as in argmax
        np.copyto(right, true, where=higher)
        np.copyto(confidence, volume, where=higher)
    bins = _binned(confidence, right, counted)
    return Tally(bins, squares + float(bins[0].sum()))


def calibrate(
    cases: Iterable[tuple[str, Path, Image]],
    *,
    values: Sequence[int] | None,
    ignore_label: int | None = None,
) -> Calibration:
    """Calibration of (case name, file of probabilities, reference), one case at a time.

    Args:
        cases: references as `read_labels` gives them.
        values: label value of each class, background first; None for 0, 1, 2, …
        ignore_label: as of `tally`.
    """
    total, found, failed = Tally(), {}, {}
    for name, path, reference in cases:
        try:
            one = _tally_file(path, reference, values, ignore_label)
        except DataError as error:
            failed[name] = str(error)
            continue
        total += one
        found[name] = {"ece": one.ece, "brier": one.brier}
    return Calibration(total.ece, total.brier, found, failed)


def probability_path(mask: Path) -> Path | None:
    """The probabilities beside a predicted mask, as `attnseg predict --save-probabilities` names
    them; None where there are none."""
    stem = strip_suffix(mask.name)
    paths = (mask.with_name(f"{stem}{_ENDING}{suffix}") for suffix in (".nii.gz", ".nii"))
    return next((path for path in paths if path.is_file()), None)


def _tally_file(
    path: Path, reference: Image, values: Sequence[int] | None, ignore_label: int | None
) -> Tally:
    with open_volumes(path) as (geometry, count, volumes):
        if geometry.shape != reference.geometry.shape:
            raise DataError(
                f"{path}: shape {geometry.shape} where its reference has "
                f"{reference.geometry.shape}; both must lie on the same grid"
            )
        classes = tuple(range(count)) if values is None else tuple(values)
        if len(classes) != count:
            raise DataError(
                f"{path}: {count} classes where the data set has {len(classes)} with the "
                "background; the model must know the same labels"
            )
        unknown = label_values(reference.array[0]) - {*classes, ignore_label}
        if unknown:
            raise DataError(
                f"{path}: no class for the labels {sorted(unknown)} of its reference; name the "
                "labels in a dataset.json beside the references"
            )
        return tally(volumes, reference.array[0], values=classes, ignore_label=ignore_label)


def _binned(confidence: np.ndarray, right: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
    """`[3, 15]` voxels, sums of their confidence, and how many are right."""
    bins = np.zeros((3, _BINS))
    rows = max(1, _BLOCK // max(1, math.prod(confidence.shape[:-1])))
    for start in range(0, confidence.shape[-1], rows):
        block = (..., slice(start, start + rows))
        keep = slice(None) if counted is None else counted[block].ravel()
        sure, correct = confidence[block].ravel()[keep], right[block].ravel()[keep]
        index = np.minimum((sure * _BINS).astype(np.intp), _BINS - 1)
        for row, weights in enumerate((None, sure, correct)):
            bins[row] += np.bincount(index, weights, minlength=_BINS)
    return bins
