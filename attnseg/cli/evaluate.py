"""`attnseg evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="A mask, or a folder of masks.")],
    reference: Annotated[Path, typer.Argument(help="The mask or folder to compare with.")],
    json: Annotated[Path | None, typer.Option(help="Write the scores to this file.")] = None,
) -> None:
    """Score masks against reference masks: Dice and volume per label and case."""
    from rich.console import Console

    from attnseg.evaluation import evaluate as run_evaluation
    from attnseg.evaluation import print_table

    evaluation = run_evaluation(prediction, reference)
    print_table(evaluation, Console(highlight=False))
    if json is not None:
        evaluation.save_json(json)
    if evaluation.failed:
        raise typer.Exit(3)
