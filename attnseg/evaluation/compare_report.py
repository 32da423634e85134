"""A comparison in sentences, as JSON that says what each number means, and as CSV."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from attnseg.evaluation.comparison import Comparison, Metric, Paired
from attnseg.evaluation.results import plain
from attnseg.files import write_text

FEW_CASES = 10
_ALPHA = 0.05

DEFINITIONS = {
    "difference": "mean over the cases of B - A; positive means that B is better, of distances "
    "(hd95_mm, assd_mm), of which less is better, that A is",
    "ci95": "95 % confidence interval of the mean difference: percentiles 2.5 and 97.5 of the "
    "means of 10000 draws of as many cases, with replacement, both methods together; null for a "
    "single case; too narrow for fewer than 10; not adjusted for the number of labels",
    "mean_a, mean_b": "means over the cases where both have a number",
    "cases": "how many cases those are",
    "p": "Wilcoxon's signed-rank test of the differences, two-sided; differences of zero are left "
    "out (zero_method wilcox); 1 where all are zero",
    "p_holm": "p adjusted for the number of labels by Holm's method; null for the mean over labels",
    "wins, ties, losses": "cases where B is better, within the margin, worse, beyond the margin",
    "margin": "the largest difference that is a tie",
    "unit": "of the numbers, differences and margin; of hd95_mm and assd_mm, whose names stay: mm; "
    "px for pictures, whose pixels have no known size; mm/px over cases of both; empty for ratios",
    "missed_a, missed_b": "cases where the reference has the label, A (B) has no number, as where "
    "it lacks the label and a distance is asked for, and the other has one: counted as lost for "
    "the one that missed, in no mean",
    "left_out": "cases where neither has a number, or where the reference lacks the label and one "
    "has no number; in no mean and in no count of wins",
    "alarms_a, alarms_b": "cases where the reference lacks the label and A (B) has voxels of it",
    "sizes": "thirds of the label's cases by volume in the reference (low to high, in the unit "
    "volume_unit), cases of one volume together, each with difference and ci95; none for fewer "
    "than six cases",
    "mean_over_labels": "of each case, the mean over the labels for which both have a number",
    "worst": "the ten cases where the lower (of distances, higher) of both methods' means over "
    "labels is worst",
    "most_changed": "the ten cases with the largest difference on any label, ties left out",
    "only_a, only_b": "cases of which the other has no mask; they are in no number",
    "in_neither": "references of which neither has a mask",
    "failed": "cases that could not be compared with the reference, with the reason",
}


def verdict(comparison: Comparison) -> list[str]:
    """What the intervals say of the mean over labels and of each label, a sentence each."""
    metric = comparison.metric
    labels = comparison.labels
    sentences = [_sentence(comparison.overall, metric, 0)] if len(labels) > 1 else []
    sentences += [_sentence(label, metric, len(labels)) for label in labels]
    if not labels:
        sentences.append("No mask has any label: there is nothing to compare.")
    if 1 < len(comparison.overall.cases) < FEW_CASES:
        sentences.append(
            f"With {len(comparison.overall.cases)} cases these intervals are narrower than they "
            "should be; take them as a hint."
        )
    return sentences


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain types, with what each number means; NaN becomes null."""
    import attnseg

    metric = comparison.metric
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
            name: {label: {"a": a, "b": b, "difference": b - a} for label, (a, b) in found.items()}
            for name, found in comparison.by_case().items()
        },
        "only_a": list(comparison.only_a),
        "only_b": list(comparison.only_b),
        "in_neither": list(comparison.in_neither),
        "failed": dict(comparison.failed),
    }


def save_json(comparison: Comparison, path: Path) -> None:
    """Write `to_json`, whole or not at all."""
    text = json.dumps(to_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def save_csv(comparison: Comparison, path: Path) -> None:
    """Write a line per case and label where both have a number, whole or not at all."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    field = comparison.metric.field
    writer.writerow(["case", "value", "label", f"{field}_a", f"{field}_b", "b_minus_a"])
    lines = [
        (name, label.value or 0, label.name, a, b, b - a)
        for label in comparison.labels
        for name, a, b in zip(label.cases, label.a, label.b, strict=True)
    ]
    writer.writerows(sorted(lines))
    write_text(path, stream.getvalue())


def _sentence(paired: Paired, metric: Metric, num_labels: int) -> str:
    """Of the mean over labels where `num_labels` is 0."""
    where = f"on {paired.name}" if num_labels else "on the mean over labels"
    start = where[0].upper() + where[1:]
    count, unit = len(paired.cases), metric.unit
    mean, low, high = paired.difference
    if count == 0:
        return f"{start} there is no case to compare.{_beside(paired)}"
    if not any(b - a for a, b in zip(paired.a, paired.b, strict=True)):
        return (
            f"{start} both score the same in {_all(count)}: no difference is seen here; other "
            f"cases may show one.{_beside(paired)}"
        )
    better = "B" if (mean < 0) == metric.lower_is_better else "A"
    if count == 1:
        return (
            f"{better} is better {where} by {abs(mean):.3f}{unit} in the only case; one case says "
            f"nothing about others.{_beside(paired)}"
        )
    if low <= 0 <= high:
        largest = max(abs(low), abs(high))
        return (
            f"{start} neither is shown to be better: B - A is {mean:+.3f}{unit} "
            f"[{low:+.3f}, {high:+.3f}]; no mean difference larger than {largest:.3f}{unit} is "
            f"compatible with these {count} cases at 95 %.{_beside(paired)}"
        )
    near, far = sorted((abs(low), abs(high)))
    text = f"{better} is better {where} by {abs(mean):.3f}{unit} [{near:.3f}, {far:.3f}]"
    if abs(mean) <= metric.margin:
        text += f", less than the {metric.margin:g}{unit} that counts as a tie"
    p = paired.p_holm if num_labels else paired.p
    if p > _ALPHA:
        adjusted = f" after Holm's correction for {num_labels} labels" if num_labels > 1 else ""
        text += f"; but p = {p:.2g}{adjusted}: it may be chance"
    return f"{text}.{_beside(paired)}"


def _beside(paired: Paired) -> str:
    """What is in no mean."""
    parts = []
    for side, missed, alarms in (
        ("A", paired.missed_a, paired.alarms_a),
        ("B", paired.missed_b, paired.alarms_b),
    ):
        parts += [f"{side} alone has no number in {missed} case(s)"] * bool(missed)
        parts += [f"{side} marks it in {alarms} case(s) without it"] * bool(alarms)
    return f" In no mean: {', '.join(parts)}." if parts else ""


def _all(count: int) -> str:
    return f"all {count} cases" if count > 1 else "the only case"


def _entry(paired: Paired) -> dict[str, Any]:
    mean, *interval = paired.difference
    counts = ("p", "p_holm", "wins", "ties", "losses", "missed_a", "missed_b", "left_out")
    return {
        "value": paired.value,
        "name": paired.name,
        "cases": len(paired.cases),
        "mean_a": plain(paired.mean_a),
        "mean_b": plain(paired.mean_b),
        "difference": plain(mean),
        "ci95": plain(tuple(interval)),
        **{key: plain(getattr(paired, key)) for key in counts},
        "alarms_a": paired.alarms_a,
        "alarms_b": paired.alarms_b,
        "sizes": [
            {
                "name": group.name,
                "low": group.low,
                "high": group.high,
                "cases": group.cases,
                "difference": plain(group.difference.mean),
                "ci95": plain(tuple(group.difference[1:])),
            }
            for group in paired.sizes
        ],
    }
