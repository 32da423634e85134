"""The run folder: what is in it, and when it may be started, continued or replaced."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnseg import json_lines
from attnseg.config import Config, dump_config, load_config
from attnseg.errors import RunError
from attnseg.files import write_text
from attnseg.inference import MODEL_NAME
from attnseg.locks import FolderLock
from attnseg.whereabouts import all_told, from_here, recalled, recorded


@dataclass(frozen=True)
class Run:
    """Paths of one run and one of its folds ("0" … "4", or "none": no case held out)."""

    folder: Path
    fold: str

    @property
    def config(self) -> Path:
        """The resolved configuration, shared by the folds."""
        return self.folder / "config.yaml"

    @property
    def splits(self) -> Path:
        """Validation cases of each fold."""
        return self.folder / "splits.json"

    @property
    def plan(self) -> Path:
        """What the data led to, shared by the folds, so that their models make an ensemble."""
        return self.folder / "plan.json"

    @property
    def checked(self) -> Path:
        """What was found in the cases' files, so that only those that change are opened again."""
        return self.folder / "checked.json"

    @property
    def cross_validation(self) -> Path:
        """Scores of all folds together, each case by the model that has not seen it."""
        return self.folder / "crossvalidation.json"

    @property
    def cache(self) -> Path:
        """Preprocessed cases, where the configuration names no other folder."""
        return self.folder / "cache"

    @property
    def fold_folder(self) -> Path:
        """Everything that belongs to this fold alone."""
        return self.folder / (f"fold{self.fold}" if self.fold != "none" else "fold_none")

    @property
    def checkpoint(self) -> Path:
        """Training state of the last finished epoch, or of ten minutes ago."""
        return self.fold_folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """The averaged weights with the highest validation Dice so far."""
        return self.fold_folder / "best.safetensors"

    @property
    def model(self) -> Path:
        """The finished model; there only when the schedule was completed."""
        return self.fold_folder / MODEL_NAME

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch."""
        return self.fold_folder / "metrics.jsonl"

    @property
    def cases(self) -> Path:
        """What the training cases were when the fold was begun, by content."""
        return self.fold_folder / "cases.json"

    @property
    def predictions(self) -> Path:
        """Masks of the fold's held-out cases."""
        return self.fold_folder / "validation"

    @property
    def validation(self) -> Path:
        """Their scores."""
        return self.fold_folder / "validation.json"

    @property
    def summary(self) -> Path:
        """What was planned, trained and reached, as text."""
        return self.fold_folder / "summary.txt"

    @property
    def all_folds(self) -> list[str]:
        """Folders of the folds that were started."""
        return sorted(path.name for path in self.folder.glob("fold*"))

    @property
    def other_folds(self) -> list[str]:
        """Those beside this one."""
        return [name for name in self.all_folds if name != self.fold_folder.name]

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`, paths in its messages shortened."""
        json_lines.append_line(self.metrics, all_told(line, self.fold_folder))

    def forget_metrics_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again, and a line that was cut short."""
        if not self.metrics.exists():
            return
        lines = [
            json.dumps(line) + "\n"
            for line in json_lines.read_lines(self.metrics)
            if isinstance(line.get("step"), int) and line["step"] <= step
        ]
        write_text(self.metrics, "".join(lines))


def hold(runs: Sequence[Run], lock: FolderLock) -> None:
    """Claim folds of one run folder until the end of the lock's block.

    Raises:
        RunError: another process trains one of them.
    """
    for run in runs:
        lock.hold(
            run.fold_folder.name,
            what=f"{run.fold_folder}: is being trained",
            remedy="wait for it or end it, or give another folder with -o",
        )


def check_startable(run: Run, config: Config, *, overwrite: bool) -> None:
    """Whether a new run, or another fold of one with the same configuration, may begin here.

    Raises:
        RunError: the fold exists, or the folder belongs to another experiment.
    """
    if run.fold_folder.exists() and not overwrite:
        raise RunError(
            f"{run.fold_folder}: this run exists; continue it with --resume, replace it with "
            "--overwrite, or give another folder with -o"
        )
    if run.config.exists() and run.other_folds and not _same(run_config(run), config, run):
        raise RunError(
            f"{run.folder}: {', '.join(run.other_folds)} was trained with another "
            "configuration; give another folder with -o"
        )


def start(run: Run) -> None:
    """Make the folder of a new fold, in the place of a former one."""
    if run.fold_folder.exists():
        shutil.rmtree(run.fold_folder)
    run.fold_folder.mkdir(parents=True)


def save_config(run: Run, config: Config) -> None:
    """Write the resolved configuration, its paths relative to the run folder."""
    kept = _with_paths(config, lambda path: Path(recorded(path, run.folder)))
    write_text(run.config, dump_config(kept))


def run_config(run: Run) -> Config:
    """The configuration of a run, its paths as they are found from the current folder.

    A run that was moved together with its data finds them. Older versions wrote paths as they were
    typed, relative to the folder that they were run in: where nothing lies at a path as seen from
    the run, it stays as it is.

    Raises:
        ConfigError: as of `load_config`.
    """

    def found(path: Path) -> Path:
        place = recalled(str(path), run.folder)
        older = not path.is_absolute() and not place.exists() and path.exists()
        return path if older else from_here(place)

    return _with_paths(load_config(run.config), found)


def _same(one: Config, other: Config, run: Run) -> bool:
    def placed(path: Path) -> Path:
        return Path(recorded(path, run.folder))

    return _with_paths(one, placed) == _with_paths(other, placed)


def _with_paths(config: Config, change: Callable[[Path], Path]) -> Config:
    paths = {"root": config.data.root, "cache": config.data.cache}
    changed = {key: change(path) for key, path in paths.items() if path is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=changed)})


def resumed_config(
    folder: Path, *, epochs: int | None, max_minutes: float | None, root: Path | None = None
) -> Config | None:
    """The configuration of a run that is continued; only its length may change.

    Args:
        folder: of the run.
        epochs, max_minutes: its new length.
        root: where its data set is now, should nothing lie where it was.

    Returns:
        None where no run was started yet.
    """
    run = Run(folder, "0")
    if not run.config.exists() or not run.plan.exists():
        return None
    config = run_config(run)
    length: dict[str, Any] = {}
    if epochs is not None:
        length = {"epochs": epochs, "max_minutes": None}
    if max_minutes is not None:
        length["max_minutes"] = max_minutes
    training, data = config.training.model_copy(update=length), config.data
    if root is not None and (data.root is None or not data.root.exists()):
        data = data.model_copy(update={"root": root})  # `trained_on` refuses another data set
    return config.model_copy(update={"training": training, "data": data})
