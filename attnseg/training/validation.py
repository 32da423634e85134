"""Validation through the predictor that users run, on the scans' own grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attnseg.config import Config
from attnseg.datasets import Case, Dataset
from attnseg.errors import RunError
from attnseg.evaluation import Evaluation, compare_files, print_table, table_lines
from attnseg.files import load_json, scratch_folder, write_text
from attnseg.images import Image, on_grid, read_labels, write_labels
from attnseg.inference import Predictor, Scan, predict_cohort
from attnseg.inference.identity import identity_of, is_made_of
from attnseg.inference.manifest import owners
from attnseg.inference.work import reason_of
from attnseg.spec import ModelSpec
from attnseg.training.console import Display, plan_lines
from attnseg.training.plan import Plan
from attnseg.training.prepared import Prepared
from attnseg.training.run import Run
from attnseg.training.state import TrainingState
from attnseg.training.tensorboard import Board
from attnseg.whereabouts import told


@dataclass(frozen=True, eq=False)
class Example:
    """One case of a quick validation."""

    image: Image
    labels: np.ndarray
    reference: np.ndarray
    attention: np.ndarray | None
    """α of the finest gate on the scan's grid."""


@dataclass(frozen=True, eq=False)
class Peek:
    """Scores and one example of a quick validation during training."""

    dice: dict[int, float]
    """Label value → mean Dice over the cases that have it."""
    mean_dice: float
    """NaN where no case could be scored."""
    example: Example | None
    failed: Mapping[str, str]
    """Case → why it has no score."""


def peek(predictor: Predictor, cases: Sequence[Case], dataset: Dataset) -> Peek:
    """Predict a few cases and score them; the last one that could be is kept as the example."""
    failed: dict[str, str] = {}
    last: tuple[Case, Image, np.ndarray] | None = None
    with scratch_folder() as folder:
        masks = {}
        for case in cases:
            mask = folder / _scan(case).mask_name
            try:
                image = predictor.read(*case.images)
                labels = predictor.predict(image).labels
                write_labels(mask, labels, like=image, dtype=predictor.label_type)
            except Exception as error:  # a scan's own matter, and no reason to lose the training
                failed[case.name] = reason_of(error)
                continue
            masks[case.name] = mask
            last = case, image, labels
        evaluation = _compare(cases, masks, predictor.spec, dataset, failed)
    scored = {case.name for case in evaluation.cases}
    return Peek(
        dice={label.value: label.mean for label in evaluation.labels if label.cases},
        mean_dice=evaluation.mean_dice,
        example=(_example(*last, predictor, dataset) if last and last[0].name in scored else None),
        failed=evaluation.failed,
    )


def _example(
    case: Case, image: Image, labels: np.ndarray, predictor: Predictor, dataset: Dataset
) -> Example:
    assert case.label is not None, case.name
    ignored = () if dataset.ignore_label is None else (dataset.ignore_label,)
    known = (*predictor.spec.label_values, *ignored)
    reference = read_labels(case.label, label_values=known)
    maps = predictor.attention(image)
    return Example(
        image=image,
        labels=labels,
        reference=on_grid(reference, image.geometry).array[0],
        attention=maps[min(maps)] if maps else None,
    )


def validate_fold(
    predictor: Predictor, cases: Sequence[Case], folder: Path, dataset: Dataset, *, model_id: str
) -> Evaluation:
    """Predict all validation cases into `folder` as `attnseg predict` does, and score them.

    Returns:
        Scores; a case that cannot be predicted or compared has none, and `failed` says why.
    """
    scans = [_scan(case) for case in cases]
    outcomes = predict_cohort(scans, predictor, folder, model_id=model_id, replace_others=True)
    failed = {each.name: each.reason for each in outcomes if each.state not in ("done", "skipped")}
    masks = {each.name: folder / each.mask for each in outcomes if each.name not in failed}
    return _compare(cases, masks, predictor.spec, dataset, failed)


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
    text = told(text, run.fold_folder)
    write_text(run.summary, text)
    board.text("summary", text)
    board.settings(_flat(config.training.model_dump()), {"final/dice": evaluation.mean_dice})


def report_folds(runs: Sequence[Run], prepared: Prepared, display: Display) -> Evaluation:
    """Every case scored by the model that has not seen it, over all folds."""
    masks: dict[str, Path] = {}
    cases: list[Case] = []
    failed: dict[str, str] = {}
    for run in runs:
        _, held_out = prepared.cases(run.fold)
        cases += held_out
        failed |= _failed_of(run)
        masks |= {case.name: run.predictions / _scan(case).mask_name for case in held_out}
    cases.sort(key=lambda case: case.name)
    if outdated := outdated_cases(runs, cases):
        display.say(
            f"the scans of {', '.join(outdated)} have changed since their folds were trained: "
            "their masks, and so their scores, are of the scans as they were"
        )
    masks = {name: mask for name, mask in masks.items() if name not in failed}
    evaluation = _compare(cases, masks, prepared.plan.spec, prepared.dataset, failed)
    evaluation.save_json(runs[0].cross_validation)
    display.say(f"all folds, every case by the model that has not seen it ({len(cases)} cases)")
    print_table(evaluation, display.console)
    return evaluation


def _failed_of(run: Run) -> dict[str, str]:
    """Cases of a fold that have no scores, and why.

    Raises:
        RunError: its scores are damaged.
    """
    try:
        failed = load_json(run.validation).get("failed", {})
        return {str(name): str(reason) for name, reason in failed.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(
            f"{run.validation}: no scores of a fold ({error}); remove it and go on with --resume, "
            "which scores the fold again"
        ) from None


def outdated_cases(runs: Sequence[Run], cases: Sequence[Case]) -> list[str]:
    """Held-out cases whose masks were made of other scans than those that are there now."""
    lines = {name: line for run in runs for name, line in owners(run.predictions).items()}
    found = []
    for case in cases:
        line = lines.get(_scan(case).mask_name)
        known = identity_of(line) if line else None
        if known is not None and not is_made_of(known, case.images):
            found.append(case.name)
    return found


def _scan(case: Case) -> Scan:
    return Scan(case.name, case.images)


def _compare(
    cases: Sequence[Case],
    masks: Mapping[str, Path],
    spec: ModelSpec,
    dataset: Dataset,
    failed: Mapping[str, str],
) -> Evaluation:
    """Scores of the cases that have a mask; `failed` says why the others have none."""
    found = compare_files(
        [
            (case.name, masks[case.name], case.label)
            for case in cases
            if case.label and case.name in masks
        ],
        label_names=spec.output_names,
        label_values=spec.label_values,
        ignore_label=dataset.ignore_label,
        regions=spec.regions,
        labels_present={
            case.name: case.labels_present for case in cases if case.labels_present is not None
        },
        none_is_an_error=False,
    )
    return replace(found, failed={**failed, **found.failed})


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
