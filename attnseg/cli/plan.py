"""`attnseg plan`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import file_to_write
from attnseg.cli.options import Device, parse_bytes


def plan(
    data: Annotated[Path, typer.Argument(help="Data set folder, or a .csv of cases.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", callback=file_to_write, help="Where to write the plan."),
    ] = Path("plan.json"),
    config: Annotated[
        Path | None, typer.Option(help="YAML file; default: attnseg.yaml here, if there is one.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key: model.base_channels=32.")
    ] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Plan for a GPU with this memory, as 8G.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Fit the number of epochs into this time.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Give the reason of every number.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Measure a few training steps.")
    ] = True,
    device: Device = "auto",
) -> None:
    """Look at a data set and plan a training: patch, network, batch, time, memory, disk."""
    from attnseg.config import experiment
    from attnseg.errors import UsageError
    from attnseg.training import plan_dataset

    if gpu_memory is not None and device == "cpu":
        raise UsageError(
            f"--gpu-memory {gpu_memory}: --device cpu plans for a processor; leave one of them out"
        )
    settings = experiment(config, set_ or [], {"data.root": data})
    for line in plan_dataset(
        settings,
        output,
        gpu_bytes=parse_bytes(gpu_memory, option="--gpu-memory"),
        hours=hours,
        explain=explain,
        measure=probe,
        device=device,
    ):
        typer.echo(line)
