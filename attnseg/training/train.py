"""`attnseg train`: from a folder of scans and masks to a model file."""

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from attnseg.config import Config
from attnseg.datasets import (
    Case,
    CaseFacts,
    Dataset,
    Splits,
    find_dataset,
    find_problems,
    fingerprint,
    fold_cases,
    inspect_dataset,
    load_splits,
    make_splits,
    raise_if_fatal,
    save_splits,
)
from attnseg.errors import UsageError
from attnseg.evaluation import Evaluation, print_table
from attnseg.inference import Predictor
from attnseg.inference.backends import resolve_device
from attnseg.memory import keep_freed_memory
from attnseg.models import build_network, model_id, save_model
from attnseg.spec import ModelSpec
from attnseg.training import run as run_folder
from attnseg.training.cache import cache_cases
from attnseg.training.console import Display
from attnseg.training.loop import fit
from attnseg.training.pipeline import make_loader
from attnseg.training.plan import load_plan, make_plan, save_plan
from attnseg.training.run import Run
from attnseg.training.signals import stop_on_signals
from attnseg.training.state import TrainingState, new_state
from attnseg.training.tensorboard import Board
from attnseg.training.validation import validate_fold
from attnseg.training.watch import Watch


def train(
    config: Config,
    output: Path,
    *,
    fold: str = "0",
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> Evaluation | None:
    """Train one fold and validate it.

    Args:
        config: the experiment; for a resumed run the one of its folder (`resumed_config`).
        output: run folder.
        fold: number of the fold whose cases are held out, or "all" to hold none out.
        resume: continue the run that is there.
        overwrite: replace it.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        Scores of the held-out cases; None for "all".

    Raises:
        AttnsegError: data, configuration or run folder that cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run is saved and can be resumed.
    """
    if fold != "all" and not fold.isdigit():
        raise UsageError(f"--fold {fold}: must be a number from 0, or `all`")
    keep_freed_memory()
    place = resolve_device(device)
    run = Run(output, fold)
    display = Display()
    dataset = _find(config, display)
    facts = [] if resume else _check(dataset, display)
    splits = _splits(config, dataset, run)
    training, held_out = _fold_cases(dataset, splits, fold)
    if resume:
        plan = load_plan(run.plan)
    else:
        run_folder.start(run, config, overwrite=overwrite)
        # Planned from the training cases alone: the held-out ones stay unseen.
        names = {case.name for case in training}
        figures = fingerprint([each for each in facts if each.name in names])
        plan = make_plan(config, dataset, figures, device=place.type)
        save_plan(run.plan, plan)
    save_splits(run.splits, splits)
    display.plan(plan)
    settings = config.training
    if settings.deterministic:
        torch.use_deterministic_algorithms(True)
    state = _new_state(plan.spec, config, place)
    if resume and run.checkpoint.exists():
        state.load(run.checkpoint)
        display.say(f"resuming after step {state.step}, {state.seconds / 60:.1f} min")
    with display.caching(len(training)) as advance:
        cached = cache_cases(training, plan.spec, run.cache, on_case=lambda name: advance())
    loader = make_loader(cached, plan.spec.patch, settings, first=state.step * settings.batch_size)
    board = Board(run.fold_folder / "tensorboard")
    with stop_on_signals() as stop, display.training() as show:
        watch = Watch(state, plan.spec, config, run, board, held_out, place, stop)
        finished = fit(
            state,
            loader,
            settings,
            device=place,
            stop=stop,
            on_step=lambda report: show(report, watch(report)),
        )
    board.close()
    if not finished:
        display.say(f"stopped after step {state.step}; --resume -o {output} continues it")
        raise KeyboardInterrupt
    return _finish(state, plan.spec, config, run, held_out, place, display)


def _find(config: Config, display: Display) -> Dataset:
    root = config.data.root
    if root is None:
        raise UsageError(
            "no data set: give its folder, as in `attnseg train DATA`, or data.root in the "
            "configuration (attnseg.yaml of this folder is read when --config is not given)"
        )
    dataset = find_dataset(root, layout=config.data.layout)
    display.say(dataset.describe())
    return dataset


def _check(dataset: Dataset, display: Display) -> list[CaseFacts]:
    """Look into every file; all that is wrong is told at once, before anything is written."""
    with display.checking(len(dataset.cases)) as advance:
        facts = inspect_dataset(dataset, on_progress=lambda done, total: advance())
    findings = find_problems(dataset, facts)
    display.findings(findings)
    raise_if_fatal(findings)
    return facts


def _splits(config: Config, dataset: Dataset, run: Run) -> Splits:
    """Folds; cases that the run folder has placed before stay where they are."""
    return make_splits(
        [case.name for case in dataset.cases],
        num_folds=config.data.num_folds,
        existing=load_splits(run.splits) if run.splits.exists() else None,
        patient_pattern=config.data.patient_pattern,
    )


def _fold_cases(dataset: Dataset, splits: Splits, fold: str) -> tuple[list[Case], list[Case]]:
    """Training and held-out cases."""
    if fold == "all":
        return list(dataset.cases), []
    names = [case.name for case in dataset.cases]
    training, held_out = fold_cases(splits, names, int(fold))
    by_name = {case.name: case for case in dataset.cases}
    return [by_name[name] for name in training], [by_name[name] for name in held_out]


def _new_state(spec: ModelSpec, config: Config, device: torch.device) -> TrainingState:
    torch.manual_seed(config.training.seed)
    network = build_network(spec.architecture).to(device)
    if device.type == "cpu":
        network = network.channels_last()
    return new_state(network, config.training)


def _finish(
    state: TrainingState,
    spec: ModelSpec,
    config: Config,
    run: Run,
    held_out: Sequence[Case],
    device: torch.device,
    display: Display,
) -> Evaluation | None:
    """Write the model of the averaged weights, then score it on every held-out case."""
    provenance = {
        **spec.provenance,
        **_versions(),
        "fold": run.fold,
        "steps": state.step,
        "minutes": round(state.seconds / 60, 2),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    spec = spec.model_copy(update={"provenance": provenance})
    save_model(run.model, state.average, spec)
    display.say(f"model: {run.model}")
    if not held_out:
        return None
    predictor = Predictor(state.average, spec, device=str(device), overlap=config.inference.overlap)
    folder = run.fold_folder / "validation"
    evaluation = validate_fold(predictor, held_out, folder, model_id=model_id(run.model))
    evaluation.save_json(run.validation)
    print_table(evaluation, display.console)
    return evaluation


def _versions() -> dict[str, str]:
    import attnseg

    return {
        "attnseg": attnseg.__version__,
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
