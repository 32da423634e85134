"""The end of a fold: its model, what its held-out cases say of it, and what follows from that."""

import datetime
import sys

import torch

import attnseg
from attnseg.config import Config
from attnseg.evaluation import Evaluation
from attnseg.inference import Predictor
from attnseg.models import model_id, save_model
from attnseg.spec import ModelSpec
from attnseg.training.after import choose_rules, in_words
from attnseg.training.console import Display
from attnseg.training.engine import Engine
from attnseg.training.prepared import Prepared
from attnseg.training.run import Run
from attnseg.training.state import TrainingState
from attnseg.training.tensorboard import Board
from attnseg.training.validation import report_fold, validate_fold


def finish_fold(
    state: TrainingState,
    spec: ModelSpec,
    config: Config,
    run: Run,
    prepared: Prepared,
    display: Display,
    board: Board,
    engine: Engine,
) -> Evaluation | None:
    """Write the model of the averaged weights, score it on every held-out case, and write it again
    where after-processing helped there; the scores are those without.
    """
    spec = with_provenance(
        spec,
        attnseg=attnseg.__version__,
        torch=torch.__version__,
        python=".".join(map(str, sys.version_info[:3])),
        fold=run.fold,
        steps=state.step,
        minutes=round(state.seconds / 60, 2),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    save_model(run.model, state.average, spec)
    display.say(f"model: {run.model}")
    _, held_out = prepared.cases(run.fold)
    if not held_out:
        return None
    predictor = Predictor(
        state.average,
        spec,
        device=str(engine.device),
        overlap=config.inference.overlap,
        backend="torch",  # the same masks wherever the same weights are scored
    )
    evaluation = validate_fold(
        predictor, held_out, run.predictions, prepared.dataset, model_id=model_id(run.model)
    )
    # Rules that the plan came with were at work in these very scores, and stay.
    choose = config.training.after_processing and not spec.regions and not spec.after_processing
    if choose:
        choices = choose_rules(evaluation.cases, spec, ignore_label=prepared.dataset.ignore_label)
        told = in_words(choices, spec.output_names, scans=len(evaluation.cases))
        if choices:
            # Before the scores are written: a fold that has its scores counts as finished.
            rules = tuple(choice.rule for choice in choices)
            spec = with_provenance(spec, after_processing=told)
            spec = spec.model_copy(update={"after_processing": rules})
            save_model(run.model, state.average, spec)
    report_fold(evaluation, run, prepared.plan, config, state, board, display)
    if choose:
        display.say(f"{told}; the scores above are without" if choices else told)
    return evaluation


def with_provenance(spec: ModelSpec, **entries: object) -> ModelSpec:
    """The spec, with what else is known of how its model was made."""
    return spec.model_copy(update={"provenance": {**spec.provenance, **entries}})
