"""`attnseg evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.arguments import file_to_write


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="A mask, or a folder of masks.")],
    reference: Annotated[Path, typer.Argument(help="The mask or folder to compare with.")],
    json: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Write the scores to this file.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(callback=file_to_write, help="Write a row per case and label to this file."),
    ] = None,
    tolerance_mm: Annotated[
        float, typer.Option(help="Surfaces this far apart agree (NSD); of pictures, in pixels.")
    ] = 1.0,
) -> None:
    """Score masks against reference masks: overlap, volume, surfaces, lesions, calibration."""
    from rich.console import Console

    from attnseg.evaluation import evaluate as run_evaluation
    from attnseg.evaluation import print_table

    evaluation = run_evaluation(prediction, reference, full=True, tolerance_mm=tolerance_mm)
    if json is not None:
        evaluation.save_json(json)
    if csv is not None:
        evaluation.save_csv(csv)
    print_table(evaluation, Console(highlight=False, emoji=False))
    if evaluation.failed:
        raise typer.Exit(3)
