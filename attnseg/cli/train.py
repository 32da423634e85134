"""`attnseg train`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import folder_to_write
from attnseg.cli.options import Device, Overwrite


def train(
    data: Annotated[
        Path | None, typer.Argument(help="Data set folder, or a .csv of cases.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", callback=folder_to_write, help="Run folder.")
    ] = Path("runs/run"),
    config: Annotated[
        Path | None, typer.Option(help="YAML file; default: attnseg.yaml here, if there is one.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: training.learning_rate=1e-3.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="plan.json of `attnseg plan`, as it is or edited; settles network and batch."
        ),
    ] = None,
    fold: Annotated[
        str,
        typer.Option(help="Fold held out; `all`: each in turn; `none`: train on every case."),
    ] = "0",
    epochs: Annotated[int | None, typer.Option(help="Length in epochs.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Length in minutes instead.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Model file to start from; channels and labels may differ.")
    ] = None,
    gates: Annotated[
        str | None, typer.Option(help="none, grid or skip; all else stays equal.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Bit for bit repeatable; needs --epochs.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes that prepare patches; 0 always works.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that is there, or start it.")
    ] = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Train an Attention U-Net on a folder of scans and masks."""
    from attnseg.config import experiment
    from attnseg.errors import UsageError
    from attnseg.training import (
        load_plan,
        note_of_settled,
        refuse_contradictions,
        refuse_other_settings,
        refuse_settled,
        resumed_config,
    )
    from attnseg.training import train as run_training

    if init is not None and gates is not None:
        raise UsageError("--gates and --init exclude each other: the network is the model's")
    if epochs is not None and max_minutes is not None:
        raise UsageError("--epochs and --max-minutes exclude each other: give one length")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other: continue it, or replace it")
    if plan is not None:
        refuse_settled(set_ or [], gates, plan)
    flags = {
        "data.root": data,
        "model.gate": gates,
        "training.seed": seed,
        "training.deterministic": deterministic or None,
        "training.workers": workers,
    }
    settings = (
        resumed_config(output, epochs=epochs, max_minutes=max_minutes, root=data)
        if resume
        else None
    )
    if settings is not None:
        refuse_other_settings(
            settings,
            output,
            config=config,
            overrides=set_ or [],
            flags=flags,
            lengthened=epochs is not None or max_minutes is not None,
        )
        if workers is not None:
            changed = settings.training.model_copy(update={"workers": workers})
            settings = settings.model_copy(update={"training": changed})
    else:
        if plan is not None and epochs is None and max_minutes is None:
            epochs = load_plan(plan).epochs
        lengths = {"training.epochs": epochs, "training.max_minutes": max_minutes}
        refuse_contradictions(set_ or [], flags | lengths)
        settings = experiment(config, set_ or [], flags | lengths)
        if plan is not None and (note := note_of_settled(settings, plan)):
            typer.echo(note, err=True)
    run_training(
        settings,
        output,
        fold=fold,
        resume=resume,
        overwrite=overwrite,
        device=device,
        init=init,
        plan=plan,
    )
