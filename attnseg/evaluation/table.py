"""An evaluation as tables in the terminal."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attnseg.evaluation.results import CaseResult, Evaluation, Interval, LabelResult
from attnseg.images import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MAX_CASES = 20
_WORST = 5
_MAX_COLUMNS = 6  # more labels than this do not fit a terminal side by side
_WIDTH = 100


def print_table(evaluation: Evaluation, console: "Console") -> None:
    """Print Dice per case (the worst five where there are more than 20) and per label."""
    cases = sorted(evaluation.cases, key=_badness)
    total = len(cases)
    if total > _MAX_CASES:
        console.print(_case_table(evaluation, cases[:_WORST], f"Worst {_WORST} of {total} cases"))
    else:
        console.print(_case_table(evaluation, list(evaluation.cases), "Dice per case"))
    console.print(_label_table(evaluation))
    for note in _notes(evaluation):
        console.print(note, markup=False, highlight=False)
    for told in evaluation.not_compared:
        console.print(told, markup=False, highlight=False)
    if evaluation.not_predicted:
        console.print(f"not predicted: {_some(evaluation.not_predicted)}", markup=False)
    for name, reason in evaluation.failed.items():
        console.print(f"failed: {name}: {reason}", markup=False, highlight=False)


def table_lines(evaluation: Evaluation) -> list[str]:
    """What `print_table` prints, as plain lines of at most 100 characters."""
    from rich.console import Console

    stream = io.StringIO()
    print_table(evaluation, Console(file=stream, width=_WIDTH, color_system=None, emoji=False))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def _case_table(evaluation: Evaluation, cases: list[CaseResult], title: str) -> "Table":
    labels = evaluation.labels
    table = _table(title, "case")
    table.add_column("mean", justify="right")
    if len(labels) <= _MAX_COLUMNS:
        for label in labels:
            table.add_column(_safe(label.name), justify="right")
    else:
        table.add_column("lowest label")
    for case in cases:
        if len(labels) <= _MAX_COLUMNS:
            cells = [_number(case.dice(label.value)) for label in labels]
        else:
            cells = [_lowest(evaluation, case)]
        table.add_row(_safe(case.name), _number(case.mean_dice), *cells)
    return table


def _label_table(evaluation: Evaluation) -> "Table":
    full = evaluation.tolerance_mm is not None
    heading = "Dice and surface distances" if full else "Dice"
    table = _table(f"{heading} per label, {len(evaluation.cases)} case(s)", "label")
    # Eighty columns: what is rarely other than zero is shown only then.
    empty = any(label.both_empty for label in evaluation.labels)
    spread = [] if full else ["sd", "median", "min"]
    surface = ["NSD", "HD95", "ASSD"] * full
    for column in [
        "Dice" if full else "mean",
        "95 % interval",
        *spread,
        *surface,
        "cases found" if full else "cases",
        *["empty"] * empty,
    ]:
        table.add_column(column, justify="right", no_wrap=True)
    for label in evaluation.labels:
        table.add_row(
            _safe(label.name),
            _number(label.mean),
            _interval(label.ci95),
            *(_number(getattr(label, name)) for name in spread),
            *_surface_cells({name: each.mean for name, each in label.figures.items()}),
            _of_label(label) if full else str(label.cases),
            *[str(label.both_empty)] * empty,
        )
    table.add_section()
    table.add_row(
        "mean over labels",
        _number(evaluation.mean_dice),
        _interval(evaluation.ci95),
        *[_number(evaluation.sd)] * (not full),
        *_surface_cells(evaluation.mean_figures),
        *_of_labels(evaluation),
        style="bold",
    )
    return table


def _surface_cells(means: Mapping[str, float]) -> list[str]:
    if not means:
        return []
    return [_number(means["nsd"]), _distance(means["hd95_mm"]), _distance(means["assd_mm"])]


def _of_label(label: LabelResult) -> str:
    """Over how many cases distances are taken, and the other figures, as "15 of 40"."""
    distance = label.figures["hd95_mm"]
    return f"{distance.cases} of {distance.of}"


def _of_labels(evaluation: Evaluation) -> list[str]:
    """The sums of `_of_label`; nothing where there are no distances."""
    over = evaluation.mean_figures_over.get("hd95_mm")
    return [f"{over['cases']} of {over['of']}"] if over else []


def _notes(evaluation: Evaluation) -> list[str]:
    """What the label table's figures mean and leave out, masks put on one grid, calibration."""
    notes = []
    if evaluation.tolerance_mm is not None and evaluation.labels:
        unit = evaluation.distance_unit
        notes.append(f"NSD at {evaluation.tolerance_mm:g} {unit}; HD95 and ASSD in {unit}")
        missed = sum(label.missed for label in evaluation.labels)
        alarms = sum(label.false_alarm for label in evaluation.labels)
        if missed or alarms:
            notes.append(
                f"labels missed: {missed}, false alarms: {alarms}; these have no HD95 and ASSD, "
                "whose means are taken over the cases found, those of Dice and NSD over all"
            )
        never = [label.name for label in evaluation.labels if not label.figures["hd95_mm"].cases]
        if never:
            notes.append(f"without any HD95 and ASSD, in no mean over labels: {_some(never)}")
    if evaluation.placed:
        notes.append(
            f"{len(evaluation.placed)} case(s) with masks of other extents or orders of axes, put "
            f"voxel on voxel with 0 around them: {shown(evaluation.placed, most=5)}"
        )
    if evaluation.calibration is not None:
        found = evaluation.calibration
        notes.append(
            f"calibration of {len(found.cases)} case(s): ECE {_number(found.ece)}, "
            f"Brier {_number(found.brier)}"
        )
        notes += [f"no calibration: {name}: {why}" for name, why in found.failed.items()]
    return notes


def _table(title: str, first_column: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first_column)
    return table


def _safe(text: str) -> str:
    """File and label names may hold brackets, which Rich would read as markup."""
    from rich.markup import escape

    return escape(text)


def _lowest(evaluation: Evaluation, case: CaseResult) -> str:
    present = [lb for lb in evaluation.labels if not math.isnan(case.dice(lb.value))]
    if not present:
        return "–"
    label = min(present, key=lambda lb: case.dice(lb.value))
    return f"{_safe(label.name)} {_number(case.dice(label.value))}"


def _badness(case: CaseResult) -> float:
    """Sort key: lowest mean Dice first, cases without any label last."""
    return math.inf if math.isnan(case.mean_dice) else case.mean_dice


def _number(dice: float) -> str:
    return "–" if math.isnan(dice) else f"{dice:.4f}"


def _distance(length: float) -> str:
    return "–" if math.isnan(length) else f"{length:.2f}"


def _interval(interval: Interval) -> str:
    return "–" if math.isnan(interval[0]) else f"{interval[0]:.4f}–{interval[1]:.4f}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_WORST])
    return f"{len(names)} ({shown}{', …' if len(names) > _WORST else ''})"
