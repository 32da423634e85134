"""`attnseg model show|verify`."""

import re
from pathlib import Path
from typing import Annotated

import typer

model_app = typer.Typer(help="Look into model files.", no_args_is_help=True, rich_markup_mode=None)
_OBEYED = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_File = Annotated[
    Path, typer.Argument(help="A .safetensors model file, or a run folder: all its folds.")
]


@model_app.command()
def show(file: _File) -> None:
    """Print what a model file says about its model, as JSON; of several a list."""
    import json

    from attnseg.inference import find_models
    from attnseg.models import describe_model

    told = [describe_model(path) for path in find_models(file)]
    text = json.dumps(told if file.is_dir() else told[0], indent=2, ensure_ascii=False)
    # Signs that a terminal obeys, or that turn the direction of the text: escaped, as JSON may be.
    typer.echo(_OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


@model_app.command()
def verify(file: _File) -> None:
    """Check a model file: schema, weights against the architecture, finite values, SHA-256."""
    from attnseg.inference import find_models
    from attnseg.models import verify_model

    for path in find_models(file):
        if file.is_dir():
            typer.echo(path)
        for line in verify_model(path):
            typer.echo(f"ok  {line}")
