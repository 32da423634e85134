"""A training run as one page: what went in, what was planned, learnt and reached, and where not."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from attnseg.config import Config
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

_ARCHITECTURE = ("block", "norm", "gate", "gate_finest", "blocks_per_level", "deep_supervision")


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
        section("Plan", _plan(run)),
        section("Learning curves", _curves(run, colours)),
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
        section("Training settings", facts(_flat(run.config.training.model_dump(mode="json")))),
        section("Models", _models(run)),
    ]
    return html_page(f"Run: {run.folder}", "".join(body))


def _worst(run: RunReport, colours: Mapping[int, Colour]) -> str:
    grid = shots_grid(run.worst, colours, run.spec.output_names)
    told = f'<p class="muted">{escape(run.unseen)}</p>' if grid and run.unseen else ""
    return told + grid


def learning_curves(run: RunReport) -> dict[str, list[Curve]]:
    """Quantity → its lines: one a fold; of a single fold also the Dice of each label."""
    plots: dict[str, list[Curve]] = {}
    for title, key in (("loss", "loss"), ("Dice of few cases", "dice")):
        plots[title] = [
            Curve(fold.name, colour_code(colour_of(rank)), _points(fold, key))
            for rank, fold in enumerate(run.folds)
        ]
    if len(run.folds) == 1:
        names = run.spec.output_names
        colours = label_colours(names, names)
        plots["Dice of few cases, each label"] = [
            Curve(name, colour_code(colours[value]), _points(run.folds[0], f"dice/{name}"))
            for value, name in names.items()
        ]
    plots["learning rate"] = [
        Curve(fold.name, colour_code(colour_of(rank)), _points(fold, "learning_rate"))
        for rank, fold in enumerate(run.folds)
    ]
    return {
        title: found
        for title, curves in plots.items()
        if (found := [curve for curve in curves if curve.points])
    }


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
    spec, seen = run.spec, run.spec.fingerprint
    yield "data set", str(run.config.data.root or "")
    yield "layout", str(spec.provenance.get("layout", ""))
    yield "cases", str(seen.get("num_cases", ""))
    if run.held_out:
        sizes = ", ".join(str(len(names)) for names in run.held_out)
        yield "held out by each fold", f"{sizes} ({len(run.held_out)} folds)"
    yield "channels", ", ".join(spec.channel_names)
    yield "labels", ", ".join(f"{label.value} {label.name}" for label in spec.labels)
    yield "regions", ", ".join(f"{each.value} {each.name} {each.members}" for each in spec.regions)
    if "median_shape" in seen:
        yield "median shape", f"{_times(seen['median_shape'])} voxels"
    if "median_spacing_mm" in seen:
        yield "median spacing", f"{_times(seen['median_spacing_mm'])} mm"
    yield "orientations", ", ".join(f"{k} {n}" for k, n in seen.get("orientations", {}).items())
    volumes = seen.get("label_volumes_mm3")
    if volumes:
        names = {label.value: label.name for label in spec.labels}
        told = zip(seen.get("label_values", ()), volumes, strict=False)
        each = (f"{names.get(value, value)} {mm3 / 1000:.3g} ml" for value, mm3 in told)
        yield "median volumes", ", ".join(each)


def _plan(run: RunReport) -> str:
    """Every number with its reason: the plan's own, or that the configuration says so."""
    net, how = run.spec.architecture, run.spec.preprocessing
    values = {
        "spacing_mm": f"{_times(how.spacing_mm)} mm",
        "dim": f"{net.spatial_dims}d",
        "patch": f"{_times(run.spec.patch)} voxels",
        "levels": str(len(net.channels)),
        "channels": ", ".join(map(str, net.channels)),
        "batch_size": str(run.plan.get("batch_size", "")),
    }
    for name, each in zip(run.spec.channel_names, how.normalization, strict=True):
        rest = {k: f"{v:.4g}" for k, v in each.model_dump().items() if k != "scheme"}
        told = ", ".join(f"{key} {value}" for key, value in rest.items())
        values[f"normalization of {name}"] = each.scheme + (f" ({told})" if told else "")
    reasons = dict(run.plan.get("reasons", {}))
    rows = [(key, values.pop(key, ""), reason) for key, reason in reasons.items()]
    rows += [(key, value, "as configured or planned") for key, value in values.items()]
    rows.append(("strides", "; ".join(map(_times, net.strides)), "between neighbouring levels"))
    kernels = "; ".join(map(_times, net.kernel_sizes))
    rows.append(("kernel sizes", kernels, "of each level, finest first"))
    for key in _ARCHITECTURE:
        rows.append((key, str(getattr(net, key)), "as configured"))
    axes = ", ".join("RAS"[axis] for axis in run.spec.mirror_axes) or "none"
    rows.append(("mirror axes", axes, "along which training mirrored, so that prediction may"))
    if run.plan.get("epochs"):
        rows.append(("epochs", str(run.plan["epochs"]), "what fits into the hours asked for"))
    if run.plan.get("disk_mb"):
        rows.append(("disk", f"{run.plan['disk_mb']:g} MB", "of the preprocessed cases"))
    probe = run.plan.get("probe") or {}
    for key, value in probe.items():
        rows.append((key, f"{value:.4g}" if isinstance(value, float) else str(value), "measured"))
    lines = "".join(
        f'<tr><td class="case">{escape(key)}</td><td>{escape(value)}</td>'
        f'<td class="muted">{escape(reason)}</td></tr>'
        for key, value, reason in rows
    )
    return (
        '<table class="findings"><thead><tr><th>Number</th><th>Value</th><th>Reason</th></tr>'
        f"</thead><tbody>{lines}</tbody></table>"
    )


def _curves(run: RunReport, colours: Mapping[int, Colour]) -> str:
    figures = []
    for title, curves in learning_curves(run).items():
        key = legend((c.colour, c.name) for c in curves) if len(curves) > 1 else ""
        figures.append(
            f"<figure>{curves_svg(curves, what=title)}<figcaption><b>{escape(title)}</b>{key}"
            "</figcaption></figure>"
        )
    return f'<div class="grid">{"".join(figures)}</div>' if figures else ""


def _points(fold: FoldReport, key: str) -> list[tuple[float, float]]:
    return [
        (float(line["step"]), float(line[key]))
        for line in fold.metrics
        if isinstance(line.get(key), int | float) and math.isfinite(line[key])
    ]


def _attention(found: Mapping[str, Any] | None) -> str:
    """A row a gate: its verdict in words, then whatever figures it has."""
    gates = [gate for gate in (found or {}).get("gates", []) if isinstance(gate, Mapping)]
    words = [key for key in ("gate", "verdict") if any(key in gate for gate in gates)]
    others = dict.fromkeys(key for gate in gates for key, value in gate.items() if _short(value))
    keys = [*words, *(key for key in others if key not in words)]
    rows = [[_figure(gate.get(key, "")) for key in keys] for gate in gates]
    return table([key.replace("_", " ") for key in keys], rows, numbers=False)


def _figure(value: Any) -> str:
    """A text as it is; a number with three digits, on one line."""
    if isinstance(value, float):
        return f'<span class="number">{value:.3g}</span>'
    return escape(str(value))


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


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, "none" if value is None else _told(value)


def _short(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _times(numbers: Sequence[float]) -> str:
    return "×".join(f"{each:g}" for each in numbers)
