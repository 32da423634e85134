"""`attnseg check`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import file_to_write, folder_to_write
from attnseg.cli.options import Images, Labels, Series


def check(
    data: Annotated[list[Path], typer.Argument(help="A data set; or scans, or folders of scans.")],
    layout: Annotated[
        str | None, typer.Option(help="Of a data set: msd, nnunet, paired, bids, table, pattern.")
    ] = None,
    images: Images = None,
    labels: Labels = None,
    series: Series = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            callback=folder_to_write, help="Write a corrected copy of the data set to this folder."
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Write findings and facts here.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Write a page with pictures.")
    ] = None,
) -> None:
    """Tell all that is wrong with a data set or with scans; exit code 1 if it stops training."""
    from attnseg.check import check as run_check

    run_check(
        data,
        layout=layout,
        images=images or (),
        labels=labels,
        series=series,
        fix=fix,
        json=json,
        html=html,
    )
