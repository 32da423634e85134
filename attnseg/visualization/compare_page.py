"""A comparison of two methods as one page: no network, no script, light and dark, on a phone."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from attnseg.evaluation.compare_report import verdict
from attnseg.evaluation.compare_table import (
    direction,
    means_by_case,
    n_of,
    p_value,
    plain,
    signed,
    signed_interval,
)
from attnseg.evaluation.comparison import Comparison, Paired
from attnseg.spec import unnamed
from attnseg.visualization.differences import differences_svg
from attnseg.visualization.page import (
    colour_code,
    colour_key,
    counts,
    html_page,
    legend,
    save_page,
    section,
)
from attnseg.visualization.palette import Colour, label_colours
from attnseg.visualization.side_by_side import SideBySide, data_uri

_MAX_FIGURES = 40
_WIDE = '<div style="overflow-x: auto">{}</div>'  # tables of numbers are pushed aside on a phone


def compare_page(
    comparison: Comparison, pictures: Mapping[str, SideBySide], sources: Mapping[str, str]
) -> str:
    """The page as HTML.

    Args:
        comparison: what was found.
        pictures: of the worst and the most changed cases, by name.
        sources: what A, B and the reference are, by those names.
    """
    names = {label.value: label.name for label in comparison.labels if label.value is not None}
    seen = {
        int(value)
        for each in pictures.values()
        for array in (each.reference, each.a, each.b)
        for value in np.unique(array)
    } - {0}
    colours = label_colours({*names, *seen}, names)
    worst, changed = comparison.worst(), comparison.most_changed()
    told = "".join(
        f'<p class="data muted">{escape(name)}: {escape(what)}</p>'
        for name, what in sources.items()
    )
    body = [
        f"<h1>Comparison by {escape(comparison.metric.heading)}</h1>{told}",
        counts(_headline(comparison)),
        section("Verdict", "".join(f"<p>{escape(line)}</p>" for line in verdict(comparison))),
        section("Per label", _table(comparison)),
        section("Difference of each case", _figures(comparison, colours)),
        section("By size in the reference", _sizes(comparison)),
        section("Most changed cases", _pictures(comparison, changed, pictures, colours, names)),
        section(
            "Worst cases",
            _pictures(comparison, worst, pictures, colours, names, shown=set(changed)),
        ),
        section("All cases", _cases(comparison)),
        section("Without a pair", _unpaired(comparison)),
    ]
    return html_page(f"Comparison: {', '.join(sources.values())}", "".join(body))


def save_compare_page(
    comparison: Comparison,
    pictures: Mapping[str, SideBySide],
    sources: Mapping[str, str],
    path: Path,
) -> None:
    """Write `compare_page`, whole or not at all."""
    save_page(path, compare_page(comparison, pictures, sources), map(Path, sources.values()))


def _headline(comparison: Comparison) -> Iterator[tuple[str, str]]:
    overall = comparison.overall
    yield str(len(comparison.cases)), "case(s) that both have"
    yield str(overall.wins), "better with B"
    yield str(overall.ties), f"within {comparison.metric.margin:g}{comparison.metric.unit}"
    yield str(overall.losses), "better with A"


def _table(comparison: Comparison) -> str:
    rows = [_row(label, "") for label in comparison.labels]
    if len(rows) > 1:
        rows.append(_row(comparison.overall, ' style="font-weight: 600"'))
    heads = (
        "Label", "A", "B", "B - A", "95 % interval", "Cases", "p", "p, Holm",
        "Won/tied/lost by B", "Found by A", "Found by B",
    )  # fmt: skip
    note = (
        f"{direction(comparison)}. Means over the cases where both have a number, of those where "
        "the reference or a method has the label; p by Wilcoxon's signed-rank test, zeros left "
        "out, adjusted over the labels by Holm's method, and none where there is no verdict. "
        "Intervals by bootstrap over cases, not adjusted. What one method alone misses, or marks "
        "where there is nothing, is lost for it. Of the mean over labels, found are structures: a "
        "label in a case."
    )
    return f'{_rows(heads, rows)}<p class="muted">{escape(note)}</p>'


def _row(paired: Paired, style: str) -> str:
    numbers = (
        plain(paired.mean_a),
        plain(paired.mean_b),
        signed(paired.difference.mean),
        signed_interval(paired.difference),
        n_of(len(paired.cases), paired.of),
        p_value(paired.p),
        p_value(paired.p_holm),
        f"{paired.wins}/{paired.ties}/{paired.losses}",
        n_of(paired.found_a, paired.present),
        n_of(paired.found_b, paired.present),
    )
    return f'<tr{style}><td class="case">{escape(paired.name)}</td>{_numbers(numbers)}</tr>'


def _figures(comparison: Comparison, colours: Mapping[int, Colour]) -> str:
    shown = [label for label in comparison.labels if label.cases][:_MAX_FIGURES]
    largest = max(
        (abs(b - a) for label in shown for a, b in zip(label.a, label.b, strict=True)), default=0.0
    )
    limit = 1.05 * largest or 10 * comparison.metric.margin
    figures = []
    for label in shown:
        colour = colours[label.value or 0]
        svg = differences_svg(
            label,
            limit=limit,
            colour=colour_code(colour),
            lower_is_better=comparison.metric.lower_is_better,
        )
        figures.append(
            f"<figure>{svg}<figcaption>{colour_key(colour)}<b>{escape(label.name)}</b> "
            f'<span class="muted">B - A of {n_of(len(label.cases), label.of)} case(s)'
            f"{_without(label)}; square and line: mean and 95 % interval</span></figcaption>"
            "</figure>"
        )
    return _grid("".join(figures)) if figures else ""


def _without(label: Paired) -> str:
    """Which cases have no dot through the fault of one method."""
    lost = {each: sum(by.by == each for by in label.lost) for each in "AB"}
    told = [f"{count} lost by {method}" for method, count in lost.items() if count]
    return f", {' and '.join(told)} without a number" if told else ""


def _sizes(comparison: Comparison) -> str:
    rows = [
        f'<tr><td class="case">{escape(label.name)}</td>'
        + _numbers(
            (
                group.name,
                f"{group.low:.4g} to {group.high:.4g}",
                signed(group.difference.mean),
                signed_interval(group.difference),
                n_of(group.cases, group.of),
            )
        )
        + "</tr>"
        for label in comparison.labels
        for group in label.sizes
    ]
    heads = (
        "Label",
        "Size",
        f"In the reference, {comparison.volume_unit}",
        "B - A",
        "95 % interval",
    )
    return _rows((*heads, "Cases"), rows) if rows else ""


def _pictures(
    comparison: Comparison,
    cases: Sequence[str],
    pictures: Mapping[str, SideBySide],
    colours: Mapping[int, Colour],
    names: Mapping[int, str],
    *,
    shown: set[str] | None = None,
) -> str:
    """Figures of the cases; those `shown` above are only named."""
    above = [name for name in cases if name in (shown or ())]
    drawn = [name for name in cases if name in pictures and name not in above]
    figures = "".join(_figure(comparison, name, pictures[name], colours) for name in drawn)
    html = ""
    if figures:
        entries = [(colour, names.get(value, unnamed(value))) for value, colour in colours.items()]
        html = legend(entries, more="white line: reference") + _grid(figures)
    if above:
        html += f'<p class="muted data">Shown above: {escape(", ".join(above))}</p>'
    return html


def _figure(
    comparison: Comparison, name: str, picture: SideBySide, colours: Mapping[int, Colour]
) -> str:
    height, width = picture.size_mm
    images = "".join(
        f'<div><img alt="{escape(f"{side} of {name}")}" '
        f'src="{data_uri(picture.grey, labels, picture.reference, colours)}" '
        f'style="width: 100%; aspect-ratio: {width:.4g} / {height:.4g}">{side}</div>'
        for side, labels in (("A", picture.a), ("B", picture.b))
    )
    lost = comparison.lost().get(name, {})
    numbers = "".join(
        f"<li>{escape(label)}: {plain(a)} → {plain(b)} ({lost.get(label) or signed(b - a)})</li>"
        for label, (a, b) in comparison.by_case()[name].items()
    )
    pair = "display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; text-align: center"
    return (
        f'<figure><div style="{pair}">{images}</div><figcaption><b>{escape(name)}</b> '
        f'<span class="muted">{escape(picture.caption())}</span><ul>{numbers}</ul></figcaption>'
        "</figure>"
    )


def _cases(comparison: Comparison) -> str:
    means, lost = means_by_case(comparison), comparison.lost()
    rows = []
    for name in comparison.cases:
        a, b = means[name]
        faults = "; ".join(f"{label} {each}" for label, each in lost.get(name, {}).items())
        cells = _numbers((plain(a), plain(b), signed(b - a)))
        rows.append(
            f'<tr><td class="case">{escape(name)}</td>{cells}<td>{escape(faults)}</td></tr>'
        )
    heads = ("Case", "A, mean over labels", "B", "B - A", "In no mean")
    return _rows(heads, rows)


def _unpaired(comparison: Comparison) -> str:
    lines = [
        f"{title}: {', '.join(names)}"
        for title, names in (
            ("only in A", comparison.only_a),
            ("only in B", comparison.only_b),
            ("in neither", comparison.in_neither),
        )
        if names
    ]
    lines += [f"failed: {name}: {reason}" for name, reason in comparison.failed.items()]
    return "".join(f'<p class="data">{escape(line)}</p>' for line in lines)


def _grid(figures: str) -> str:
    columns = "grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr))"
    return f'<div class="grid" style="{columns}">{figures}</div>'


def _rows(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return _WIDE.format(table)


def _numbers(cells: Sequence[str]) -> str:
    return "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
