"""`attnseg train`: from a folder of scans and masks to model files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from attnseg.config import Config, TrainingConfig
from attnseg.disk import remedied, require_room
from attnseg.errors import UsageError
from attnseg.evaluation import Evaluation
from attnseg.files import remove_leftovers_in
from attnseg.locks import FolderLock
from attnseg.memory import keep_freed_memory
from attnseg.models import build_network, load_model, model_id
from attnseg.signals import stop_on_signals
from attnseg.spec import ModelSpec
from attnseg.training.adapt import adapt_weights, summary
from attnseg.training.cache import CachedCase, cache_cases
from attnseg.training.console import Display
from attnseg.training.engine import Engine
from attnseg.training.finish import finish_fold, with_provenance
from attnseg.training.loop import fit
from attnseg.training.losses import make_loss
from attnseg.training.pipeline import make_loader
from attnseg.training.prepare import check_again, in_turn, prepare
from attnseg.training.prepared import Prepared, folds_of, load_prepared
from attnseg.training.run import Run
from attnseg.training.schedule import Clock
from attnseg.training.state import TrainingState, new_state
from attnseg.training.tensorboard import Board
from attnseg.training.trained_on import changes, changes_since, save_cases
from attnseg.training.validation import report_folds
from attnseg.training.watch import Watch


def train(
    config: Config,
    output: Path,
    *,
    fold: str = "0",
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    init: Path | None = None,
    plan: Path | None = None,
) -> Evaluation | None:
    """Train one fold or all of them, and validate.

    Args:
        config: the experiment; for a resumed run the one of its folder (`resumed_config`).
        output: run folder.
        fold: number of the fold whose cases are held out; "all": one fold after another, then the
            scores of every case by the model that has not seen it; "none": hold no case out.
        resume: continue what is there; what is not there is started, what is finished is left.
        overwrite: replace it.
        device: "auto", "cpu", "cuda" or "cuda:N".
        init: model file to start from; channels and labels may differ.
        plan: `plan.json` to use instead of planning.

    Returns:
        Scores of the held-out cases; None for "none", and in all processes but the first.

    Raises:
        RunError: another process trains one of the folds.
        AttnsegError: data, configuration or run folder that cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run is saved and can be resumed.
    """
    if fold not in ("all", "none") and not re.fullmatch(r"0|[1-9][0-9]{0,5}", fold):
        raise UsageError(f"--fold {fold}: must be a number from 0, `all` or `none`")
    settings = config.training
    if settings.deterministic and settings.max_minutes is not None:
        raise UsageError(
            "--deterministic and a length in minutes exclude each other: a schedule bound to the "
            "clock cannot repeat; give --epochs"
        )
    keep_freed_memory()
    engine = Engine(settings, device=device)
    display = Display(quiet=not engine.is_main)
    lock = FolderLock(output, command="attnseg train", say=display.say)
    further = f"then continue with attnseg train --resume -o {output}"
    with remedied(further, relief="free some space"), lock if engine.is_main else nullcontext():
        prepared = None
        if engine.is_main:
            with in_turn(output, fold, lock=lock, display=display):
                prepared = prepare(
                    config, output, fold, resume=resume, overwrite=overwrite, device=engine.device,
                    display=display, lock=lock, parts=engine.processes * settings.accumulate,
                    init=init, plan_file=plan,
                )  # fmt: skip
        engine.wait()
        prepared = prepared or load_prepared(config, output)
        runs = [Run(output, each) for each in folds_of(fold, prepared.splits)]
        evaluation = None
        with _deterministic(settings.deterministic):
            for number, run in enumerate(runs):
                # Hours have gone by since the first fold began.
                if number and engine.is_main:
                    check_again(config, run, prepared, display, begun=True)
                if len(runs) > 1:
                    display.say(f"fold {run.fold}")
                evaluation = _train_fold(config, run, prepared, engine, display, init)
        if fold == "all" and engine.is_main:
            evaluation = report_folds(runs, prepared, display)
    return evaluation


def _train_fold(
    config: Config,
    run: Run,
    prepared: Prepared,
    engine: Engine,
    display: Display,
    init: Path | None,
) -> Evaluation | None:
    """Train one fold to its end, then write and validate its model."""
    settings, spec = config.training, prepared.plan.spec
    training, held_out = prepared.cases(run.fold)
    state = _new_state(spec, config, engine, init, display)
    if run.checkpoint.exists():
        state.load(run.checkpoint)
        if _over(state, settings) and _done(run):
            display.say(
                f"{run.fold_folder} is finished; lengthen it with --epochs or --max-minutes"
            )
            if changed := changes_since(run.cases, {case.name: case for case in training}):
                display.say(changed)
            return None
        display.say(f"resuming after step {state.step}, {state.seconds / 60:.1f} min")
        if init is not None:
            display.say(f"weights are those of the checkpoint, not of --init {init}")
    if engine.is_main:
        remove_leftovers_in(run.fold_folder)  # of a training that was killed
        _ask_for_room(run, state)
        run.forget_metrics_after(state.step)
    folder = config.data.cache or run.cache
    cached = _cached(prepared, training, spec, folder, engine, display)
    if engine.is_main:  # which the cases may have taken
        _ask_for_room(run, state)
    if changed := changes(run.cases, cached):
        display.say(changed)
    if engine.is_main and not run.cases.exists():
        save_cases(run.cases, cached)
    if init is not None:
        spec = with_provenance(spec, init=model_id(init))
    loader = make_loader(
        cached,
        spec,
        settings,
        batch_size=prepared.plan.batch_size,
        first=state.step * prepared.plan.batch_size,
        process=engine.process,
        processes=engine.processes,
        device=engine.device,
    )
    board = (
        Board(run.fold_folder / "tensorboard", first_step=state.step, say=display.say)
        if engine.is_main
        else None
    )
    with stop_on_signals(patient=True) as stop, display.training() as show:
        on_step = (
            Watch(
                state, spec, config, run, board, prepared.dataset, held_out, stop,
                show=show, say=display.say, engine=engine,
            )
            if board
            else lambda report: False
        )  # fmt: skip
        engine.loss_scale = state.loss_scale
        finished = fit(
            state,
            loader,
            settings,
            engine=engine,
            loss_of=make_loss(spec, settings),
            batch_size=prepared.plan.batch_size,
            stop=stop,
            on_step=on_step,
        )
    if not finished:
        display.say(f"stopped after step {state.step}; --resume -o {run.folder} continues it")
        raise KeyboardInterrupt
    evaluation = None
    if board:
        if _exhausted(state, settings):
            display.say(
                f"no better Dice in {settings.patience} validations; the best weights are kept"
            )
            best, _ = load_model(run.best)
            state.average.load_state_dict(best.state_dict())
        evaluation = finish_fold(state, spec, config, run, prepared, display, board, engine)
    engine.wait()
    return evaluation


def _ask_for_room(run: Run, state: TrainingState) -> None:
    """For a checkpoint beside the one it replaces, and for the models.

    Raises:
        DiskFullError: there is none.
    """
    weights = sum(
        each.numel() * each.element_size() for each in state.average.state_dict().values()
    )
    models = [path for path in (run.best, run.model) if not path.exists()]
    checkpoints = 1 if run.checkpoint.exists() else 2
    require_room(
        run.fold_folder,
        checkpoints * state.stored_bytes + len(models) * weights,
        what="checkpoints and models",
    )


def _over(state: TrainingState, settings: TrainingConfig) -> bool:
    """Whether the schedule is complete, or patience exhausted."""
    progress = Clock(settings, step=state.step, seconds=state.seconds).progress
    return progress >= 1 or _exhausted(state, settings)


def _exhausted(state: TrainingState, settings: TrainingConfig) -> bool:
    return settings.patience is not None and state.stale >= settings.patience


def _done(run: Run) -> bool:
    return run.model.exists() and (run.validation.exists() or run.fold == "none")


def _cached(
    prepared: Prepared,
    cases: list,
    spec: ModelSpec,
    folder: Path,
    engine: Engine,
    display: Display,
) -> list[CachedCase]:
    """Every process preprocesses its share; then all are there."""
    ignore = prepared.dataset.ignore_label
    mine = cases[engine.process :: engine.processes]
    with display.caching(len(mine)) as advance:
        cached = cache_cases(
            mine, spec, folder, ignore_label=ignore, on_case=lambda name: advance()
        )
    if engine.processes == 1:
        return cached
    engine.wait()
    return cache_cases(cases, spec, folder, ignore_label=ignore)


def _new_state(
    spec: ModelSpec, config: Config, engine: Engine, init: Path | None, display: Display
) -> TrainingState:
    torch.manual_seed(config.training.seed)
    network = build_network(spec.architecture)
    if init is not None:
        source, source_spec = load_model(init)
        display.say(f"starting from {init}")
        for line in summary(adapt_weights(network, spec, source, source_spec)):
            display.say(line)
    return new_state(network.to(engine.device), config.training)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
