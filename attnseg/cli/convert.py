"""`attnseg convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnseg.cli.options import Images, Labels, Overwrite, Series

if TYPE_CHECKING:
    from attnseg.datasets import Report

_SUFFIXES = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha"}
_WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha")


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
    from attnseg.datasets import convert_dataset, convert_scans, find_dataset, find_layout
    from attnseg.datasets.arrange import WRITTEN_LAYOUTS
    from attnseg.errors import UsageError
    from attnseg.images import is_dicom

    if format not in _SUFFIXES:
        raise UsageError(f"--format {format}: unknown; use {', '.join(_SUFFIXES)}")
    if layout is not None and layout not in WRITTEN_LAYOUTS:
        raise UsageError(f"--layout {layout}: unknown; use {', '.join(WRITTEN_LAYOUTS)}")
    if (
        source.is_file()
        and is_dicom(source)
        and convert_objects(source, target, like=like, series=series, overwrite=overwrite)
    ):
        return
    one_file = target.name.endswith(_WRITTEN)
    chosen = layout or images or labels
    if chosen or find_layout(source) is not None:
        if one_file:
            raise UsageError(f"{target}: a data set is written to a folder; give one")
        dataset = find_dataset(source, images=images or (), labels=labels)
        typer.echo(dataset.describe())
        _tell(
            convert_dataset(
                dataset,
                target,
                layout=layout or "paired",
                suffix=_SUFFIXES[format],
                straighten=straighten,
                overwrite=overwrite,
            ),
            target,
        )
        return
    from attnseg.inference import find_scans

    scans = find_scans([source], num_channels=0, series=series)
    if one_file and len(scans) > 1:
        raise UsageError(f"{target}: {len(scans)} scans do not fit one file; give a folder")
    targets = {
        target if one_file else target / f"{scan.name}{_SUFFIXES[format]}": scan.paths
        for scan in scans
    }
    _tell(convert_scans(targets, straighten=straighten, overwrite=overwrite), target)


def convert_objects(
    source: Path, target: Path, *, like: Path | None, series: str | None, overwrite: bool
) -> bool:
    """Masks of a DICOM object as label maps; False where the file is none."""
    from attnseg.datasets.drawn import convert_drawn
    from attnseg.images.dicom import drawn_kind

    if drawn_kind(source) is None:
        return False
    paths, notes = convert_drawn(source, target, like=like, series=series, overwrite=overwrite)
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo(f"written: {', '.join(map(str, paths))}")
    return True


def _tell(report: "Report", target: Path) -> None:
    """What became of the cases; exit code 3 where some failed."""
    for note in report.notes:
        typer.echo(f"note: {note}")
    for name, reason in report.failed.items():
        typer.echo(f"failed: {name}: {reason}", err=True)
    failed = f", {len(report.failed)} failed" if report.failed else ""
    typer.echo(f"{len(report.done)} written to {target}{failed}")
    if report.failed:
        raise typer.Exit(3)
