"""Option types shared by the commands."""

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")]
Model = Annotated[
    Path | None,
    typer.Option("-m", "--model", help="Model file or run folder; default: newest run in runs/."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
