"""Parts that reports of runs and of predictions share: scores, box plots, pictures of cases.

Scores are the plain data of `Evaluation.to_json`, as it lies in `validation.json`: what a later
version adds to it is shown too.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from attnseg.evaluation import bootstrap_interval
from attnseg.spec import unnamed
from attnseg.visualization.curves import Box, box_plots_svg
from attnseg.visualization.page import colour_code, colour_key, legend
from attnseg.visualization.palette import Colour
from attnseg.visualization.thumbnails import Thumbnail, image_html, labels_in

Scores = Mapping[str, Any]

WORST = 8  # cases with a picture
_PLAIN = {"dice", "predicted_voxels", "reference_voxels", "predicted_ml", "reference_ml"}
_DIFFER = "The slice where prediction and reference differ most, cut to the labels."
_MOST = "The slice that shows most of all labels, cut to them."
_STATISTICS = ("mean", "95 % interval", "sd", "median", "min", "cases")


@dataclass(frozen=True, eq=False)
class Shot:
    """A case as a picture.

    Args:
        name: of the case.
        predicted: a slice with the predicted labels.
        reference: the same slice with those of the reference; None where there is none.
        caption: what is told below the name.
    """

    name: str
    predicted: Thumbnail
    reference: Thumbnail | None = None
    caption: str = ""


def number(value: Any, digits: int = 4) -> str:
    """A number with so many digits behind the point; a dash for none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"


def interval(pair: Any, digits: int = 4) -> str:
    """As 0.8712–0.9034; a dash for none."""
    return "–" if not pair else f"{number(pair[0], digits)}–{number(pair[1], digits)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """A table that scrolls sideways where it does not fit.

    Args:
        head: column names, plain text.
        rows: cells as HTML.
        numbers: whether all but the first column stay on one line.
    """
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    kind = ' class="number"' if numbers else ""
    lines = "".join(
        "<tr>"
        + "".join(f"<td{kind if place else ''}>{cell}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """(name, text) as a table of two columns, both plain text; empty texts are left out."""
    rows = [
        [f'<span class="muted">{escape(name)}</span>', escape(text)] for name, text in pairs if text
    ]
    lines = "".join(f"<tr><td>{name}</td><td>{text}</td></tr>" for name, text in rows)
    return f'<table class="facts"><tbody>{lines}</tbody></table>' if rows else ""


def label_table(scores: Scores, colours: Mapping[int, Colour]) -> str:
    """Dice of each label over the cases, and of their mean."""
    labels = scores.get("labels", [])
    rows = [
        [
            _keyed(label, colours),
            number(label.get("mean")),
            interval(label.get("ci95")),
            *(number(label.get(key)) for key in ("sd", "median", "min")),
            str(label.get("cases", "–")),
        ]
        for label in labels
    ]
    if rows:
        rows.append(
            [
                "<b>mean over labels</b>",
                f"<b>{number(scores.get('mean_dice'))}</b>",
                interval(scores.get("ci95")),
                number(scores.get("sd")),
                "",
                "",
                str(len(scores.get("cases", []))),
            ]
        )
    told = [f"{name}: {reason}" for name, reason in scores.get("failed", {}).items()]
    told += [f"not predicted: {name}" for name in scores.get("not_predicted", [])]
    notes = "".join(f'<p class="muted">{escape(line)}</p>' for line in told)
    return table(("Dice", *_STATISTICS), rows) + notes + _further(scores, colours)


def label_boxes(scores: Scores, colours: Mapping[int, Colour]) -> str:
    """Box plots of Dice, a row a label."""
    boxes = []
    for label in scores.get("labels", []):
        values = _of_cases(scores, label["value"], "dice")
        if values:
            colour = colour_code(colours.get(label["value"], "#888888"))
            boxes.append(Box(str(label["name"]), colour, values))
    if not boxes:
        return ""
    least = min(min(box.values) for box in boxes)
    limits = (0.0 if least < 0.5 else math.floor(10 * least) / 10, 1.0)
    if limits[0] >= 1:
        limits = (0.9, 1.0)
    svg = box_plots_svg(boxes, what="Dice over cases", limits=limits)
    return (
        f'<figure class="plot">{svg}<figcaption class="muted">Dice: box from first to third '
        "quartile with the median, whiskers to the last case within 1.5 box lengths, a dot a case."
        "</figcaption></figure>"
    )


def worst_cases(scores: Iterable[Scores], most: int = WORST) -> list[dict[str, Any]]:
    """Cases of all scores with the lowest mean Dice, the lowest first."""
    found = [
        case
        for each in scores
        for case in each.get("cases", [])
        if isinstance(case.get("mean_dice"), int | float)
    ]
    return sorted(found, key=lambda case: case["mean_dice"])[:most]


def mean_caption(case: Mapping[str, Any]) -> str:
    """Mean Dice of a case."""
    return f"Dice {number(case.get('mean_dice'), 3)}"


def case_caption(case: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Mean Dice of a case and that of each label."""
    each = [
        f"{names.get(int(value), value)} {number(score.get('dice'), 3)}"
        for value, score in case.get("labels", {}).items()
    ]
    told = mean_caption(case)
    return f"{told} ({', '.join(each)})" if len(each) > 1 else told


