"""What a comparison found, as plain objects and as JSON that says what each number means."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attnseg.evaluation.calibration import CALIBRATION, Calibration
from attnseg.evaluation.definitions import DEFINITIONS, FULL_DEFINITIONS
from attnseg.evaluation.metrics import mean
from attnseg.evaluation.statistics import bootstrap_interval, bootstrap_intervals
from attnseg.files import write_text
from attnseg.whereabouts import all_told, recorded

Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One label in one case; Dice is NaN where both masks lack it.

    Args:
        dice: overlap.
        predicted_voxels: voxels of the label in the prediction.
        reference_voxels: in the reference.
        predicted_ml: volume in millilitres; None for pictures.
        reference_ml: in the reference.
        figures: further ones by name, see `FIGURES`; empty where they were not asked for.
    """

    dice: float
    predicted_voxels: int
    reference_voxels: int
    predicted_ml: float | None
    reference_ml: float | None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def distance_unit(self) -> str:
        """Of its distances: mm, or px for pictures, whose pixels have no known size."""
        return "px" if self.reference_ml is None else "mm"


@dataclass(frozen=True)
class Summary:
    """A figure of one label over all cases in which it is defined and finite.

    Args:
        mean: NaN if there is no such case.
        ci95: interval in which the mean lies with 95 % confidence; NaN for fewer than two cases.
        cases: how many there are.
        of: how many cases there are in which either mask has the label: a label that is missed, or
            marked where there is none, has no distance, and is in no mean of distances.
    """

    mean: float
    ci95: Interval
    cases: int
    of: int


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
        missed: cases in which only the reference has it.
        false_alarm: cases in which only the prediction has it.
        figures: further ones by name; empty where they were not asked for.
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
    missed: int = 0
    false_alarm: int = 0
    figures: Mapping[str, Summary] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Args:
        cases: compared cases, by name.
        labels: statistics per label, by label value.
        not_predicted: names of references that have no prediction.
        failed: why a case could not be compared, by name.
        tolerance_mm: of the NSD; None where the figures beyond Dice were not asked for.
        calibration: of the probabilities beside the predictions; None where there are none.
        placed: names of the cases whose masks lie on parts of one grid, or on one grid in other
            orders of its axes, and were put on one.
        not_compared: what lies in the folders and was not taken for masks, in sentences.
    """

    cases: tuple[CaseResult, ...]
    labels: tuple[LabelResult, ...]
    not_predicted: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    tolerance_mm: float | None = None
    calibration: Calibration | None = None
    placed: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

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

    @property
    def distance_unit(self) -> str:
        """Of distances and tolerance: mm, px for pictures, mm/px where cases are of both."""
        units = {score.distance_unit for case in self.cases for score in case.scores.values()}
        return "/".join(sorted(units)) or "mm"

    @property
    def mean_figures(self) -> dict[str, float]:
        """Mean over the labels of their mean of each figure; empty where none was asked for."""
        rows = [label.figures for label in self.labels]
        return {name: mean([row[name].mean for row in rows]) for name in (rows[0] if rows else ())}

    @property
    def mean_figures_over(self) -> dict[str, dict[str, int]]:
        """Of each of `mean_figures`: its labels with a number and all, their cases and all."""
        names = self.labels[0].figures if self.labels else ()
        found = {}
        for name in names:
            summaries = [label.figures[name] for label in self.labels]
            found[name] = {
                "labels": sum(each.cases > 0 for each in summaries),
                "of_labels": len(summaries),
                "cases": sum(each.cases for each in summaries),
                "of": sum(each.of for each in summaries),
            }
        return found

    def to_json(self, folder: Path | None = None) -> dict[str, Any]:
        """Everything as plain types, with what each number means; NaN becomes null.

        Args:
            folder: of a file that is to hold it: paths are relative to it; None: as given.
        """
        import attnseg

        places = {p.parent for case in self.cases for p in (case.prediction, case.reference)}
        failed: dict[str, str] = dict(self.failed)
        not_compared = list(self.not_compared)
        if folder is not None:
            failed = all_told(failed, folder, places)
            not_compared = all_told(not_compared, folder, places)
        definitions = dict(DEFINITIONS)
        extra: dict[str, Any] = {}
        if self.tolerance_mm is not None:
            definitions |= FULL_DEFINITIONS
            extra["tolerance_mm"] = self.tolerance_mm
            extra["distance_unit"] = self.distance_unit
            extra["mean_figures"] = plain(self.mean_figures)
            extra["mean_figures_over"] = self.mean_figures_over
        if self.calibration is not None:
            definitions |= CALIBRATION
            extra["calibration"] = plain(vars(self.calibration))
        return {
            "attnseg": attnseg.__version__,
            "definitions": definitions,
            "mean_dice": plain(self.mean_dice),
            "sd": plain(self.sd),
            "ci95": plain(self.ci95),
            **extra,
            "labels": [plain(_label_row(label)) for label in self.labels],
            "cases": [
                {
                    "name": case.name,
                    "prediction": _place(case.prediction, folder),
                    "reference": _place(case.reference, folder),
                    "mean_dice": plain(case.mean_dice),
                    "labels": {
                        str(value): plain(_score_row(score)) for value, score in case.scores.items()
                    },
                }
                for case in self.cases
            ],
            "not_predicted": list(self.not_predicted),
            "failed": failed,
            "placed_on_one_grid": list(self.placed),
            "not_compared": not_compared,
        }

    def save_json(self, path: Path) -> None:
        """Write `to_json` to `path`, whole or not at all."""
        content = self.to_json(path.parent)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    def save_csv(self, path: Path) -> None:
        """Write one row per case and label, a column for each figure; empty where JSON has null."""
        names = {label.value: label.name for label in self.labels}
        rows = [
            {"case": case.name, "value": value, "label": names[value], **_score_row(score)}
            for case in self.cases
            for value, score in case.scores.items()
        ]
        stream = io.StringIO()
        columns = [*rows[0]] if rows else ["case", "value", "label", "dice"]
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: plain(cell) for key, cell in row.items()} for row in rows)
        write_text(path, stream.getvalue())


def _place(path: Path, folder: Path | None) -> str:
    return str(path) if folder is None else recorded(path, folder)


def summarise(value: int, name: str, scores: Sequence[Score]) -> LabelResult:
    """Statistics of one label; at least one of the scores has a Dice that is not NaN."""
    dices = [score.dice for score in scores]
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
        missed=sum(not each.predicted_voxels and each.reference_voxels > 0 for each in scores),
        false_alarm=sum(not each.reference_voxels and each.predicted_voxels > 0 for each in scores),
        figures=_summaries([score.figures for score in scores], of=len(found)),
    )


def _summaries(rows: Sequence[Mapping[str, float]], *, of: int) -> dict[str, Summary]:
    """Every figure over the cases; infinite distances are in no mean.

    Args:
        rows: figures of each case by name.
        of: cases in which either mask has the label.
    """
    names = [*rows[0]]
    table = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    table = np.where(np.isfinite(table), table, np.nan).reshape(len(rows), len(names))
    return {
        name: Summary(mean(column.tolist()), interval, int(np.isfinite(column).sum()), of)
        for name, column, interval in zip(names, table.T, bootstrap_intervals(table), strict=True)
    }


def sample_sd(numbers: Sequence[float]) -> float:
    """Standard deviation (n − 1) of the numbers that are not NaN; NaN for fewer than two."""
    found = [number for number in numbers if not math.isnan(number)]
    return float(np.std(found, ddof=1)) if len(found) > 1 else math.nan


def _score_row(score: Score) -> dict[str, Any]:
    plain = {key: value for key, value in vars(score).items() if key != "figures"}
    unit = {"distance_unit": score.distance_unit} if score.figures else {}
    return plain | dict(score.figures) | unit


def _label_row(label: LabelResult) -> dict[str, Any]:
    figures = {name: vars(summary) for name, summary in label.figures.items()}
    plain = {key: value for key, value in vars(label).items() if key != "figures"}
    return plain | ({"figures": figures} if figures else {})


def plain(value: Any) -> Any:
    """Numbers that are not finite become None, inside mappings too; so do intervals of them."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return list(value) if all(map(math.isfinite, value)) else None
    return None if isinstance(value, float) and not math.isfinite(value) else value
