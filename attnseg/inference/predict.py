"""`attnseg predict`: scans in, masks out, one line a scan."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from attnseg.inference.cohort import MANIFEST, Outcome, predict_cohort
from attnseg.inference.predictor import Predictor
from attnseg.inference.sources import MODEL_NAME, find_models, find_scans
from attnseg.memory import keep_freed_memory
from attnseg.models import model_id


def predict(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    model: Path | Sequence[Path] | None = None,
    overlap: float = 0.5,
    mirror: bool = False,
    device: str = "auto",
    overwrite: bool = False,
) -> list[Outcome]:
    """Predict files, folders and globs, print progress, and return what became of each scan.

    Args:
        inputs: as typed by the user.
        output: folder for masks and manifest.
        model: model files or run folders, which are averaged, the folds of a run as well; None
            takes the newest finished run under `runs/`.
        overlap: share of a window that its neighbour covers again.
        mirror: average over mirror images of each window.
        device: "auto", "cpu", "cuda" or "cuda:N".
        overwrite: predict again what is done already.

    Raises:
        AttnsegError: nothing to predict, or no usable model; a single bad scan does not raise.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    keep_freed_memory()
    models = find_models(model)
    predictor = Predictor.load(models, device=device, overlap=overlap, mirror=mirror)
    scans = find_scans(inputs, num_channels=predictor.spec.architecture.in_channels)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    turned = " · mirrored" if predictor.mirror_axes else ""
    console.print(
        f"{_named(models)} · {predictor.device}{turned} · {len(scans)} scan(s) → {output}/"
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    live = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not live) as progress:
        task = progress.add_task("predicting", total=len(scans))

        def report(outcome: Outcome) -> None:
            progress.advance(task)
            progress.console.print(_line(outcome), markup=False)

        outcomes = predict_cohort(
            scans,
            predictor,
            output,
            model_id=models_id(models),
            overwrite=overwrite,
            on_outcome=report,
        )
    counts = {
        state: sum(o.state == state for o in outcomes) for state in ("done", "skipped", "failed")
    }
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(f"{listed}; {output / MANIFEST} tells the rest")
    return outcomes


def models_id(models: Sequence[Path]) -> str:
    """Which models made a mask: the id of one, the SHA-256 of the sorted ids of several."""
    ids = sorted(model_id(path) for path in models)
    return ids[0] if len(ids) == 1 else hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _named(models: Sequence[Path]) -> str:
    if len(models) == 1:
        return f"model {models[0]}"
    runs = {path.parent.parent if path.name == MODEL_NAME else path for path in models}
    where = f"of {runs.pop()}" if len(runs) == 1 else f"({', '.join(map(str, models))})"
    return f"{len(models)} models {where} averaged"


def _line(outcome: Outcome) -> str:
    if outcome.state == "failed":
        return f"✗ {outcome.name}: {outcome.reason}"
    if outcome.state == "skipped":
        return f"– {outcome.name}: done before; --overwrite predicts it again"
    seconds = outcome.seconds_reading + outcome.seconds_predicting + outcome.seconds_writing
    return f"✓ {outcome.name} {seconds:.2f} s"
