"""What the gates of a model do, as one page: verdicts, pictures, figures, faithfulness curves."""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape

from attnseg.evaluation import GateJudgement, Judgement, mean_judgement
from attnseg.evaluation.attention import DEFINITIONS, LabelFigures
from attnseg.visualization.faithfulness_svg import HIGHEST, curve_svg, dice_limits
from attnseg.visualization.page import html_page, section

_SWITCHED = {
    "as it is": "as it is",
    "open": "open: α = 1 everywhere",
    "mean": "at its mean everywhere",
    "shuffled": "shuffled in space",
    "closed": "closed: α = 0",
}
_MAX_LABELS = 12
_WHAT = (
    "A gate multiplies the features of a skip connection by α, from 0 (closed) to 1 (open). What "
    "follows says where each gate is open, and, where it was tried, what becomes of the Dice when "
    "it is replaced. A gate that is open on an organ does not prove that the network needs it "
    "there: the curves do, where the highest α matter more than random voxels."
)


def attention_page(
    judged: Sequence[Judgement], pictures: Mapping[str, Mapping[str, bytes]], *, model: str
) -> str:
    """The page as HTML.

    Args:
        judged: one entry a scan, at least one.
        pictures: name of a scan → gate → PNG.
        model: what was judged, in words.
    """
    mean = mean_judgement(judged)
    against = f"Dice against the {mean.against}" if mean.against else ""
    head = (
        "<h1>What the gates do</h1>"
        f'<p class="data muted">{escape(model)} · {len(judged)} scan(s)</p>'
        f"<p>{_WHAT}</p>"
    )
    verdicts = "".join(f"<li>{escape(gate.verdict)}</li>" for gate in mean.gates)
    body = [head, section("Verdicts", f"<ul>{verdicts}</ul>")]
    shown = next(iter(pictures.items()), ("", {}))
    for gate in mean.gates:
        body.append(section(f"Gate {gate.gate}", _gate(gate, shown, against)))
    if len(judged) > 1:
        body.append(section("Scan by scan", _scans(judged)))
    body.append(section("What the numbers mean", _definitions()))
    return html_page(f"Gates of {model}", "".join(body))


def _gate(gate: GateJudgement, shown: tuple[str, Mapping[str, bytes]], against: str) -> str:
    name, pictures = shown
    picture = ""
    if gate.gate in pictures:
        data = base64.b64encode(pictures[gate.gate]).decode()
        picture = (
            f'<figure><img style="width: 100%" alt="α of gate {gate.gate} on {escape(name)}" '
            f'src="data:image/png;base64,{data}"><figcaption>{escape(name)}: labels above, '
            f"α below</figcaption></figure>"
        )
    rows = [
        ("mean α", f"{gate.mean:.3f}"),
        ("sd over voxels", f"{gate.figures.sd:.3f}"),
        ("relative entropy", _number(gate.entropy)),
        ("quite open or quite closed", f"{gate.saturated:.0%} of the voxels"),
        ("windows agree", _number(gate.agreement)),
    ]
    figures = "".join(f"<tr><td>{k}</td><td class='number'>{v}</td></tr>" for k, v in rows)
    return (
        f"<p><b>{escape(gate.verdict)}</b></p>{picture}<table>{figures}</table>"
        f"{_labels('Labels as predicted', gate.labels, gate.names)}"
        f"{_labels('Labels of the reference', gate.true_labels, gate.names)}"
        f"{_replaced(gate, against)}"
    )


def _labels(title: str, labels: Mapping[int, LabelFigures], names: Mapping[int, str]) -> str:
    if not labels:
        return ""
    rows = "".join(
        f"<tr><td>{escape(names.get(value, str(value)))}</td>"
        + "".join(
            f'<td class="number">{_number(number)}</td>'
            for number in (each.inside, each.outside, each.auc)
        )
        + "</tr>"
        for value, each in list(labels.items())[:_MAX_LABELS]
    )
    more = len(labels) - _MAX_LABELS
    rest = f'<p class="muted">and {more} more in attention.json</p>' if more > 0 else ""
    return (
        f"<table><thead><tr><th>{title}</th><th>α inside</th><th>outside</th><th>AUC</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>{rest}"
    )


def _replaced(gate: GateJudgement, against: str) -> str:
    found = gate.faithfulness
    if found is None:
        return ""
    base = found.dice["as it is"]
    rows = "".join(
        f'<tr><td>{words}</td><td class="number">{_number(found.dice[key], 4)}</td>'
        f'<td class="number">{_signed(found.dice[key] - base) if key != "as it is" else ""}</td>'
        "</tr>"
        for key, words in _SWITCHED.items()
    )
    limits = dice_limits([found.deletion, found.insertion])
    plots = "".join(
        f"<figure>{curve_svg(curve, axis=axis, limits=limits)}<figcaption>{words}</figcaption>"
        "</figure>"
        for curve, axis, words in (
            (found.deletion, "voxels closed", "<b>Deletion</b>: falls early if they matter"),
            (found.insertion, "voxels kept", "<b>Insertion</b>: rises early if they matter"),
        )
    )
    return (
        f"<table><thead><tr><th>The gate</th><th>{against}</th><th>change</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f'<p class="muted"><span class="key" style="background: {HIGHEST}"></span>'
        "highest α first; dashed: as many voxels at random</p>"
        f'<div class="grid">{plots}</div>'
    )


def _scans(judged: Sequence[Judgement]) -> str:
    rows = "".join(
        f'<tr><td class="case">{escape(scan.name)}</td><td>{escape(gate.verdict)}</td></tr>'
        for scan in judged
        for gate in scan.gates
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _definitions() -> str:
    return "".join(
        f"<p><b>{escape(key)}</b>: {escape(text)}</p>" for key, text in DEFINITIONS.items()
    )


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.4f}".replace("-", "−")
