"""`attnseg compare`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import file_to_write


def compare(
    a: Annotated[Path, typer.Argument(help="A mask, or a folder of masks, of one method.")],
    b: Annotated[Path, typer.Argument(help="Masks of the same names, of the other method.")],
    ref: Annotated[Path, typer.Option(help="The mask or folder that both are compared with.")],
    metric: Annotated[
        str,
        typer.Option(
            help="By which number of each label: dice, iou, nsd, hd95_mm or assd_mm. What is "
            "missed has no distance: no verdict by one while the two miss differently."
        ),
    ] = "dice",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the scans, for the pictures of --html.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Write all numbers here.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(callback=file_to_write, help="Write a line per case and label here."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Write a page with pictures.")
    ] = None,
) -> None:
    """Compare two methods' masks on the same cases; exit code 3 if some have no pair."""
    from attnseg.compare import compare as run_comparison

    found = run_comparison(a, b, ref, metric=metric, images=images, json=json, csv=csv, html=html)
    if not found.complete:
        raise typer.Exit(3)
