"""A folder of predicted masks as one page: what became of each scan, and how good the masks are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from attnseg.visualization.page import counts, html_page, section
from attnseg.visualization.palette import label_colours
from attnseg.visualization.report_parts import (
    Scores,
    Shot,
    facts,
    interval,
    label_boxes,
    label_table,
    number,
    shots_grid,
    table,
)

_STATES = {"done": "harmless", "skipped": "harmless", "failed": "fatal"}


@dataclass(frozen=True)
class PredictionReport:
    """What a folder of masks tells.

    Args:
        folder: as the user named it.
        lines: the last line of each scan in the manifest.
        names: label value → name, as far as known.
        shots: pictures of the masks.
        unseen: how many more masks there are.
        scores: of the masks against references; None where there are none.
        worst: pictures of the cases with the lowest mean Dice.
    """

    folder: str
    lines: Sequence[Mapping[str, Any]]
    names: Mapping[int, str] = field(default_factory=dict)
    shots: Sequence[Shot] = ()
    unseen: int = 0
    scores: Scores | None = None
    worst: Sequence[Shot] = ()


def prediction_page(found: PredictionReport) -> str:
    """The page as HTML."""
    seen = {int(v) for s in (*found.shots, *found.worst) for v in np.unique(s.predicted.labels)}
    scored = {label["value"] for label in (found.scores or {}).get("labels", [])}
    colours = label_colours((seen | scored | set(found.names)) - {0}, found.names)
    more = f'<p class="muted">and {found.unseen} more mask(s)</p>' if found.unseen else ""
    body = [
        "<h1>Prediction</h1>",
        f'<p class="data muted">{escape(found.folder)}</p>',
        counts(_headline(found)),
        section("Failed", _failed(found.lines)),
        section("Warnings", _warnings(found.lines)),
    ]
    if found.scores is not None:
        scored_part = label_table(found.scores, colours) + label_boxes(found.scores, colours)
        body += [
            section("Scores", scored_part),
            section("Cases with the lowest Dice", shots_grid(found.worst, colours, found.names)),
        ]
    body += [
        section("Masks", shots_grid(found.shots, colours, found.names) + more),
        section("Volumes", _volumes(found.lines)),
        section("Scans", _scans(found.lines)),
        section("How they were made", facts(_made(found.lines))),
    ]
    return html_page(f"Prediction: {found.folder}", "".join(body))


def _headline(found: PredictionReport) -> Iterator[tuple[str, str]]:
    states = [str(line.get("state", "")) for line in found.lines]
    if found.scores is not None:
        pair = found.scores.get("ci95")
        told = f"mean Dice; 95 % {interval(pair, 3)}" if pair else "mean Dice"
        yield number(found.scores.get("mean_dice"), 3), told
    for state in ("done", "failed"):
        yield str(states.count(state)), f"scan(s) {state}"
    totals = [sum(line["seconds"].values()) for line in found.lines if line.get("seconds")]
    if totals:
        yield f"{np.median(totals):.3g} s", "a scan (median)"
    peaks = [line["peak_ram_mb"] for line in found.lines if line.get("peak_ram_mb")]
    if peaks:
        yield f"{max(peaks) / 1000:.2f} GB", "peak memory"


def _failed(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="case">{escape(line["name"])}</td>'
        f"<td>{escape(str(line.get('reason', '')))}</td></tr>"
        for line in lines
        if line.get("state") == "failed"
    )
    return f'<table class="findings"><tbody>{rows}</tbody></table>' if rows else ""


def _warnings(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="case">{escape(line["name"])}</td><td>'
        + "<br>".join(escape(str(warning)) for warning in line["warnings"])
        + "</td></tr>"
        for line in lines
        if line.get("warnings")
    )
    return f'<table class="findings"><tbody>{rows}</tbody></table>' if rows else ""


def _volumes(lines: Sequence[Mapping[str, Any]]) -> str:
    """Millilitres of each label in each scan; only where they were asked for."""
    names = dict.fromkeys(name for line in lines for name in line.get("volumes_ml") or {})
    rows = [
        [escape(line["name"]), *(number(line["volumes_ml"].get(name), 3) for name in names)]
        for line in lines
        if line.get("volumes_ml")
    ]
    return table(("ml", *names), rows)


def _scans(lines: Sequence[Mapping[str, Any]]) -> str:
    stages = dict.fromkeys(stage for line in lines for stage in line.get("seconds") or {})
    rows = []
    for line in lines:
        state = str(line.get("state", ""))
        seconds = line.get("seconds") or {}
        rows.append(
            [
                escape(line["name"]),
                f'<span class="severity {_STATES.get(state, "")}">{escape(state)}</span>',
                *(number(seconds.get(stage), 2) for stage in stages),
                str(line.get("windows") or "–"),
                number(line.get("peak_ram_mb") or None, 0),
            ]
        )
    head = ("scan", "state", *(f"{stage}, s" for stage in stages), "windows", "peak, MB")
    return table(head, rows)


def _made(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What the lines have in common, or each of what they have not."""
    for key in ("model", "backend", "tiles", "settings", "versions"):
        found = dict.fromkeys(_told(line[key]) for line in lines if line.get(key))
        yield ("model, SHA-256" if key == "model" else key), "; ".join(found)


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(each) or 'none'}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return " × ".join(map(str, value))
    return str(value)
