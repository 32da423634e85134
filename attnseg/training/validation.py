"""Validation through the predictor that users run, on the scans' own grids."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.config import Config
from attnseg.datasets import Case, Dataset
from attnseg.errors import DataError
from attnseg.evaluation import Evaluation, compare_files, print_table, table_lines
from attnseg.files import write_text
from attnseg.images import Image, on_grid, read_labels, write_labels
from attnseg.inference import Predictor, Scan, predict_cohort
from attnseg.spec import ModelSpec
from attnseg.training.console import Display, plan_lines
from attnseg.training.plan import Plan
from attnseg.training.prepare import Prepared
from attnseg.training.run import Run
from attnseg.training.state import TrainingState
from attnseg.training.tensorboard import Board


@dataclass(frozen=True, eq=False)
class Peek:
    """Scores and one example of a quick validation during training."""

    dice: dict[int, float]
    """Label value → mean Dice over the cases that have it."""
    mean_dice: float
    image: Image
    labels: np.ndarray
    reference: np.ndarray
    attention: np.ndarray | None
    """α of the finest gate on the scan's grid."""


def peek(predictor: Predictor, cases: Sequence[Case], dataset: Dataset) -> Peek:
    """Predict a few cases and score them; the last one is kept as the example."""
    with tempfile.TemporaryDirectory(prefix="attnseg-") as folder:
        masks = {}
        for case in cases:
            image = predictor.read(*case.images)
            labels = predictor.predict(image).labels
            masks[case.name] = Path(folder) / _scan(case).mask_name
            write_labels(masks[case.name], labels, like=image, dtype=predictor.label_type)
        evaluation = _compare(cases, masks, predictor.spec, dataset)
    example = cases[-1]
    assert example.label is not None, example.name
    ignored = () if dataset.ignore_label is None else (dataset.ignore_label,)
    known = (*predictor.spec.label_values, *ignored)
    drawn = read_labels(example.label, label_values=known)
    reference = on_grid(drawn, image.geometry).array[0]
    maps = predictor.attention(image)
    return Peek(
        dice={label.value: label.mean for label in evaluation.labels if label.cases},
        mean_dice=evaluation.mean_dice,
        image=image,
        labels=labels,
        reference=reference,
        attention=maps[min(maps)] if maps else None,
    )


def validate_fold(
    predictor: Predictor, cases: Sequence[Case], folder: Path, dataset: Dataset, *, model_id: str
) -> Evaluation:
    """Predict all validation cases into `folder` as `attnseg predict` does, and score them.

    Raises:
        DataError: a case could not be predicted.
    """
    scans = [_scan(case) for case in cases]
    outcomes = predict_cohort(scans, predictor, folder, model_id=model_id)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise DataError(failed[0].reason)
    masks = {outcome.name: folder / outcome.mask for outcome in outcomes}
    return _compare(cases, masks, predictor.spec, dataset)


def report_fold(
    evaluation: Evaluation,
    run: Run,
    plan: Plan,
    config: Config,
    state: TrainingState,
    board: Board,
    display: Display,
) -> None:
    """Scores of a finished fold: as JSON, on the screen, in TensorBoard and as a text to keep."""
    evaluation.save_json(run.validation)
    print_table(evaluation, display.console)
    trained = (
        f"trained: fold {run.fold}, {state.step} steps of {plan.batch_size}, "
        f"{state.seconds / 60:.1f} min, seed {config.training.seed}"
    )
    text = "\n".join([*plan_lines(plan), "", trained, "", *table_lines(evaluation)]) + "\n"
    write_text(run.summary, text)
    board.text("summary", text)
    board.settings(_flat(config.training.model_dump()), {"final/dice": evaluation.mean_dice})


def report_folds(runs: Sequence[Run], prepared: Prepared, display: Display) -> Evaluation:
    """Every case scored by the model that has not seen it, over all folds."""
    masks: dict[str, Path] = {}
    cases: list[Case] = []
    for run in runs:
        _, held_out = prepared.cases(run.fold)
        cases += held_out
        masks |= {case.name: run.predictions / _scan(case).mask_name for case in held_out}
    cases.sort(key=lambda case: case.name)
    evaluation = _compare(cases, masks, prepared.plan.spec, prepared.dataset)
    evaluation.save_json(runs[0].cross_validation)
    display.say(f"all folds, every case by the model that has not seen it ({len(cases)} cases)")
    print_table(evaluation, display.console)
    return evaluation


def _scan(case: Case) -> Scan:
    return Scan(case.name, case.images)


def _compare(
    cases: Sequence[Case], masks: dict[str, Path], spec: ModelSpec, dataset: Dataset
) -> Evaluation:
    return compare_files(
        [(case.name, masks[case.name], case.label) for case in cases if case.label],
        label_names=spec.output_names,
        label_values=spec.label_values,
        ignore_label=dataset.ignore_label,
        regions=spec.regions,
        labels_present={
            case.name: case.labels_present for case in cases if case.labels_present is not None
        },
    )


def _flat(settings: dict, prefix: str = "") -> dict[str, str | float | bool]:
    """Nested settings with dotted keys, every value one that TensorBoard shows."""
    result: dict[str, str | float | bool] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            result |= _flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            result[prefix + key] = value if plain else str(value)
    return result
