"""Option types shared by the commands."""

import re
from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import folder_to_write
from attnseg.errors import UsageError

Output = Annotated[
    Path,
    typer.Option("-o", "--output", callback=folder_to_write, help="Folder to write to."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]

Series = Annotated[
    str | None,
    typer.Option(help="Of DICOM folders: UID, number or description. Default: the largest."),
]
Images = Annotated[
    list[str] | None,
    typer.Option(help="As data.images: '{case}_t1.nii.gz', T1w, or a column; once a channel."),
]
Labels = Annotated[
    str | None, typer.Option(help="As data.labels: '{case}_seg.nii.gz', or a derivative.")
]


def parse_bytes(text: str | None, *, option: str) -> int | None:
    """`8G`, `500M` or a plain number → bytes (1G = 2³⁰).

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(
        r"([0-9]{1,15}(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE
    )
    size = float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ") if match else 0
    if size < 1:
        raise UsageError(f"{option} {text}: must be a size as 8G or 500M (K, M, G or T)")
    return int(size)
