"""A training run as one page: what went in, what was planned, learnt and reached, and where not."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from attnseg.config import Config
from attnseg.figures import sound
from attnseg.spec import ModelSpec
from attnseg.visualization.curves import Curve, curves_svg
from attnseg.visualization.page import colour_code, counts, html_page, legend, section
from attnseg.visualization.palette import Colour, colour_of, label_colours
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
from attnseg.visualization.settings_table import is_flat, plan_table, times, training_table

_FEWEST = 3  # validations that make a curve of Dice
_WATCHED = "Dice of the watched cases"
_FIGURES = {"mean": "mean α", "sd": "sd over voxels", "agreement": "windows agree"}


@dataclass(frozen=True)
class FoldReport:
    """What lies in the folder of one fold; what does not is None or empty.

    Args:
        name: as "fold 0".
        metrics: the lines of `metrics.jsonl`.
        scores: `validation.json`.
        model: what `describe_model` says of the finished model.
        attention: `attention.json`.
    """

    name: str
    metrics: Sequence[Mapping[str, Any]] = ()
    scores: Scores | None = None
    model: Mapping[str, Any] | None = None
    attention: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RunReport:
    """What a run folder tells.

    Args:
        folder: as the user named it.
        spec: of the planned model.
        plan: `plan.json`.
        config: `config.yaml`.
        folds: those that were started.
        held_out: cases that each fold of `splits.json` holds out.
        cross_validation: `crossvalidation.json`, or None.
        worst: pictures of the cases with the lowest mean Dice.
        unseen: why they show no scan; empty where they do.
    """

    folder: str
    spec: ModelSpec
    plan: Mapping[str, Any]
    config: Config
    folds: Sequence[FoldReport]
    held_out: Sequence[Sequence[str]] = ()
    cross_validation: Scores | None = None
    worst: Sequence[Shot] = field(default=())
    unseen: str = ""

    @property
    def scores(self) -> dict[str, Scores]:
        """Title → scores of held-out cases: of all folds together, or else fold by fold."""
        if self.cross_validation is not None:
            return {"every case by the model that has not seen it": self.cross_validation}
        return {fold.name: fold.scores for fold in self.folds if fold.scores is not None}


def run_page(run: RunReport) -> str:
    """The page as HTML; what the run does not have yet is left out."""
    names = run.spec.output_names
    colours = label_colours(names, names)
    data = run.spec.provenance.get("dataset", "")
    body = [
        f"<h1>Training run{' on ' + escape(str(data)) if data else ''}</h1>",
        f'<p class="data muted">{escape(run.folder)}</p>',
        counts(_headline(run)),
        section("Data", facts(_data(run))),
        section("Plan", plan_table(run.spec, run.plan)),
        section("Learning curves", _curves(run)),
    ]
    for title, scores in run.scores.items():
        body.append(
            section(
                f"Held-out cases: {title}",
                label_table(scores, colours) + label_boxes(scores, colours),
            )
        )
    body += [
        section("Cases with the lowest Dice", _worst(run, colours)),
        *(section(f"Attention, {f.name}", _attention(f.attention)) for f in run.folds),
        section("Training settings", training_table(run.config)),
        section("Models", _models(run)),
    ]
    return html_page(f"Run: {run.folder}", "".join(body))


def _worst(run: RunReport, colours: Mapping[int, Colour]) -> str:
    grid = shots_grid(run.worst, colours, run.spec.output_names)
    told = f'<p class="muted">{escape(run.unseen)}</p>' if grid and run.unseen else ""
    return told + grid


def learning_curves(run: RunReport) -> dict[str, list[Curve]]:
    """Quantity → its lines: one a fold; of a single fold also the Dice of each label.

    Validations are rare, and two are no curve: Dice is left out before the third.
    """
    return {title: curves for title, curves in _lines(run).items() if not _too_few(title, curves)}


def _too_few(title: str, curves: Sequence[Curve]) -> bool:
    return title.startswith(_WATCHED) and max(len(each.points) for each in curves) < _FEWEST


def _lines(run: RunReport) -> dict[str, list[Curve]]:
    """As `learning_curves`, however few points there are."""
    plots: dict[str, list[Curve]] = {}
    for title, key in (("loss", "loss"), (_WATCHED, "dice")):
        plots[title] = [
            Curve(fold.name, colour_code(colour_of(rank)), _points(fold, key))
            for rank, fold in enumerate(run.folds)
        ]
    if len(run.folds) == 1:
        names = run.spec.output_names
        colours = label_colours(names, names)
        plots[f"{_WATCHED}, each label"] = [
            Curve(name, colour_code(colours[value]), _points(run.folds[0], f"dice/{name}"))
            for value, name in names.items()
        ]
    plots["learning rate"] = [
        Curve(fold.name, colour_code(colour_of(rank)), _points(fold, "learning_rate"))
        for rank, fold in enumerate(run.folds)
    ]
    shown = {title: [curve for curve in curves if curve.points] for title, curves in plots.items()}
    return {title: curves for title, curves in shown.items() if curves}


def _headline(run: RunReport) -> Iterator[tuple[str, str]]:
    for title, scores in run.scores.items():
        pair = scores.get("ci95")
        mean = f"mean Dice, {'held-out cases' if run.cross_validation else title}"
        yield (
            number(scores.get("mean_dice"), 3),
            f"{mean}; 95 % {interval(pair, 3)}" if pair else mean,
        )
    if run.scores:
        yield str(sum(len(each.get("cases", [])) for each in run.scores.values())), "cases scored"
    last = [fold.metrics[-1] for fold in run.folds if fold.metrics]
    if last:
        yield f"{sum(line.get('minutes', 0) for line in last):.1f}", "minutes of training"
        yield f"{sum(line.get('step', 0) for line in last):,}", "steps"
    unfinished = [fold.name for fold in run.folds if fold.model is None]
    if unfinished:
        yield f"{len(unfinished)} of {len(run.folds)}", f"not finished: {', '.join(unfinished)}"


def _data(run: RunReport) -> Iterator[tuple[str, str]]:
    spec, seen = run.spec, sound(run.spec.fingerprint)
    yield "data set", str(run.config.data.root or "")
    yield "layout", str(spec.provenance.get("layout", ""))
    yield "cases", str(seen.get("num_cases", ""))
    if run.held_out:
        sizes = ", ".join(str(len(names)) for names in run.held_out)
        yield "held out by each fold", f"{sizes} ({len(run.held_out)} folds)"
    yield "channels", ", ".join(spec.channel_names)
    yield "labels", ", ".join(f"{label.value} {label.name}" for label in spec.labels)
    yield "regions", ", ".join(f"{each.value} {each.name} {each.members}" for each in spec.regions)
    flat = is_flat(spec)
    if "median_shape" in seen:
        shape = seen["median_shape"]
        yield "median size", f"{times(shape[:2])} pixels" if flat else f"{times(shape)} voxels"
    if "median_spacing_mm" in seen and not flat:
        yield "median spacing", f"{times(seen['median_spacing_mm'])} mm"
    if not flat:
        turned = (f"{name} ({n} cases)" for name, n in seen.get("orientations", {}).items())
        yield "orientation", ", ".join(turned)
    names = {label.value: label.name for label in spec.labels}
    volumes = zip(seen.get("label_values", ()), seen.get("label_volumes_mm3", ()), strict=False)
    told = (
        f"{names.get(value, value)}: {f'{mm3:,.0f} pixels' if flat else f'{mm3 / 1000:.3g} ml'}"
        for value, mm3 in volumes
    )
    yield "median areas" if flat else "median volumes", ", ".join(told)


def _curves(run: RunReport) -> str:
    """Plots; a Dice of too few points for one in words."""
    figures, few = [], []
    for title, curves in _lines(run).items():
        if _too_few(title, curves):
            few += curves if title == _WATCHED else []
            continue
        key = legend((c.colour, c.name) for c in curves) if len(curves) > 1 else ""
        figures.append(
            f"<figure>{curves_svg(curves, what=title)}<figcaption><b>{escape(title)}</b>{key}"
            "</figcaption></figure>"
        )
    grid = f'<div class="grid">{"".join(figures)}</div>' if figures else ""
    told = "".join(
        f'<p class="muted">{escape(f"{_WATCHED}, {curve.name}: {_in_words(curve)}")}</p>'
        for curve in few
    )
    return grid + told


def _in_words(curve: Curve) -> str:
    return ", ".join(f"{value:.3g} after {step:,.0f} steps" for step, value in curve.points)


def _points(fold: FoldReport, key: str) -> list[tuple[float, float]]:
    return [
        (float(line["step"]), float(line[key]))
        for line in fold.metrics
        if isinstance(line.get(key), int | float) and math.isfinite(line[key])
    ]


def _attention(found: Mapping[str, Any] | None) -> str:
    """What each gate does in words, and its main figures."""
    items = []
    for gate in (found or {}).get("gates", []):
        if not isinstance(gate, Mapping):
            continue
        verdict = gate.get("verdict") or f"Gate {gate.get('gate', '?')} was not judged."
        figures = ", ".join(
            f"{name} {number(gate[key], 3)}" for key, name in _FIGURES.items() if key in gate
        )
        items.append(
            f'<li>{escape(str(verdict))}<br><span class="muted">{escape(figures)}</span></li>'
        )
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _models(run: RunReport) -> str:
    """Versions, machine and identity of each finished model, whatever its file tells."""
    models = {fold.name: fold.model for fold in run.folds if fold.model is not None}
    told = {
        name: {
            **model.get("provenance", {}),
            "parameters": f"{model['parameters']:,}" if "parameters" in model else "",
            "SHA-256 of the weights": model.get("sha256") or "",
        }
        for name, model in models.items()
    }
    keys = dict.fromkeys(key for each in told.values() for key in each)
    rows = [
        [
            f'<span class="muted">{escape(key)}</span>',
            *(escape(_told(each.get(key, ""))) for each in told.values()),
        ]
        for key in keys
    ]
    return table(("", *told), rows, numbers=False)


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
