"""Whether probabilities mean what they say: calibration error and Brier score."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.evaluation.metrics import is_drawn, label_values, mean
from attnseg.images import Image, on_grid, open_volumes, strip_suffix
from attnseg.names import on_disk
from attnseg.spec import Region

_BINS = 15
_ENDING = "_probabilities"
# Voxels that are sorted into bins at one time.
_BLOCK = 1 << 20
# Beside 0 for outside of a region and 1 for inside.
_IGNORED = 2

CALIBRATION = {
    "calibration": "of the probabilities (NAME_probabilities.nii.gz beside the predictions), over "
    "all voxels that are not ignored, background included: of all cases together and of each; "
    "failed: cases whose probabilities could not be compared, with the reason. Labels that were "
    "not drawn in a case (labels_present) count there as one class with the background, their "
    "probabilities added up, since its reference cannot tell them apart",
    "ece": "expected calibration error (Guo et al. 2017): 15 bins of equal width by the largest "
    "probability of a voxel; sum over the bins of their share of the voxels × |mean of that "
    "probability - share of voxels where its class is the reference's|; of regions, the mean over "
    "the regions, each as two classes with the probabilities p and 1 - p; a region with a member "
    "that was not drawn in a case is left out there",
    "brier": "Brier score: mean over the voxels of the sum over all classes of (probability - 1 "
    "for the reference's class, 0 for others)², from 0 to 2; of regions, the mean over the "
    "regions as for ece",
}


@dataclass(frozen=True)
class Calibration:
    """Calibration of all cases that have probabilities.

    Args:
        ece: expected calibration error over all voxels; of regions, the mean over them; NaN where
            no case could be compared.
        brier: Brier score over all voxels; likewise.
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
    values: Sequence[int] | None = None,
    regions: Sequence[Region] = (),
    ignore_label: int | None = None,
    labels_present: Mapping[str, Collection[int]] | None = None,
) -> Calibration:
    """Calibration of (case name, file of probabilities, reference), one case at a time.

    Args:
        cases: references as `read_labels` gives them.
        values: label value of each class, background first; None for 0, 1, 2, …
        regions: where there are any, the probabilities are theirs, in this order, and may overlap.
        ignore_label: as of `tally`.
        labels_present: case name → label values that were drawn in its reference; cases that are
            not named have all.
    """
    present = labels_present or {}
    totals: dict[int, Tally] = {}
    found, failed = {}, {}
    for name, path, reference in cases:
        try:
            one = _tally_file(
                path,
                reference,
                values=values,
                regions=regions,
                ignore_label=ignore_label,
                present=present.get(name),
            )
        except DataError as error:
            failed[name] = str(error)
            continue
        if one:
            found[name] = {"ece": _ece(one), "brier": _brier(one)}
        for key, each in one.items():
            totals[key] = totals.get(key, Tally()) + each
    return Calibration(_ece(totals), _brier(totals), found, failed)


def _ece(tallies: Mapping[int, Tally]) -> float:
    return mean([each.ece for each in tallies.values()])


def _brier(tallies: Mapping[int, Tally]) -> float:
    return mean([each.brier for each in tallies.values()])


def probability_path(mask: Path) -> Path | None:
    """The probabilities beside a predicted mask, as `attnseg predict --save-probabilities` names
    them; None where there are none."""
    stem = strip_suffix(mask.name)
    paths = (on_disk(mask.with_name(f"{stem}{_ENDING}{suffix}")) for suffix in (".nii.gz", ".nii"))
    return next((path for path in paths if path.is_file()), None)


def _tally_file(
    path: Path,
    reference: Image,
    *,
    values: Sequence[int] | None,
    regions: Sequence[Region],
    ignore_label: int | None,
    present: Collection[int] | None,
) -> dict[int, Tally]:
    """By region value, or a single one; empty where no region is known."""
    with open_volumes(path) as (geometry, count, volumes):
        reference = on_grid(reference, geometry)
        if geometry.shape != reference.geometry.shape:
            raise DataError(
                f"{path}: shape {geometry.shape} where its reference has "
                f"{reference.geometry.shape}; both must lie on the same grid"
            )
        labels = reference.array[0]
        if regions:
            if len(regions) != count:
                raise DataError(
                    f"{path}: {count} classes where the data set has {len(regions)} regions; the "
                    "model must know the same regions"
                )
            return _tally_regions(volumes, labels, regions, ignore_label, present)
        classes = tuple(range(count)) if values is None else tuple(values)
        if len(classes) != count:
            raise DataError(
                f"{path}: {count} classes where the data set has {len(classes)} with the "
                "background; the model must know the same labels"
            )
        unknown = (label_values(labels) | {*(present or ())}) - {*classes, ignore_label}
        if unknown:
            raise DataError(
                f"{path}: no class for the labels {sorted(unknown)} of its reference; name the "
                "labels in a dataset.json beside the references"
            )
        if present is None:
            return {0: tally(volumes, labels, values=classes, ignore_label=ignore_label)}
        drawn = [value for value in classes if value and value in present]
        rest = [value for value in classes if value not in drawn]
        return {
            0: tally(
                _with_rest_last(zip(classes, volumes, strict=True), rest),
                np.where(np.isin(labels, rest), 0, labels),
                values=(*drawn, 0),
                ignore_label=ignore_label,
            )
        }


def _with_rest_last(
    volumes: Iterable[tuple[int, np.ndarray]], rest: Collection[int]
) -> Iterator[np.ndarray]:
    """The probabilities of each class; those of `rest`, added up, at the end."""
    total: np.ndarray | None = None
    for value, volume in volumes:
        if value not in rest:
            yield volume
        else:
            total = volume if total is None else total + volume
    assert total is not None, "the background is among the rest"
    yield total


def _tally_regions(
    volumes: Iterable[np.ndarray],
    labels: np.ndarray,
    regions: Sequence[Region],
    ignore_label: int | None,
    present: Collection[int] | None,
) -> dict[int, Tally]:
    """Each region as two classes: outside and inside."""
    found = {}
    for region, volume in zip(regions, volumes, strict=True):
        if is_drawn(region.members, present):
            inside = np.isin(labels, region.members).astype(np.uint8)
            if ignore_label is not None:
                inside[labels == ignore_label] = _IGNORED
            found[region.value] = tally(
                (1 - volume, volume), inside, values=(0, 1), ignore_label=_IGNORED
            )
    return found


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
