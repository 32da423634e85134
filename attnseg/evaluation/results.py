"""What a comparison found, as plain objects and as JSON that says what each number means."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attnseg.evaluation.statistics import bootstrap_interval
from attnseg.files import write_text

Interval = tuple[float, float]

DEFINITIONS = {
    "dice": "Dice = 2|A∩B|/(|A|+|B|) over voxels; null where both masks lack the label",
    "mean, median, sd, min": "Dice of one label over the cases where it is not null; sd is the "
    "sample's (divided by n - 1), null for a single case",
    "ci95": "95 % confidence interval of the mean: percentiles 2.5 and 97.5 of the means of 10000 "
    "draws of as many cases, with replacement; null for a single case",
    "cases": "cases where the Dice of the label is not null",
    "both_empty": "cases where neither mask has the label; they are in no mean",
    "mean_dice": "mean over the labels of their mean Dice, with its ci95; for one case, mean over "
    "its labels; sd is that of the cases' means",
    "predicted_voxels, reference_voxels": "voxels of the label; of a picture, pixels",
    "predicted_ml, reference_ml": "voxels of the label × voxel volume, in millilitres; null for "
    "pictures, whose pixels have no known size",
    "labels": "every value but 0 that any prediction or reference holds; where the data set has "
    "regions, those: the voxels of all labels that belong to one",
    "ignored": "voxels that the reference marks to be ignored are in no count, and a label that "
    "was not drawn in a case (labels_present) is not scored there",
    "not_predicted": "references without a prediction; they are in no mean",
    "failed": "cases that could not be compared, with the reason; they are in no mean",
}


@dataclass(frozen=True)
class Score:
    """One label in one case; Dice is NaN where both masks lack it.

    Args:
        dice: overlap.
        predicted_voxels: voxels of the label in the prediction.
        reference_voxels: in the reference.
        predicted_ml: volume in millilitres; None for pictures.
        reference_ml: in the reference.
    """

    dice: float
    predicted_voxels: int
    reference_voxels: int
    predicted_ml: float | None
    reference_ml: float | None


@dataclass(frozen=True)
class CaseResult:
    """The labels of one case, by label value; labels that were not drawn in it are left out."""

    name: str
    prediction: Path
    reference: Path
    scores: Mapping[int, Score]

    def dice(self, value: int) -> float:
        """Dice of a label; NaN where both masks lack it or it was not drawn."""
        return self.scores[value].dice if value in self.scores else math.nan

    @property
    def mean_dice(self) -> float:
        """Mean over the labels that either mask has; NaN if there is none."""
        return mean([score.dice for score in self.scores.values()])


@dataclass(frozen=True)
class LabelResult:
    """One label over all cases: statistics of Dice where it is not NaN.

    Args:
        value: in the masks; of a region, the value that predictions hold.
        name: of the label or region.
        mean: over the cases.
        ci95: interval in which the mean lies with 95 % confidence; NaN for a single case.
        median: over the cases.
        sd: standard deviation of the sample; NaN for a single case.
        min: of the worst case.
        cases: how many there are.
        both_empty: further cases, in which neither mask has the label.
    """

    value: int
    name: str
    mean: float
    ci95: Interval
    median: float
    sd: float
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
        return mean([label.mean for label in self.labels])

    @property
    def sd(self) -> float:
        """Standard deviation over the cases of their mean Dice; NaN for a single case."""
        return sample_sd([case.mean_dice for case in self.cases])

    @cached_property
    def ci95(self) -> Interval:
        """Interval in which `mean_dice` lies with 95 % confidence; NaN for a single case."""
        table = [[case.dice(label.value) for label in self.labels] for case in self.cases]
        return bootstrap_interval(np.array(table).reshape(len(self.cases), len(self.labels)))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain types, with what each number means; NaN becomes null."""
        import attnseg

        return {
            "attnseg": attnseg.__version__,
            "definitions": DEFINITIONS,
            "mean_dice": _plain(self.mean_dice),
            "sd": _plain(self.sd),
            "ci95": _plain(self.ci95),
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


def summarise(value: int, name: str, dices: Sequence[float]) -> LabelResult:
    """Statistics of one label; `dices` holds at least one number that is not NaN."""
    found = np.array([dice for dice in dices if not math.isnan(dice)])
    return LabelResult(
        value=value,
        name=name,
        mean=float(found.mean()),
        ci95=bootstrap_interval(found),
        median=float(np.median(found)),
        sd=sample_sd(dices),
        min=float(found.min()),
        cases=len(found),
        both_empty=len(dices) - len(found),
    )


def mean(numbers: Sequence[float]) -> float:
    """Mean of the numbers that are not NaN; NaN if there is none."""
    found = [number for number in numbers if not math.isnan(number)]
    return sum(found) / len(found) if found else math.nan


def sample_sd(numbers: Sequence[float]) -> float:
    """Standard deviation (n − 1) of the numbers that are not NaN; NaN for fewer than two."""
    found = [number for number in numbers if not math.isnan(number)]
    return float(np.std(found, ddof=1)) if len(found) > 1 else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return None if any(map(math.isnan, value)) else list(value)
    return None if isinstance(value, float) and math.isnan(value) else value
