"""`attnseg compare`: two methods' masks against the same references, told, written and drawn."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from attnseg.errors import UsageError
from attnseg.evaluation import Evaluation, evaluate
from attnseg.evaluation.compare import compare as compare_evaluations
from attnseg.evaluation.compare_report import save_csv, save_json
from attnseg.evaluation.compare_table import print_comparison
from attnseg.evaluation.comparison import Comparison, find_metric
from attnseg.images import strip_suffix


def compare(
    a: Path,
    b: Path,
    reference: Path,
    *,
    metric: str = "dice",
    images: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    html: Path | None = None,
) -> Comparison:
    """Score both methods' masks and compare the scores, case by case.

    Args:
        a, b: folders of masks, or a mask each.
        reference: folder of the references, or the one reference.
        metric: a field of `Score`.
        images: folder of the scans, for the pictures of the page.
        json: file for all numbers.
        csv: file for a line per case and label.
        html: file for a page with pictures.

    Raises:
        DataError: masks that do not pair with references, no case that both have.
        UsageError: an unknown metric; scans without a page.
    """
    find_metric(metric)
    if images is not None and html is None:
        raise UsageError("--images is for the pictures of a page; add --html FILE")
    evaluations = [_evaluate(masks, reference) for masks in (a, b)]
    found = compare_evaluations(*evaluations, metric=metric)
    print_comparison(found, Console(highlight=False))
    if json is not None:
        save_json(found, json)
    if csv is not None:
        save_csv(found, csv)
    return found


def _evaluate(masks: Path, reference: Path) -> Evaluation:
    """Single masks go by the name of their reference: both methods' files may be called anything."""
    evaluation = evaluate(masks, reference)
    if not reference.is_file():
        return evaluation
    name = strip_suffix(reference.name)
    return replace(evaluation, cases=tuple(replace(case, name=name) for case in evaluation.cases))