def shots_grid(
    shots: Sequence[Shot], colours: Mapping[int, Colour], names: Mapping[int, str]
) -> str:
    """Pictures under a common legend; empty where there is none."""
    if not shots:
        return ""
    slices = [part for shot in shots for part in (shot.predicted, shot.reference) if part]
    used = sorted({value for part in slices for value in labels_in(part)} & colours.keys())
    key = legend((colours[value], names.get(value, unnamed(value))) for value in used)
    pairs = any(shot.reference for shot in shots)
    kind, which = ("grid pairs", _DIFFER) if pairs else ("grid small", _MOST)
    told = f'<p class="muted">{which}</p>' if any(part.plane for part in slices) else ""
    figures = "".join(_figure(shot, colours) for shot in shots)
    return f'{told}{key}<div class="{kind}">{figures}</div>'


def _figure(shot: Shot, colours: Mapping[int, Colour]) -> str:
    plane = f"{shot.predicted.plane} slice" if shot.predicted.plane else "picture"
    unit = "mm" if shot.predicted.plane else "px"
    size = f"{shot.predicted.size_mm[1]:.0f} {unit} wide"
    seen = f"{plane} of {shot.name}"
    if shot.reference is None:
        picture = image_html(shot.predicted, colours, seen=f"{seen}, predicted", height=10)
    else:
        picture = (
            '<div class="pair">'
            f"<div>{image_html(shot.predicted, colours, seen=f'{seen}, predicted')}"
            '<span class="muted">predicted</span></div>'
            f"<div>{image_html(shot.reference, colours, seen=f'{seen}, reference')}"
            '<span class="muted">reference</span></div></div>'
        )
    told = "<br>".join(escape(line) for line in (shot.caption, size) if line)
    caption = f'<br><span class="muted">{told}</span>'
    return f"<figure>{picture}<figcaption><b>{escape(shot.name)}</b>{caption}</figcaption></figure>"


def _further(scores: Scores, colours: Mapping[int, Colour]) -> str:
    """A table for each metric beside Dice that the cases carry."""
    keys = dict.fromkeys(
        key
        for case in scores.get("cases", [])
        for score in case.get("labels", {}).values()
        for key, value in score.items()
        if key not in _PLAIN and isinstance(value, int | float) and not isinstance(value, bool)
    )
    return "".join(_metric(scores, key, colours) for key in keys)


def _metric(scores: Scores, key: str, colours: Mapping[int, Colour]) -> str:
    rows = []
    for label in scores.get("labels", []):
        values = np.array(_of_cases(scores, label["value"], key))
        if not values.size:
            continue
        sd = float(values.std(ddof=1)) if values.size > 1 else math.nan
        pair = bootstrap_interval(values)
        figures = [sd, float(np.median(values)), float(values.min())]
        rows.append(
            [
                _keyed(label, colours),
                number(float(values.mean()), 3),
                interval(None if math.isnan(pair[0]) else pair, 3),
                *(number(each, 3) for each in figures),
                # Distances of what is missed, or marked where there is nothing, are none.
                f"{values.size} of {label['cases']}" if "cases" in label else str(values.size),
            ]
        )
    return table((key.replace("_", " "), *_STATISTICS), rows)


def _of_cases(scores: Scores, value: int, key: str) -> list[float]:
    return list(_finite(scores, str(value), key))


def _finite(scores: Scores, value: str, key: str) -> Iterator[float]:
    for case in scores.get("cases", []):
        found = case.get("labels", {}).get(value, {}).get(key)
        if isinstance(found, int | float) and math.isfinite(found):
            yield float(found)


def _keyed(label: Mapping[str, Any], colours: Mapping[int, Colour]) -> str:
    key = colour_key(colours[label["value"]]) if label["value"] in colours else ""
    return key + escape(str(label["name"]))
