"""Before the first step: what the data is, what is wrong with it, what to do with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch

from attnseg.config import Config
from attnseg.datasets import (
    Case,
    CaseFacts,
    Dataset,
    Splits,
    count_folds,
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
from attnseg.errors import DataError, UsageError
from attnseg.models import load_spec
from attnseg.training import run as run_folder
from attnseg.training.checked import load_known, save_known, stamps_of
from attnseg.training.console import Display
from attnseg.training.plan import Plan, check_batch, check_plan, load_plan, make_plan, save_plan
from attnseg.training.run import Run

# So many cases are named in a message.
_SHOWN = 5


@dataclass(frozen=True)
class Prepared:
    """What all processes of a run know before they start."""

    dataset: Dataset
    splits: Splits
    plan: Plan

    def cases(self, fold: str) -> tuple[list[Case], list[Case]]:
        """Training and held-out cases of a fold; "none" holds none out.

        Raises:
            ConfigError: no such fold.
            DataError: a fold that holds every case out.
        """
        if fold == "none":
            return list(self.dataset.cases), []
        by_name = {case.name: case for case in self.dataset.cases}
        training, held_out = fold_cases(self.splits, list(by_name), int(fold))
        if not training:
            raise DataError(
                f"{self.dataset.root}: {len(held_out)} case(s) of one patient, and fold {fold} "
                "holds them out, so that none is left to train on; train with --fold none, or add "
                "cases of other patients"
            )
        return [by_name[name] for name in training], [by_name[name] for name in held_out]


def find(config: Config, display: Display) -> Dataset:
    """The data set that the configuration names.

    Raises:
        UsageError: it names none.
        DataError: it is not there or not understood.
    """
    root = config.data.root
    if root is None:
        raise UsageError(
            "no data set: give its folder, as in `attnseg train DATA`, or data.root in the "
            "configuration (attnseg.yaml of this folder is read when --config is not given)"
        )
    dataset = _dataset(config, root)
    display.say(dataset.describe())
    return dataset


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


def prepare(
    config: Config,
    folder: Path,
    fold: str,
    *,
    resume: bool,
    overwrite: bool,
    device: torch.device,
    display: Display,
    parts: int = 1,
    init: Path | None = None,
    plan_file: Path | None = None,
) -> Prepared:
    """Check data and run folder, settle splits and plan, and write them; one process does it.

    Nothing is written before everything has been checked. `parts` is what a batch is cut into.

    Raises:
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
        dataset = _cases_of_run(dataset, splits, display)
    elif former is not None:
        # Of a run that is replaced the folds stay, unless the cases now make more or fewer.
        unfit = replaced and len(former) != len(fresh)
        splits = fresh if unfit else settle_splits(config, dataset, former)
    runs = [Run(folder, each) for each in folds_of(fold, splits)]
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


def folds_of(fold: str, splits: Splits) -> list[str]:
    """The folds that "all", "none" or a number stands for."""
    return [str(number) for number in range(len(splits))] if fold == "all" else [fold]


def _cases_of_run(dataset: Dataset, splits: Splits, display: Display) -> Dataset:
    """The cases that the run's folds were made of: all must be there, others are left out.

    Raises:
        DataError: cases that are gone.
    """
    ours = {name for fold in splits for name in fold}
    there = {case.name for case in dataset.cases}
    if gone := sorted(ours - there):
        raise DataError(
            f"{dataset.root}: {len(gone)} case(s) of this run are no longer there "
            f"({_some(gone)}); put them back, or start a new run with -o"
        )
    lone = {each.case for each in dataset.problems if each.stops} - {"dataset"}
    if new := sorted((there | lone) - ours):
        display.say(
            f"note: {len(new)} case(s) came after the folds of this run were made ({_some(new)}) "
            "and are left out; a new run, with -o, takes them"
        )
    return replace(
        dataset,
        cases=tuple(case for case in dataset.cases if case.name in ours),
        problems=tuple(each for each in dataset.problems if each.case in (*ours, "dataset")),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


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


def load_prepared(config: Config, folder: Path) -> Prepared:
    """What the first process has prepared, for the others."""
    run = Run(folder, "0")
    assert config.data.root is not None
    dataset, splits = _dataset(config, config.data.root), load_splits(run.splits)
    dataset = _cases_of_run(dataset, splits, Display(quiet=True))
    return Prepared(dataset, splits, load_plan(run.plan))


def _dataset(config: Config, root: Path) -> Dataset:
    data = config.data
    return find_dataset(root, layout=data.layout, images=data.images, labels=data.labels)
