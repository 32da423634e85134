"""A comparison as tables in the terminal, at most 100 columns wide."""

import math
from typing import TYPE_CHECKING

from attnseg.evaluation.compare_report import verdict
from attnseg.evaluation.comparison import Comparison, Metric, Paired
from attnseg.evaluation.statistics import Difference

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH = 100
_SOME = 5


def print_comparison(comparison: Comparison, console: "Console") -> None:
    """Print means and differences per label and by size, the cases of note, and the verdict."""
    width = min(console.width, _WIDTH)
    for table in (_labels(comparison), _sizes(comparison), _cases(comparison)):
        if table.row_count:
            console.print(table, width=width)
    for line in verdict(comparison):
        console.print(line, markup=False, width=width)
    for title, names in (
        ("only in A", comparison.only_a),
        ("only in B", comparison.only_b),
        ("in neither", comparison.in_neither),
    ):
        if names:
            more = ", …" if len(names) > _SOME else ""
            told = f"{title}: {len(names)} ({', '.join(names[:_SOME])}{more})"
            console.print(told, markup=False, width=width)
    for name, reason in comparison.failed.items():
        console.print(f"failed: {name}: {reason}", markup=False, soft_wrap=True)


def direction(comparison: Comparison) -> str:
    """Which way the differences point."""
    better = "A" if comparison.metric.lower_is_better else "B"
    return f"B - A; positive: {better} is better"


def signed(number: float) -> str:
    """As +0.0123; a dash for NaN."""
    return "–" if math.isnan(number) else f"{number:+.4f}"


def signed_interval(difference: Difference) -> str:
    """As +0.0040 to +0.0200; a dash where there is none."""
    if math.isnan(difference.low):
        return "–"
    return f"{signed(difference.low)} to {signed(difference.high)}"


def plain(number: float) -> str:
    """As 0.9123; a dash for NaN."""
    return "–" if math.isnan(number) else f"{number:.4f}"


def p_value(number: float) -> str:
    """As 0.032 or <0.001; a dash for NaN."""
    if math.isnan(number):
        return "–"
    return "<0.001" if number < 0.001 else f"{number:.3f}"


def n_of(cases: int, total: int) -> str:
    """Over how many cases a mean is taken, of how many, as "15 of 40"."""
    return f"{cases} of {total}"


def _cases_cell(metric: Metric, cases: int, total: int) -> str:
    """`n_of`; of overlaps, which a miss has too, one number where both are the same: eighty columns
    hold little.
    """
    return n_of(cases, total) if metric.lower_is_better or cases != total else str(cases)


def means_by_case(comparison: Comparison) -> dict[str, tuple[float, float]]:
    """Case → means of A and B over the labels for which both have a number; NaN without one."""
    overall = comparison.overall
    pairs = zip(overall.cases, overall.a, overall.b, strict=True)
    return dict.fromkeys(comparison.cases, (math.nan, math.nan)) | {
        name: (a, b) for name, a, b in pairs
    }


def most_on(comparison: Comparison, case: str) -> str:
    """The label that makes a case one of the most changed: lost by one method, or most apart."""
    lost = comparison.lost().get(case, {})
    if lost:
        more = f" and {len(lost) - 1} more" * (len(lost) > 1)
        label, first = next(iter(lost.items()))
        return f"{label} {first}{more}"
    changes = {label: b - a for label, (a, b) in comparison.by_case()[case].items()}
    label = max(changes, key=lambda each: abs(changes[each]))
    return f"{label} {signed(changes[label])}"


def _labels(comparison: Comparison) -> "Table":
    metric = comparison.metric
    title = (
        f"{metric.heading} of {len(comparison.cases)} case(s) that both have "
        f"({direction(comparison)}; W/T/L of B, ties within {metric.margin:g}{metric.unit}; "
        "p of labels after Holm; cases: with a number of both, of those with the label)"
    )
    columns = ("A", "B", "B - A", "95 % interval", "p", "W/T/L", "cases")
    table = _table(title, "label", columns)
    for label in comparison.labels:
        table.add_row(*_row(label, metric))
    if len(comparison.labels) > 1:
        table.add_section()
        table.add_row(*_row(comparison.overall, metric), style="bold")
    return table


def _row(paired: Paired, metric: Metric) -> list[str]:
    return [
        _safe(paired.name),
        plain(paired.mean_a),
        plain(paired.mean_b),
        signed(paired.difference.mean),
        signed_interval(paired.difference),
        p_value(paired.p if paired.value is None else paired.p_holm),
        f"{paired.wins}/{paired.ties}/{paired.losses}",
        _cases_cell(metric, len(paired.cases), paired.of),
    ]


def _sizes(comparison: Comparison) -> "Table":
    title = "By size in the reference, thirds of the cases"
    columns = ("size", comparison.volume_unit, "B - A", "95 % interval", "cases")
    table = _table(title, "label", columns)
    for label in comparison.labels:
        for number, group in enumerate(label.sizes):
            table.add_row(
                "" if number else _safe(label.name),
                group.name,
                f"{group.low:.4g} to {group.high:.4g}",
                signed(group.difference.mean),
                signed_interval(group.difference),
                _cases_cell(comparison.metric, group.cases, group.of),
            )
    return table


def _cases(comparison: Comparison) -> "Table":
    """Means over labels, and the label that makes the case one of these."""
    title = "Most changed cases (means over labels)"
    table = _table(title, "case", ("A", "B", "B - A", "most on label"))
    means = means_by_case(comparison)
    for name in comparison.most_changed():
        a, b = means[name]
        most = _safe(most_on(comparison, name))
        table.add_row(_safe(name), plain(a), plain(b), signed(b - a), most)
    return table


def _table(title: str, first: str, columns: tuple[str, ...]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=column != "most on label")
    return table


def _safe(text: str) -> str:
    """File and label names may hold brackets, which Rich would read as markup."""
    from rich.markup import escape

    return escape(text)
