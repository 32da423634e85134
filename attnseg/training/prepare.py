"""Before the first step: what the data is, what is wrong with it, what to do with it."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from attnseg.models import load_spec
from attnseg.training import run as run_folder
from attnseg.training.console import Display
from attnseg.training.plan import Plan, check_plan, load_plan, make_plan, save_plan
from attnseg.training.run import Run


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
        """
        if fold == "none":
            return list(self.dataset.cases), []
        by_name = {case.name: case for case in self.dataset.cases}
        training, held_out = fold_cases(self.splits, list(by_name), int(fold))
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
    dataset: Dataset, display: Display, *, patient_pattern: str | None = None
) -> list[CaseFacts]:
    """Look into every file; all that is wrong is told at once, before anything is written."""
    with display.checking(len(dataset.cases)) as advance:
        facts = inspect_dataset(dataset, on_progress=lambda done, total: advance())
    findings = find_problems(dataset, facts, patient_pattern=patient_pattern)
    display.findings(findings)
    raise_if_fatal(findings)
    return facts


def prepare(
    config: Config,
    folder: Path,
    folds: Sequence[str],
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
    runs = [Run(folder, fold) for fold in folds]
    shared = runs[0]
    # Folds that are to be started; the others are continued.
    new = [run for run in runs if not (resume and run.fold_folder.exists())]
    for run in new:
        run_folder.check_startable(run, config, overwrite=overwrite)
    dataset = find(config, display)
    replaced = overwrite and {run.fold_folder.name for run in runs} >= set(shared.all_folds)
    if shared.plan.exists() and shared.all_folds and not replaced:
        plan = load_plan(shared.plan)
        if plan_file is not None and load_plan(plan_file) != plan:
            raise UsageError(
                f"--plan {plan_file}: {folder} has a plan of its own, which all of its folds "
                "share, and this is another; leave it out, or start another run with -o"
            )
    else:
        facts = check(dataset, display, patient_pattern=config.data.patient_pattern)
        plan = settle_plan(config, dataset, facts, device=device, init=init, plan_file=plan_file)
    if plan.batch_size % parts:
        raise UsageError(
            f"batch of {plan.batch_size}: must be a multiple of {parts}, the number of processes "
            f"times training.accumulate; give --set training.batch_size={parts}"
        )
    splits = make_splits(
        [case.name for case in dataset.cases],
        num_folds=config.data.num_folds,
        existing=load_splits(shared.splits) if shared.splits.exists() else None,
        patient_pattern=config.data.patient_pattern,
        patients=dataset.patients,
    )
    prepared = Prepared(dataset, splits, plan)
    for fold in folds:
        prepared.cases(fold)
    for run in new:
        run_folder.start(run)
    run_folder.save_config(shared, config)
    save_plan(shared.plan, plan)
    save_splits(shared.splits, splits)
    display.plan(plan)
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
        check_plan(plan, dataset, figures, source=str(plan_file))
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
    dataset = _dataset(config, config.data.root)
    return Prepared(dataset, load_splits(run.splits), load_plan(run.plan))


def _dataset(config: Config, root: Path) -> Dataset:
    data = config.data
    return find_dataset(root, layout=data.layout, images=data.images, labels=data.labels)
