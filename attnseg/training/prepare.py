"""Before the first step: what the data is, what is wrong with it, what to do with it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import torch

from attnseg.config import Config
from attnseg.datasets import (
    CaseFacts,
    Dataset,
    Splits,
    count_folds,
    find_problems,
    fingerprint,
    inspect_dataset,
    load_splits,
    make_splits,
    raise_if_fatal,
    save_splits,
)
from attnseg.errors import UsageError
from attnseg.files import remove_leftovers
from attnseg.locks import FolderLock, Holder
from attnseg.models import load_spec
from attnseg.training import run as run_folder
from attnseg.training.checked import load_known, save_known, stamps_of
from attnseg.training.console import Display
from attnseg.training.plan import Plan, check_batch, check_plan, load_plan, make_plan, save_plan
from attnseg.training.prepared import Prepared, cases_of_run, find, folds_of
from attnseg.training.run import Run, hold

# Preparing reads every file of the data; so long another run of the same folder waits.
_PATIENCE_SECONDS = 3600.0


def check(
    dataset: Dataset,
    display: Display,
    *,
    splits: Splits,
    patient_pattern: str | None = None,
    known: Mapping[str, CaseFacts] = MappingProxyType({}),
) -> list[CaseFacts]:
    """Whether this can be trained on; all that is wrong is told at once.

    Args:
        dataset: the cases.
        display: gets what does not stop training.
        splits: the folds.
        patient_pattern: as of `make_splits`.
        known: case → its facts, of cases whose files need not be opened again.

    Raises:
        DataError: what stops training, one line each.
    """
    with display.checking(len(dataset.cases)) as advance:
        facts = inspect_dataset(dataset, known=known, on_progress=lambda done, total: advance())
    findings = find_problems(dataset, facts, patient_pattern=patient_pattern, splits=splits)
    display.findings(findings)
    raise_if_fatal(findings)
    return facts


def check_again(
    config: Config, run: Run, prepared: Prepared, display: Display, *, begun: bool = False
) -> None:
    """Before a training of a run that has its plan: whether its data can still be trained on.

    Files that are as they were when they were last checked are not opened again.

    Args:
        config: the experiment.
        run: where `checked.json` lies.
        prepared: cases, folds and plan of the run.
        display: gets what does not stop training.
        begun: this command has shown the findings; they are shown again if a file has changed.

    Raises:
        DataError: what stops training, one line each.
        ConfigError: channels, labels or regions that the plan does not know.
    """
    dataset = prepared.dataset
    stamps = {case.name: stamps_of(case) for case in dataset.cases}
    known = load_known(run.checked, dataset, stamps)
    if begun and len(known) == len(stamps):
        return
    facts = check(
        dataset,
        display,
        splits=prepared.splits,
        patient_pattern=config.data.patient_pattern,
        known=known,
    )
    values = {value for case in facts for value in case.label_counts}
    check_plan(prepared.plan, dataset, values, source=str(run.plan), fewer_labels=True)
    if len(known) < len(stamps):
        save_known(run.checked, dataset, facts, stamps)


def settle_splits(config: Config, dataset: Dataset, former: Splits | None = None) -> Splits:
    """As many folds as were asked for; where there are fewer patients, one for each.

    Raises:
        ConfigError: a patient pattern that cannot be used, or another number of folds than
            `former` has.
        DataError: `former` does not fit the cases.
    """
    names, data = [case.name for case in dataset.cases], config.data
    if not names:
        return []  # what is wrong with all of them is found by `check`
    count = count_folds(
        names, data.num_folds, patient_pattern=data.patient_pattern, patients=dataset.patients
    )
    return make_splits(
        names,
        num_folds=count,
        existing=former,
        patient_pattern=data.patient_pattern,
        patients=dataset.patients,
    )


@contextmanager
def in_turn(folder: Path, fold: str, *, lock: FolderLock, display: Display) -> Iterator[None]:
    """Prepare in the block: runs of other folds that begin at the same moment come one after
    another, so that all have the same plan.

    Raises:
        RunError: another process trains the fold.
    """

    def on_wait(holder: Holder) -> None:
        display.say(f"waiting for {holder}, which prepares {folder}")

    if fold != "all":  # it need not wait to be refused
        hold([Run(folder, fold)], lock)
    shared = Run(folder, fold)
    with lock.turn("preparation", seconds=_PATIENCE_SECONDS, on_wait=on_wait):
        for path in (shared.config, shared.plan, shared.splits):  # written in turn alone
            remove_leftovers(path)
        yield


def prepare(
    config: Config,
    folder: Path,
    fold: str,
    *,
    resume: bool,
    overwrite: bool,
    device: torch.device,
    display: Display,
    lock: FolderLock,
    parts: int = 1,
    init: Path | None = None,
    plan_file: Path | None = None,
) -> Prepared:
    """Check data and run folder, settle splits and plan, and write them; one process does it, when
    it is its turn.

    Nothing is written before everything has been checked. The folds are held by `lock` from then
    on. `parts` is what a batch is cut into.

    Raises:
        RunError: another process trains one of the folds.
        AttnsegError: data, configuration, plan, model or run folder that cannot be used.
    """
    shared = Run(folder, "0")
    dataset = find(config, display)
    former = load_splits(shared.splits) if shared.splits.exists() else None
    fresh = settle_splits(config, dataset)
    splits = former or fresh
    started = set(shared.all_folds)
    replaced = (
        overwrite
        and {Run(folder, each).fold_folder.name for each in folds_of(fold, splits)} >= started
    )
    continued = shared.plan.exists() and bool(started) and not replaced
    if continued:
        dataset = cases_of_run(dataset, splits, display)
    elif former is not None:
        # Of a run that is replaced the folds stay, unless the cases now make more or fewer.
        unfit = replaced and len(former) != len(fresh)
        splits = fresh if unfit else settle_splits(config, dataset, former)
    runs = [Run(folder, each) for each in folds_of(fold, splits)]
    hold(runs, lock)
    # Folds that are to be started; the others are continued.
    new = [run for run in runs if not (resume and run.fold_folder.exists())]
    for run in new:
        run_folder.check_startable(run, config, overwrite=overwrite)
    if len(splits) < config.data.num_folds and not continued:
        display.say(
            f"folds: {len(splits)} and not {config.data.num_folds}, since there are no more "
            "patients that could be held out"
        )
    if continued:
        plan = load_plan(shared.plan)
        if plan_file is not None and load_plan(plan_file) != plan:
            raise UsageError(
                f"--plan {plan_file}: {folder} has a plan of its own, which all of its folds "
                "share, and this is another; leave it out, or start another run with -o"
            )
        prepared = Prepared(dataset, splits, plan)
        check_again(config, shared, prepared, display)
        stamps = None
    else:
        stamps = {case.name: stamps_of(case) for case in dataset.cases}
        pattern = config.data.patient_pattern
        facts = check(dataset, display, splits=splits, patient_pattern=pattern)
        plan = settle_plan(config, dataset, facts, device=device, init=init, plan_file=plan_file)
        prepared = Prepared(dataset, splits, plan)
    check_batch(prepared.plan, parts=parts)
    for run in runs:
        prepared.cases(run.fold)
    for run in new:
        run_folder.start(run)
    run_folder.save_config(shared, config)
    save_plan(shared.plan, prepared.plan)
    save_splits(shared.splits, splits)
    if stamps is not None:
        save_known(shared.checked, dataset, facts, stamps)
    display.plan(prepared.plan)
    return prepared


def settle_plan(
    config: Config,
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    *,
    device: torch.device,
    gpu_bytes: int | None = None,
    init: Path | None = None,
    plan_file: Path | None = None,
) -> Plan:
    """The plan that was given, checked against the data; or one made from the data."""
    figures = fingerprint(facts)
    if plan_file is not None:
        plan = load_plan(plan_file)
        check_plan(plan, dataset, figures.label_values, source=str(plan_file))
        return plan
    return make_plan(
        config,
        dataset,
        figures,
        device=device.type,
        gpu_bytes=gpu_bytes,
        base=load_spec(init) if init else None,
    )
