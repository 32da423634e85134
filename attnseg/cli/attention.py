"""`attnseg attention`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.options import Device, Output, parse_bytes


def attention(
    scans: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    output: Output = Path("attention"),
    model: Annotated[
        list[Path] | None,
        typer.Option("-m", "--model", help="Model file or run folder. Default: newest in runs/."),
    ] = None,
    ref: Annotated[
        Path | None,
        typer.Option(help="Reference mask or folder; else Dice is taken with the prediction."),
    ] = None,
    replaced: Annotated[
        int,
        typer.Option(min=0, help="On how many scans gates are replaced; 20 predictions a gate."),
    ] = 3,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.95, help="Share of a window its neighbour repeats.")
    ] = 0.5,
    device: Device = "auto",
    max_ram: Annotated[str | None, typer.Option(help="Memory bound, as 4G.")] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Of random masks and shuffles.",
        ),
    ] = 0,
) -> None:
    """Show where each gate is open, and judge it: α as images, figures, verdicts, a page."""
    from attnseg.attention import attend
    from attnseg.inference.predictor import Settings

    settings = Settings(
        overlap=overlap, device=device, max_ram=parse_bytes(max_ram, option="--max-ram")
    )
    _, failed = attend(
        scans,
        output,
        model=model or None,
        reference=ref,
        replaced_scans=replaced,
        seed=seed,
        **settings,
    )
    if failed:
        raise typer.Exit(3)
