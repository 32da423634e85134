"""`attnseg report`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import file_to_write


def report(
    folder: Annotated[Path, typer.Argument(help="A run, or a folder of predicted masks.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", callback=file_to_write, help="Default: report.html in the folder."
        ),
    ] = None,
    ref: Annotated[
        Path | None, typer.Option(help="Of a prediction: masks to score it against.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the scans; of a run default: its data set.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            callback=file_to_write, help="Write one slice of every case to this .png or .svg."
        ),
    ] = None,
    curves: Annotated[
        Path | None,
        typer.Option(
            callback=file_to_write, help="Write a run's learning curves to this .png or .svg."
        ),
    ] = None,
) -> None:
    """Tell a run or a prediction on one page: scores, curves, plan, pictures of the worst cases."""
    from attnseg.report import report as write_report

    path = write_report(
        folder, output=output, reference=ref, images=images, sheet=sheet, curves=curves
    )
    typer.echo(path)
