"""The run folder: what is in it, and when it may be started, continued or replaced."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnseg.config import Config, dump_config, load_config
from attnseg.errors import RunError
from attnseg.files import write_text
from attnseg.inference import MODEL_NAME


@dataclass(frozen=True)
class Run:
    """Paths of one run and one of its folds ("0" … "4", or "all")."""

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
    def fold_folder(self) -> Path:
        """Everything that belongs to this fold alone."""
        return self.folder / (f"fold{self.fold}" if self.fold != "all" else "fold_all")

    @property
    def plan(self) -> Path:
        """What the fold's training cases led to."""
        return self.fold_folder / "plan.json"

    @property
    def cache(self) -> Path:
        """Preprocessed cases."""
        return self.fold_folder / "cache"

    @property
    def checkpoint(self) -> Path:
        """Training state of the last finished epoch."""
        return self.fold_folder / "last.ckpt"

    @property
    def model(self) -> Path:
        """The finished model; there only when the schedule was completed."""
        return self.fold_folder / MODEL_NAME

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch."""
        return self.fold_folder / "metrics.jsonl"

    @property
    def validation(self) -> Path:
        """Scores of the finished model on the fold's validation cases."""
        return self.fold_folder / "validation.json"

    @property
    def exists(self) -> bool:
        """Whether this fold was started before."""
        return self.plan.exists() or self.checkpoint.exists() or self.model.exists()

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`."""
        self.fold_folder.mkdir(parents=True, exist_ok=True)
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def start(run: Run, config: Config, *, overwrite: bool) -> None:
    """Make the folder of a new run, or of another fold of a run with the same configuration.

    Raises:
        RunError: the fold exists, or the folder belongs to another experiment.
    """
    if run.exists and not overwrite:
        raise RunError(
            f"{run.fold_folder}: this run exists; continue it with --resume, replace it with "
            "--overwrite, or give another folder with -o"
        )
    if run.fold_folder.exists() and overwrite:
        shutil.rmtree(run.fold_folder)
    if run.config.exists() and load_config(run.config) != config:
        others = [path.name for path in run.folder.glob("fold*") if path != run.fold_folder]
        if others:
            raise RunError(
                f"{run.folder}: {', '.join(sorted(others))} was trained with another "
                "configuration; give another folder with -o"
            )
    write_text(run.config, dump_config(config))


def resumed_config(run: Run, *, epochs: int | None, max_minutes: float | None) -> Config:
    """The configuration of a run that is continued; only its length may change.

    Raises:
        RunError: nothing to resume, or the run is finished.
    """
    if not run.config.exists() or not run.plan.exists():
        raise RunError(f"{run.fold_folder}: no run to resume; start it without --resume")
    config = load_config(run.config)
    length: dict[str, Any] = {}
    if epochs is not None:
        length = {"epochs": epochs, "max_minutes": None}
    if max_minutes is not None:
        length["max_minutes"] = max_minutes
    if run.model.exists() and not length:
        raise RunError(
            f"{run.fold_folder}: this run is finished ({MODEL_NAME} is there); lengthen it with "
            "--epochs or --max-minutes"
        )
    if length:
        training = config.training.model_copy(update=length)
        config = config.model_copy(update={"training": training})
        write_text(run.config, dump_config(config))
    return config
