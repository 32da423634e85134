"""`attnseg model show|verify`."""

from pathlib import Path
from typing import Annotated

import typer

model_app = typer.Typer(help="Look into model files.", no_args_is_help=True, rich_markup_mode=None)
_File = Annotated[Path, typer.Argument(help="A .safetensors model file.")]


@model_app.command()
def show(file: _File) -> None:
    """Print what a model file says about its model, as JSON."""
    import json

    from attnseg.models import describe_model

    typer.echo(json.dumps(describe_model(file), indent=2, ensure_ascii=False))


@model_app.command()
def verify(file: _File) -> None:
    """Check a model file: schema, weights against the architecture, finite values, SHA-256."""
    from attnseg.models import verify_model

    for line in verify_model(file):
        typer.echo(f"ok  {line}")
