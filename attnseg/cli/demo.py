"""`attnseg demo`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import folder_to_write
from attnseg.cli.options import Overwrite


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", callback=folder_to_write, help="Folder for the demo.")
    ] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 3.0,
    overwrite: Overwrite = False,
) -> None:
    """Make phantoms, train, predict, evaluate and draw: everything in minutes, offline."""
    from attnseg.demo import run_demo

    run_demo(output, minutes=minutes, overwrite=overwrite)
