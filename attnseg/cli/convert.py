"""`attnseg convert`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.options import Images, Labels, Overwrite, Series


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A data set, a table of cases, a scan, a folder of scans, or a DICOM-SEG or "
            "RTSTRUCT file."
        ),
    ],
    target: Annotated[Path, typer.Argument(help="Folder to write to, or a file for one scan.")],
    layout: Annotated[
        str | None, typer.Option(help="Of a data set: paired (default), msd, nnunet or bids.")
    ] = None,
    format: Annotated[str, typer.Option(help="nifti, nrrd or mha.")] = "nifti",
    images: Images = None,
    labels: Labels = None,
    series: Series = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Of DICOM-SEG and RTSTRUCT: the scan whose grid the masks take."),
    ] = None,
    straighten: Annotated[
        bool, typer.Option("--straighten", help="Resample grids whose axes are askew.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set in another layout, or scans in another format; voxels stay in place."""
    from attnseg.convert import convert as run_conversion
    from attnseg.convert import notes_once

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
