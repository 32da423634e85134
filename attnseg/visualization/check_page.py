"""A data check as one page: no network, no script, light and dark, on a phone too."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.findings import Finding, count_severities
from attnseg.datasets.report import Check
from attnseg.spec import unnamed
from attnseg.visualization.histogram import histogram_svg
from attnseg.visualization.page import (
    colour_code,
    colour_key,
    html_page,
    legend,
    save_page,
    section,
)
from attnseg.visualization.palette import Colour, label_colours
from attnseg.visualization.thumbnails import Thumbnail, image_html

_MAX_THUMBNAILS = 50
_MAX_HISTOGRAMS = 40


def check_page(check: Check, thumbnails: Mapping[str, Thumbnail]) -> str:
    """The page as HTML.

    Args:
        check: what was found.
        thumbnails: case → its picture; those of cases with a finding are shown, 50 at most.
    """
    colours = label_colours(check.volumes, check.label_names)
    body = [
        "<h1>Data check</h1>",
        f'<p class="data muted">{escape(check.data)}</p>',
        _counts(check),
        section("What was understood", _understood(check)),
        section("Findings", _findings(check.by_severity)),
        section("Cases with a finding", _pictures(check, thumbnails, colours)),
        section("Volume of each label", _histograms(check, colours)),
        section("All cases", _ranges(check.facts)),
    ]
    return html_page(f"Data check: {check.data}", "".join(body))


def save_check_page(check: Check, thumbnails: Mapping[str, Thumbnail], path: Path) -> None:
    """Write `check_page`, whole or not at all."""
    save_page(path, check_page(check, thumbnails), check.places)


def _counts(check: Check) -> str:
    items = [f"<li><b>{len(check.facts)}</b>case(s)</li>"]
    for severity, count in count_severities(check.findings).items():
        colour = f' class="{severity}"' if count else ""
        items.append(f"<li{colour}><b>{count}</b>{severity}</li>")
    return f'<ul class="counts">{"".join(items)}</ul>'


def _understood(check: Check) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in check.understood.splitlines())
    return f'<ul class="understood">{lines}</ul>'


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "<p>None.</p>"
    rows = "".join(
        f'<tr><td class="severity {each.severity}">{each.severity}</td>'
        f'<td class="case">{escape(each.case)}</td><td>{escape(each.problem)}</td>'
        f'<td class="muted">{escape(each.remedy)}</td></tr>'
        for each in findings
    )
    return (
        '<table class="findings"><thead><tr><th>Severity</th><th>Case</th><th>Problem</th>'
        f"<th>What to do</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _pictures(
    check: Check, thumbnails: Mapping[str, Thumbnail], colours: Mapping[int, Colour]
) -> str:
    of_case: dict[str, list[Finding]] = {}
    for finding in check.by_severity:
        if finding.case in thumbnails:
            of_case.setdefault(finding.case, []).append(finding)
    shown = list(of_case)[:_MAX_THUMBNAILS]
    figures = "".join(
        _figure(name, thumbnails[name], of_case[name], colours, check.label_names) for name in shown
    )
    if not figures:
        return ""
    used = {int(v) for name in shown for v in np.unique(thumbnails[name].labels)} - {0}
    key = legend(
        (colours[value], _name(value, check.label_names)) for value in sorted(used & colours.keys())
    )
    rest = len(of_case) - len(shown)
    more = f'<p class="muted">and {rest} more case(s)</p>' if rest else ""
    return f'{key}<div class="grid">{figures}</div>{more}'


def _figure(
    name: str,
    thumbnail: Thumbnail,
    findings: Iterable[Finding],
    colours: Mapping[int, Colour],
    names: Mapping[int, str],
) -> str:
    problems = "".join(
        f'<li><span class="severity {each.severity}">{each.severity}</span> '
        f"{escape(each.problem)}</li>"
        for each in findings
    )
    slice_ = f"{thumbnail.plane} slice" if thumbnail.plane else "picture"
    labels = ", ".join(
        _name(int(value), names) for value in np.unique(thumbnail.labels) if value != 0
    )
    seen = f"{slice_} of {name} with {labels or 'no label'}"
    return (
        f"<figure>{image_html(thumbnail, colours, seen=seen)}"
        f"<figcaption><b>{escape(name)}</b><ul>{problems}</ul></figcaption></figure>"
    )


def _histograms(check: Check, colours: Mapping[int, Colour]) -> str:
    unit = "pixels" if check.pictures else "ml"
    figures = []
    for value, by_case in list(check.volumes.items())[:_MAX_HISTOGRAMS]:
        name = _name(value, check.label_names)
        svg = histogram_svg(list(by_case.values()), colour=colour_code(colours[value]), unit=unit)
        figures.append(
            f"<figure>{svg}<figcaption>{colour_key(colours[value])}<b>{escape(name)}</b> "
            f'<span class="muted">in {len(by_case)} case(s)</span></figcaption></figure>'
        )
    return f'<div class="grid">{"".join(figures)}</div>' if figures else ""


def _ranges(facts: Sequence[CaseFacts]) -> str:
    """Smallest, middle and largest of what was measured."""
    read = [case for case in facts if case.intensity]
    if not read:
        return ""
    rows: list[tuple[str, list[float]]] = []
    for axis, side in enumerate(("the right", "the front", "the head")):
        rows.append((f"voxels towards {side}", [case.ras_shape[axis] for case in read]))
    for axis, side in enumerate(("the right", "the front", "the head")):
        rows.append((f"spacing towards {side}, mm", [case.ras_spacing_mm[axis] for case in read]))
    for number in range(max(len(case.intensity) for case in read)):
        with_it = [case.intensity[number] for case in read if len(case.intensity) > number]
        rows.append((f"channel {number}, 0.5th percentile", [c.percentile_00_5 for c in with_it]))
        rows.append((f"channel {number}, 99.5th percentile", [c.percentile_99_5 for c in with_it]))
    lines = "".join(
        f"<tr><td>{label}</td>"
        + "".join(
            f'<td class="number">{value:.4g}</td>' for value in np.percentile(values, (0, 50, 100))
        )
        + "</tr>"
        for label, values in rows
        if np.isfinite(values).all()
    )
    return (
        "<table><thead><tr><th></th><th>least</th><th>median</th><th>most</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def _name(value: int, names: Mapping[int, str]) -> str:
    return f"{value} {names[value]}" if value in names else unnamed(value)
