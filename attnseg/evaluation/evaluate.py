"""Compare predicted masks with reference masks: one pair, or a folder of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from attnseg.errors import DataError
from attnseg.evaluation.matching import find_label_names, match_files, unmatched_references
from attnseg.evaluation.metrics import label_values, overlap_counts, volume_ml
from attnseg.files import write_text
from attnseg.images import read_labels

DEFINITIONS = {
    "dice": "Dice = 2|A∩B|/(|A|+|B|) over voxels; null where both masks lack the label",
    "mean, median, std, min": "Dice of one label over the cases where it is not null; std is the "
    "population's (divided by n)",
    "cases": "cases where the Dice of the label is not null",
    "both_empty": "cases where neither mask has the label; they are in no mean",
    "mean_dice": "mean over the labels of their mean Dice; for one case, mean over its labels",
    "predicted_ml, reference_ml": "voxels of the label × voxel volume, in millilitres",
    "labels": "every value but 0 that any prediction or reference holds",
    "not_predicted": "references without a prediction; they are in no mean",
    "failed": "cases that could not be compared, with the reason; they are in no mean",
}


@dataclass(frozen=True)
class Score:
    """One label in one case; volumes in millilitres; Dice is NaN where both masks lack it."""

    dice: float
    predicted_ml: float
    reference_ml: float


_ABSENT = Score(dice=math.nan, predicted_ml=0.0, reference_ml=0.0)


@dataclass(frozen=True)
class CaseResult:
    """All labels of one case, by label value."""

    name: str
    prediction: Path
    reference: Path
    scores: Mapping[int, Score]

    @property
    def mean_dice(self) -> float:
        """Mean over the labels that either mask has; NaN if there is none."""
        return _mean([score.dice for score in self.scores.values()])


@dataclass(frozen=True)
class LabelResult:
    """One label over all cases: statistics of Dice where it is not NaN."""

    value: int
    name: str
    mean: float
    median: float
    std: float
    min: float
    cases: int
    both_empty: int


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Args:
        cases: compared cases, by name.
        labels: statistics per label, by label value.
        not_predicted: names of references that have no prediction.
        failed: why a case could not be compared, by name.
    """

    cases: tuple[CaseResult, ...]
    labels: tuple[LabelResult, ...]
    not_predicted: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean_dice(self) -> float:
        """Mean over the labels of their mean Dice."""
        return _mean([label.mean for label in self.labels])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain types, with what each number means; NaN becomes null."""
        import attnseg

        return {
            "attnseg": attnseg.__version__,
            "definitions": DEFINITIONS,
            "mean_dice": _plain(self.mean_dice),
            "labels": [{k: _plain(v) for k, v in vars(label).items()} for label in self.labels],
            "cases": [
                {
                    "name": case.name,
                    "prediction": str(case.prediction),
                    "reference": str(case.reference),
                    "mean_dice": _plain(case.mean_dice),
                    "labels": {
                        str(value): {k: _plain(v) for k, v in vars(score).items()}
                        for value, score in case.scores.items()
                    },
                }
                for case in self.cases
            ],
            "not_predicted": list(self.not_predicted),
            "failed": dict(self.failed),
        }

    def save_json(self, path: Path) -> None:
        """Write `to_json` to `path`, whole or not at all."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")


def evaluate(
    prediction: Path, reference: Path, *, label_names: dict[int, str] | None = None
) -> Evaluation:
    """Compare predicted masks with their references, one pair of files in memory at a time.

    Args:
        prediction: a mask, or a folder of masks.
        reference: the mask to compare with, or a folder with a mask of the same name for each.
        label_names: names by label value; by default those of a `dataset.json` beside the
            references, and the value itself where there is none.

    Returns:
        Scores of every case and label. In folders a case that cannot be compared is listed in
        `failed` and the others go on.

    Raises:
        DataError: files that do not pair; no case that could be compared.
    """
    prediction, reference = Path(prediction), Path(reference)
    names = find_label_names(reference) if label_names is None else label_names
    found = compare_files(match_files(prediction, reference), label_names=names)
    return replace(found, not_predicted=unmatched_references(prediction, reference))


def compare_files(
    pairs: Sequence[tuple[str, Path, Path]], *, label_names: Mapping[int, str]
) -> Evaluation:
    """Compare (case name, prediction, reference) one after another; see `evaluate`.

    Raises:
        DataError: no case that could be compared.
    """
    cases: list[CaseResult] = []
    failed: dict[str, str] = {}
    for name, ours, theirs in pairs:
        try:
            cases.append(_compare(name, ours, theirs))
        except DataError as error:
            failed[name] = str(error)
    if failed and not cases:
        first = next(iter(failed.values()))
        others = f" (and no other of {len(pairs)} cases could be compared)"
        raise DataError(first + others * (len(pairs) > 1))

    values = sorted({value for case in cases for value in case.scores})
    cases = [
        replace(case, scores={value: case.scores.get(value, _ABSENT) for value in values})
        for case in cases
    ]
    labels = tuple(
        _summary(
            value, label_names.get(value, str(value)), [case.scores[value].dice for case in cases]
        )
        for value in values
    )
    return Evaluation(tuple(cases), labels, failed=failed)


def _compare(name: str, prediction: Path, reference: Path) -> CaseResult:
    """Scores of the labels that either file holds."""
    ours, theirs = read_labels(prediction), read_labels(reference)
    if ours.geometry.shape != theirs.geometry.shape:
        raise DataError(
            f"{prediction}: shape {ours.geometry.shape} where {reference} has "
            f"{theirs.geometry.shape}; masks must lie on the same grid: resample one of them"
        )
    if not ours.geometry.matches(theirs.geometry):
        distance = ours.geometry.distance_mm(theirs.geometry)
        raise DataError(
            f"{prediction}: its voxels lie up to {distance:.3g} mm from those of {reference}; "
            "masks must lie on the same grid: resample one of them, or correct its affine"
        )
    values = label_values(ours.array) | label_values(theirs.array)
    spacing_mm = theirs.geometry.spacing_mm
    scores = {
        value: Score(
            counts.dice,
            volume_ml(counts.predicted, spacing_mm),
            volume_ml(counts.reference, spacing_mm),
        )
        for value, counts in overlap_counts(ours.array, theirs.array, values).items()
    }
    return CaseResult(name, prediction, reference, scores)


def _summary(value: int, name: str, dices: Sequence[float]) -> LabelResult:
    found = np.array([dice for dice in dices if not math.isnan(dice)])
    # A label is only listed because some mask has it, so `found` is never empty.
    return LabelResult(
        value=value,
        name=name,
        mean=float(found.mean()),
        median=float(np.median(found)),
        std=float(found.std()),
        min=float(found.min()),
        cases=len(found),
        both_empty=len(dices) - len(found),
    )


def _mean(numbers: Sequence[float]) -> float:
    """Mean of the numbers that are not NaN; NaN if there is none."""
    found = [number for number in numbers if not math.isnan(number)]
    return sum(found) / len(found) if found else math.nan


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
