"""`attnseg view`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import file_to_write
from attnseg.cli.options import Series


def view(
    scan: Annotated[Path, typer.Argument(help="A scan: a file or a DICOM folder.")],
    mask: Annotated[Path | None, typer.Argument(help="Its mask.")] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="What labels are called: a table of index and name, or a dataset.json."),
    ] = None,
    attention: Annotated[
        Path | None, typer.Option(help="Attention maps α, one a volume of a 4D NIfTI file.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="A second mask: see where the two differ.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            callback=file_to_write,
            help="The page. Default: NAME_view.html, replaced.",
        ),
    ] = None,
    series: Series = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Write the page, open no browser.")
    ] = False,
) -> None:
    """See a scan, its mask and its attention in a browser, as one page that needs no network."""
    from attnseg.view import open_in_browser
    from attnseg.view import view as write_page

    path = write_page(
        scan,
        mask,
        names=names,
        attention=attention,
        compare=compare,
        output=output,
        series=series,
        say=lambda text: typer.echo(f"note: {text}", err=True),
    )
    typer.echo(path)
    if not no_open and not open_in_browser(path):
        typer.echo("no browser found here; open the page by hand", err=True)
