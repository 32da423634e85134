"""`attnseg train`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.options import Device, Overwrite


def train(
    data: Annotated[Path | None, typer.Argument(help="Data set folder.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder.")] = Path("runs/run"),
    config: Annotated[
        Path | None, typer.Option(help="YAML file; default: attnseg.yaml here, if there is one.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: training.learning_rate=1e-3.")
    ] = None,
    fold: Annotated[
        str, typer.Option(help="Fold held out for validation; `all` trains on every case.")
    ] = "0",
    epochs: Annotated[int | None, typer.Option(help="Length in epochs.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Length in minutes instead.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Repeatable.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that is there.")
    ] = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Train an Attention U-Net on a folder of scans and masks."""
    from attnseg.config import experiment
    from attnseg.training import Run, resumed_config
    from attnseg.training import train as run_training

    if resume:
        settings = resumed_config(Run(output, fold), epochs=epochs, max_minutes=max_minutes)
    else:
        flags = {
            "data.root": data,
            "training.epochs": epochs,
            "training.max_minutes": max_minutes,
            "training.seed": seed,
            "training.deterministic": deterministic or None,
        }
        settings = experiment(config, set_ or [], flags)
    run_training(settings, output, fold=fold, resume=resume, overwrite=overwrite, device=device)
