"""`attnseg predict`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.options import Device, Output, Overwrite


def predict(
    scans: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    output: Output = Path("predictions"),
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "-m",
            "--model",
            help="Model file or run folder; several are averaged, as the folds of a run. "
            "Default: newest run in runs/.",
        ),
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.95, help="Share of a window its neighbour repeats.")
    ] = 0.5,
    tta: Annotated[
        bool, typer.Option("--tta/--no-tta", help="Average over mirror images; slower.")
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Segment scans: writes one mask a scan, in the scan's own geometry."""
    from attnseg.inference import predict as run_prediction

    outcomes = run_prediction(
        scans,
        output,
        model=model or None,
        overlap=overlap,
        mirror=tta,
        device=device,
        overwrite=overwrite,
    )
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(3)
