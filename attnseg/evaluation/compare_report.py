"""A comparison in sentences, as JSON that says what each number means, and as CSV."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from attnseg.evaluation.compare_definitions import DEFINITIONS
from attnseg.evaluation.comparison import Comparison, Metric, Paired, better
from attnseg.evaluation.results import plain
from attnseg.files import write_text
from attnseg.whereabouts import all_told

FEW_CASES = 10
_ALPHA = 0.05
_COUNTS = (
    "judged", "p", "p_holm", "wins", "ties", "losses", "left_out", "compared", "present",
    "found_a", "found_b", "alarms_a", "alarms_b",
)  # fmt: skip


def verdict(comparison: Comparison) -> list[str]:
    """What the intervals say of the mean over labels and of each label, a sentence each."""
    metric = comparison.metric
    labels = comparison.labels
    sentences = _unpaired(comparison)
    parts = [*([comparison.overall] if len(labels) > 1 else []), *labels]
    tests = sum(not math.isnan(label.p) for label in labels)
    sentences += [_sentence(each, metric, tests) for each in parts]
    if not labels:
        sentences.append("No mask has any label: there is nothing to compare.")
    few = [each for each in parts if 1 < len(each.cases) < FEW_CASES]
    if few:
        counts = sorted({len(each.cases) for each in few})
        told = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
        where = "" if len(few) == len(parts) else f" ({', '.join(each.name for each in few)})"
        sentences.append(
            f"With {told} cases{where} these intervals are narrower than they should be; take them "
            "as a hint."
        )
    return sentences


def _unpaired(comparison: Comparison) -> list[str]:
    """Cases that are in no number because a method has no mask of them, or none that counts."""
    parts = [
        f"{len(names)} {what}"
        for names, what in (
            (comparison.only_a, "of which B has no mask"),
            (comparison.only_b, "of which A has no mask"),
            (comparison.failed, "that could not be compared"),
        )
        if names
    ]
    if not parts:
        return []
    return [
        f"All that follows is about the {len(comparison.cases)} case(s) that both have; in no "
        f"number are {', '.join(parts)}. Where a method gave no mask because it failed, it has "
        "lost there."
    ]


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain types, with what each number means; NaN becomes null."""
    import attnseg

    metric, lost = comparison.metric, comparison.lost()
    overall = {k: v for k, v in _entry(comparison.overall).items() if k not in ("value", "sizes")}
    return {
        "attnseg": attnseg.__version__,
        "definitions": DEFINITIONS,
        "metric": metric.field,
        "lower_is_better": metric.lower_is_better,
        "margin": metric.margin,
        "unit": metric.unit.strip(),
        "volume_unit": comparison.volume_unit,
        "verdict": verdict(comparison),
        "mean_over_labels": overall,
        "labels": [_entry(label) for label in comparison.labels],
        "worst": comparison.worst(),
        "most_changed": comparison.most_changed(),
        "cases": {
            name: {
                label: {
                    "a": plain(a),
                    "b": plain(b),
                    "difference": plain(b - a),
                    "lost_by": lost[name][label].by if label in lost.get(name, {}) else None,
                }
                for label, (a, b) in found.items()
            }
            for name, found in comparison.by_case().items()
        },
        "only_a": list(comparison.only_a),
        "only_b": list(comparison.only_b),
        "in_neither": list(comparison.in_neither),
        "failed": dict(comparison.failed),
    }


