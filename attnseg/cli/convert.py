"""`attnseg convert`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.options import Images, Labels, Overwrite, Series
from attnseg.disk import remedied
from attnseg.errors import AGAIN


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A data set, a table of cases, a scan, a folder of scans, a DICOM-SEG or RTSTRUCT "
            "file, a mask with a file for each label, or with --like a mask."
        ),
    ],
    target: Annotated[Path, typer.Argument(help="Folder to write to, or a file for one scan.")],
    layout: Annotated[
        str | None, typer.Option(help="Of a data set: paired (default), msd, nnunet or bids.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="Of files in a folder: nifti (default), nrrd or mha; not of pictures."),
    ] = None,
    images: Images = None,
    labels: Labels = None,
    series: Series = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Of a mask, DICOM-SEG or RTSTRUCT: the scan on whose grid it is put."),
    ] = None,
    straighten: Annotated[
        bool, typer.Option("--straighten", help="Resample grids whose axes are askew.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set in another layout, scans in another format, a mask on its image's grid."""
    from attnseg.convert import convert as run_conversion
    from attnseg.convert import notes_once

    # Files that were written are in the way of the same command, unless it may replace them.
    further = AGAIN if overwrite else f"{AGAIN} and --overwrite"
    with remedied(further):
        report = run_conversion(
            source,
            target,
            layout=layout,
            format=format,
            images=images or (),
            labels=labels,
            series=series,
            like=like,
            straighten=straighten,
            overwrite=overwrite,
            say=typer.echo,
        )
    for note in notes_once(report.notes):
        typer.echo(f"note: {note}")
    for name, reason in report.failed.items():
        typer.echo(f"failed: {name}: {reason}", err=True)
    failed = f", {len(report.failed)} failed" if report.failed else ""
    typer.echo(f"{len(report.done)} written to {target}{failed}")
    if report.failed:
        raise typer.Exit(3)
