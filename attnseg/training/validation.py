"""Validation through the predictor that users run, on the scans' own grids."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.datasets import Case
from attnseg.errors import DataError
from attnseg.evaluation import Evaluation, compare_files, overlap_counts
from attnseg.images import Image, read_labels
from attnseg.inference import Predictor, Scan, predict_cohort


@dataclass(frozen=True, eq=False)
class Peek:
    """Scores and one example of a quick validation during training."""

    dice: dict[int, float]
    """Label value → mean Dice over the cases that have it."""
    image: Image
    labels: np.ndarray
    reference: np.ndarray

    @property
    def mean_dice(self) -> float:
        """Mean over the labels."""
        return float(np.mean(list(self.dice.values()))) if self.dice else float("nan")


def peek(predictor: Predictor, cases: Sequence[Case]) -> Peek:
    """Predict a few cases in memory; the last one is kept as the example."""
    values = {label.value for label in predictor.spec.labels if label.value != 0}
    found: dict[int, list[float]] = {value: [] for value in sorted(values)}
    for case in cases:
        assert case.label is not None, case.name
        image = predictor.read(*case.images)
        labels = predictor.predict(image).labels
        reference = read_labels(case.label).array[0]
        for value, counts in overlap_counts(labels, reference, values).items():
            found[value].append(counts.dice)
    dice = {
        value: float(np.nanmean(scores))
        for value, scores in found.items()
        if not np.isnan(scores).all()
    }
    return Peek(dice, image, labels, reference)


def validate_fold(
    predictor: Predictor, cases: Sequence[Case], folder: Path, *, model_id: str
) -> Evaluation:
    """Predict all validation cases into `folder` as `attnseg predict` does, and score them.

    Raises:
        DataError: a case could not be predicted.
    """
    scans = [Scan(case.name, case.images) for case in cases]
    outcomes = predict_cohort(scans, predictor, folder, model_id=model_id)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise DataError(failed[0].reason)
    names = {label.value: label.name for label in predictor.spec.labels}
    masks = {outcome.name: folder / outcome.mask for outcome in outcomes}
    pairs = [(case.name, masks[case.name], case.label) for case in cases if case.label]
    return compare_files(pairs, label_names=names)