def save_json(comparison: Comparison, path: Path) -> None:
    """Write `to_json`, whole or not at all."""
    content = all_told(to_json(comparison), path.parent)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def save_csv(comparison: Comparison, path: Path) -> None:
    """Write a line per case and label where both have a number or one method has lost, whole or
    not at all.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    field = comparison.metric.field
    writer.writerow(["case", "value", "label", f"{field}_a", f"{field}_b", "b_minus_a", "lost_by"])
    lines: list[tuple[Any, ...]] = []
    for label in comparison.labels:
        pairs = [(name, a, b, "") for name, a, b in zip(label.cases, label.a, label.b, strict=True)]
        pairs += [(each.case, each.a, each.b, each.by) for each in label.lost]
        lines += [
            (name, label.value or 0, label.name, plain(a), plain(b), plain(b - a), by)
            for name, a, b, by in pairs
        ]
    lines.sort(key=lambda line: (line[0], line[1]))
    writer.writerows(lines)
    write_text(path, stream.getvalue())


def _sentence(paired: Paired, metric: Metric, tests: int) -> str:
    """What is said of a label, or of the mean over labels; p is adjusted for so many tests."""
    of_label = paired.value is not None
    where = f"on {paired.name}" if of_label else "on the mean over labels"
    start = where[0].upper() + where[1:]
    count, unit = len(paired.cases), metric.unit
    mean, low, high = paired.difference
    if not paired.judged:
        return f"{start} there is no verdict by {metric.title}: {_why_not(paired, metric)}"
    if count == 0:
        return f"{start} there is no case to compare.{_beside(paired)}"
    if not any(b - a for a, b in zip(paired.a, paired.b, strict=True)):
        return (
            f"{start} both score the same in {_all(count)}: no difference is seen here; other "
            f"cases may show one.{_beside(paired)}"
        )
    winner = better(paired.difference, metric)
    if count == 1:
        return (
            f"{winner} is better {where} by {abs(mean):.3f}{unit} in the only case; one case says "
            f"nothing about others.{_beside(paired)}"
        )
    if not winner:
        largest = max(abs(low), abs(high))
        return (
            f"{start} neither is shown to be better: B - A is {mean:+.3f}{unit} "
            f"[{low:+.3f}, {high:+.3f}]; no mean difference larger than {largest:.3f}{unit} is "
            f"compatible with these {count} cases at 95 %.{_beside(paired)}"
        )
    near, far = sorted((abs(low), abs(high)))
    text = f"{winner} is better {where} by {abs(mean):.3f}{unit} [{near:.3f}, {far:.3f}]"
    if abs(mean) <= metric.margin:
        text += f", less than the {metric.margin:g}{unit} that counts as a tie"
    p = paired.p_holm if of_label else paired.p
    if p > _ALPHA:
        adjusted = f" after Holm's correction for {tests} labels" if of_label and tests > 1 else ""
        text += f"; but p = {p:.2g}{adjusted}: it may be chance"
    return f"{text}.{_beside(paired)}"


def _why_not(paired: Paired, metric: Metric) -> str:
    """Why the means give no verdict, what they are, and what is won and lost all the same."""
    mean, low, high = paired.difference
    interval = "" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"
    numbers = "" if math.isnan(mean) else f" (B - A is {mean:+.3f}{metric.unit}{interval})"
    what = "case(s)" if paired.value is not None else "structure(s)"
    if any(each.why == "missed" for each in paired.lost):
        text = (
            f"{_found(paired)}, and not the same ones; distances are compared on the "
            f"{paired.compared} {what} that both found{numbers}, and say nothing of the others"
        )
    else:
        winner = better(paired.difference, metric)
        text = (
            f"{winner} scores better on the {paired.compared} {what} where both have a number"
            f"{numbers}, but {'; '.join(_alarms(paired))}"
        )
    return f"{text}. B wins {paired.wins}, ties {paired.ties} and loses {paired.losses} case(s)."


def _beside(paired: Paired) -> str:
    """What a mean of distances leaves out, and a mean of overlaps does not show."""
    text = ""
    if paired.found_a < paired.present or paired.found_b < paired.present:
        text += f" {_found(paired)}."
    alarms = _alarms(paired)
    return f"{text} {'; '.join(alarms)}." if alarms else text


def _alarms(paired: Paired) -> list[str]:
    """As "B marks it in 3 case(s) without it, in 2 of them alone"."""
    told = []
    for side, count in (("A", paired.alarms_a), ("B", paired.alarms_b)):
        alone = paired.lost_by(side, "false alarm")
        share = f", in {alone} of them alone" if alone != count else ""
        told += [f"{side} marks it in {count} case(s) without it{share}"] * (count > 0)
    return told


def _found(paired: Paired) -> str:
    """As "A finds 40 of 40, B 15 of 40"."""
    return f"A finds {paired.found_a} of {paired.present}, B {paired.found_b} of {paired.present}"


def _all(count: int) -> str:
    return f"all {count} cases" if count > 1 else "the only case"


def _entry(paired: Paired) -> dict[str, Any]:
    mean, *interval = paired.difference
    return {
        "value": paired.value,
        "name": paired.name,
        "cases": len(paired.cases),
        "of": paired.of,
        "mean_a": plain(paired.mean_a),
        "mean_b": plain(paired.mean_b),
        "difference": plain(mean),
        "ci95": plain(tuple(interval)),
        **{key: plain(getattr(paired, key)) for key in _COUNTS},
        **{f"missed_{each.lower()}": paired.lost_by(each, "missed") for each in "AB"},
        **{f"alarms_{each.lower()}_alone": paired.lost_by(each, "false alarm") for each in "AB"},
        "sizes": [
            {
                "name": group.name,
                "low": group.low,
                "high": group.high,
                "cases": group.cases,
                "of": group.of,
                "difference": plain(group.difference.mean),
                "ci95": plain(tuple(group.difference[1:])),
            }
            for group in paired.sizes
        ],
    }
