"""What all processes of a run know before they start: its cases, its folds, its plan."""

from dataclasses import dataclass, replace
from pathlib import Path

from attnseg.config import Config
from attnseg.datasets import Case, Dataset, Splits, find_dataset, fold_cases, load_splits
from attnseg.errors import DataError, UsageError
from attnseg.images import shown
from attnseg.training.console import Display
from attnseg.training.plan import Plan, load_plan
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


def folds_of(fold: str, splits: Splits) -> list[str]:
    """The folds that "all", "none" or a number stands for."""
    return [str(number) for number in range(len(splits))] if fold == "all" else [fold]


def cases_of_run(dataset: Dataset, splits: Splits, display: Display) -> Dataset:
    """The cases that the run's folds were made of: all must be there, others are left out.

    Raises:
        DataError: cases that are gone.
    """
    ours = {name for fold in splits for name in fold}
    there = {case.name for case in dataset.cases}
    if gone := sorted(ours - there):
        raise DataError(
            f"{dataset.root}: {len(gone)} case(s) of this run are no longer there "
            f"({shown(gone, most=_SHOWN)}); put them back, or start a new run with -o"
        )
    lone = {each.case for each in dataset.problems if each.stops} - {"dataset"}
    if new := sorted((there | lone) - ours):
        display.say(
            f"note: {len(new)} case(s) came after the folds of this run were made "
            f"({shown(new, most=_SHOWN)}) and are left out; a new run, with -o, takes them"
        )
    return replace(
        dataset,
        cases=tuple(case for case in dataset.cases if case.name in ours),
        problems=tuple(each for each in dataset.problems if each.case in (*ours, "dataset")),
    )


def load_prepared(config: Config, folder: Path) -> Prepared:
    """What the first process has prepared, for the others."""
    run = Run(folder, "0")
    assert config.data.root is not None
    dataset, splits = _dataset(config, config.data.root), load_splits(run.splits)
    dataset = cases_of_run(dataset, splits, Display(quiet=True))
    return Prepared(dataset, splits, load_plan(run.plan))


def _dataset(config: Config, root: Path) -> Dataset:
    data = config.data
    return find_dataset(root, layout=data.layout, images=data.images, labels=data.labels)
