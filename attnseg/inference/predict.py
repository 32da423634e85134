"""`attnseg predict`: scans in, masks out, one line a scan."""

from collections.abc import Sequence
from pathlib import Path

from attnseg.inference.cohort import MANIFEST, Outcome, predict_cohort
from attnseg.inference.predictor import Predictor
from attnseg.inference.sources import find_model, find_scans
from attnseg.memory import keep_freed_memory
from attnseg.models import model_id


def predict(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    model: Path | None = None,
    overlap: float = 0.5,
    device: str = "auto",
    overwrite: bool = False,
) -> list[Outcome]:
    """Predict files, folders and globs, print progress, and return what became of each scan.

    Args:
        inputs: as typed by the user.
        output: folder for masks and manifest.
        model: model file or run folder; None takes the newest finished run under `runs/`.
        overlap: share of a window that its neighbour covers again.
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
    path = find_model(model)
    predictor = Predictor.load(path, device=device, overlap=overlap)
    scans = find_scans(inputs, num_channels=predictor.spec.architecture.in_channels)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"model {path} · {predictor.device} · {len(scans)} scan(s) → {output}/")
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
            model_id=model_id(path),
            overwrite=overwrite,
            on_outcome=report,
        )
    counts = {
        state: sum(o.state == state for o in outcomes) for state in ("done", "skipped", "failed")
    }
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(f"{listed}; {output / MANIFEST} tells the rest")
    return outcomes


def _line(outcome: Outcome) -> str:
    if outcome.state == "failed":
        return f"✗ {outcome.name}: {outcome.reason}"
    if outcome.state == "skipped":
        return f"– {outcome.name}: done before; --overwrite predicts it again"
    seconds = outcome.seconds_reading + outcome.seconds_predicting + outcome.seconds_writing
    return f"✓ {outcome.name} {seconds:.2f} s"
