"""Two methods on the same cases: paired differences, how sure they are, and what they depend on."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from attnseg.errors import DataError
from attnseg.evaluation.comparison import (
    Comparison,
    Lost,
    Metric,
    Paired,
    SizeGroup,
    better,
    find_metric,
)
from attnseg.evaluation.results import Evaluation, Score
from attnseg.evaluation.statistics import paired_difference

_MIN_FOR_SIZES = 6  # two cases a tertile: fewer give no interval
_DECIMALS = 12  # 0.75 - 0.5 and 0.5 - 0.25 are the same rank, whatever their last bits


def values(evaluation: Evaluation, metric: str) -> dict[int, dict[str, float]]:
    """Label value → case name → number; NaN where it is missing or infinite."""
    found: dict[int, dict[str, float]] = {}
    for case in evaluation.cases:
        for value, score in case.scores.items():
            number = getattr(score, metric, score.figures.get(metric))
            if number is None or not math.isfinite(number):
                number = math.nan
            found.setdefault(value, {})[case.name] = float(number)
    return found


def compare(a: Evaluation, b: Evaluation, *, metric: str = "dice") -> Comparison:
    """Compare two methods, case by case, on the cases that both have.

    Differences are B − A: positive means that B is better, of distances that A is. What one method
    misses and the other finds has no distance and no difference: it is lost for the one, and while
    there is any, no verdict follows from the means; see `Paired`.

    Args:
        a, b: what `evaluate` found, with the same references.
        metric: a field of `Score`, such as `dice`.

    Raises:
        DataError: no case that both have.
        UsageError: an unknown metric.
    """
    kind = find_metric(metric)
    if kind.unit:
        kind = kind._replace(unit=f" {a.distance_unit}")
    in_a, in_b = ({case.name for case in each.cases} for each in (a, b))
    common = sorted(in_a & in_b)
    if not common:
        raise DataError(
            f"no case that both A ({len(in_a)}) and B ({len(in_b)}) have; masks of the same case "
            "must have the same file name: rename them, or give the folders that belong together"
        )
    failed: dict[str, str] = {}
    for side, each in (("A", a), ("B", b)):
        for name, reason in each.failed.items():
            failed[name] = "; ".join(filter(None, (failed.get(name), f"{side}: {reason}")))
    scores_a, scores_b = ({case.name: case.scores for case in each.cases} for each in (a, b))
    names = {label.value: label.name for each in (a, b) for label in each.labels}
    table_a, table_b = values(a, metric), values(b, metric)
    labels: list[Paired] = []
    with_label: set[str] = set()
    millilitres = all(
        score.reference_ml is not None for case in a.cases for score in case.scores.values()
    )
    for value, name in sorted(names.items()):
        pairs = {case: (scores_a[case].get(value), scores_b[case].get(value)) for case in common}
        ours, theirs = table_a.get(value, {}), table_b.get(value, {})
        numbers = {case: (ours.get(case, math.nan), theirs.get(case, math.nan)) for case in common}
        labels.append(_label(value, name, kind, pairs, numbers, millilitres))
        with_label |= {case for case, pair in pairs.items() if _has(pair)}
    labels = _with_holm(labels)
    return Comparison(
        metric=kind,
        labels=tuple(labels),
        overall=_overall(labels, common, with_label, kind),
        cases=tuple(common),
        only_a=tuple(sorted(in_a - in_b - failed.keys())),
        only_b=tuple(sorted(in_b - in_a - failed.keys())),
        in_neither=tuple(sorted(set(a.not_predicted) & set(b.not_predicted))),
        failed=failed,
        volume_unit="ml" if millilitres else "pixels" if a.distance_unit == "px" else "voxels",
    )


def wilcoxon_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; zeros are left out (zero_method "wilcox").

    Returns:
        1 where all differences are zero, NaN where there are none.
    """
    from scipy.stats import wilcoxon

    rounded = np.round(differences, _DECIMALS)
    if not rounded.any():
        return 1.0 if len(rounded) else math.nan
    nonzero = rounded[rounded != 0]
    return float(wilcoxon(nonzero, zero_method="wilcox").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979, Scand. J. Stat. 6:65-70); NaN stay.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = list(p)
    order = sorted((i for i, each in enumerate(p) if not math.isnan(each)), key=lambda i: p[i])
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def size_groups(
    sizes: Sequence[float], a: Sequence[float], b: Sequence[float]
) -> tuple[SizeGroup, ...]:
    """The difference B − A in each third of the cases by size; cases of one size stay together.

    Cases where a number is NaN count for the size of a group, and are in no difference.
    """
    if len(sizes) < _MIN_FOR_SIZES:
        return ()
    size, ours, theirs = (np.asarray(each, float) for each in (sizes, a, b))
    group = np.searchsorted(np.quantile(size, (1 / 3, 2 / 3)), size)
    known = ~(np.isnan(ours) | np.isnan(theirs))
    return tuple(
        SizeGroup(
            name,
            float(size[group == index].min()),
            float(size[group == index].max()),
            int((known & (group == index)).sum()),
            int((group == index).sum()),
            paired_difference(theirs[group == index], ours[group == index]),
        )
        for index, name in enumerate(("small", "middle", "large"))
        if (group == index).any()
    )


def _label(
    value: int,
    name: str,
    metric: Metric,
    scores: Mapping[str, tuple[Score | None, Score | None]],
    numbers: Mapping[str, tuple[float, float]],
    millilitres: bool,
) -> Paired:
    both = [case for case, pair in numbers.items() if not any(map(math.isnan, pair))]
    present, found, alarms, sizes = 0, [0, 0], [0, 0], {}
    lost: list[Lost] = []
    for case, pair in scores.items():
        score = pair[0] or pair[1]
        if score is None:
            continue
        sizes[case] = (score.reference_ml or 0.0) if millilitres else score.reference_voxels
        has = [each is not None and each.predicted_voxels > 0 for each in pair]
        unknown = [math.isnan(number) for number in numbers[case]]
        if score.reference_voxels:
            present += 1
            found = [n + each for n, each in zip(found, has, strict=True)]
            if unknown[0] != unknown[1]:
                lost.append(Lost(case, "A" if unknown[0] else "B", "missed", *numbers[case]))
        else:
            alarms = [n + each for n, each in zip(alarms, has, strict=True)]
            if has[0] != has[1] and any(unknown):
                lost.append(Lost(case, "A" if has[0] else "B", "false alarm", *numbers[case]))
    paired = _paired(
        value, name, both, [numbers[case][0] for case in both],
        [numbers[case][1] for case in both], metric, lost,
    )  # fmt: skip
    sized = [*both, *(each.case for each in lost if each.why == "missed")]
    return dataclasses.replace(
        paired,
        of=sum(map(_has, scores.values())),
        left_out=len(numbers) - len(both) - len(lost),
        present=present,
        found_a=found[0],
        found_b=found[1],
        alarms_a=alarms[0],
        alarms_b=alarms[1],
        sizes=size_groups(
            [sizes[case] for case in sized],
            [numbers[case][0] for case in sized],
            [numbers[case][1] for case in sized],
        ),
    )


def _has(pair: tuple[Score | None, Score | None]) -> bool:
    """Whether the reference or a method has the label."""
    return any(each and (each.reference_voxels or each.predicted_voxels) for each in pair)


def _paired(
    value: int | None,
    name: str,
    cases: Sequence[str],
    a: Sequence[float],
    b: Sequence[float],
    metric: Metric,
    lost: Sequence[Lost],
) -> Paired:
    ours, theirs = np.array(a, float), np.array(b, float)
    change = theirs - ours
    gain = np.round(-change if metric.lower_is_better else change, _DECIMALS)
    signs = (gain > metric.margin).astype(int) - (gain < -metric.margin)
    outcomes = dict(zip(cases, signs.tolist(), strict=True))
    outcomes |= _by_faults(lost, outcomes)
    counts = Counter(outcomes.values())
    difference = paired_difference(theirs, ours)
    judged = _is_judged(better(difference, metric), lost, wins=counts[1], losses=counts[-1])
    return Paired(
        value=value,
        name=name,
        cases=tuple(cases),
        of=len(cases),
        a=tuple(a),
        b=tuple(b),
        difference=difference,
        p=wilcoxon_p(change) if judged else math.nan,
        p_holm=math.nan,
        judged=judged,
        wins=counts[1],
        ties=counts[0],
        losses=counts[-1],
        compared=len(cases),
        lost=tuple(lost),
    )


def _by_faults(lost: Sequence[Lost], by_number: Collection[str]) -> dict[str, int]:
    """Case → 1 where A alone is at fault or more often, −1 where B is; 0 where both are as often
    and no number decides.
    """
    faults = Counter[str]()
    for each in lost:
        faults[each.case] += 1 if each.by == "A" else -1
    return {
        case: int(np.sign(balance))
        for case, balance in faults.items()
        if balance or case not in by_number
    }


def _is_judged(winner: str, lost: Sequence[Lost], *, wins: int, losses: int) -> bool:
    """Whether the means may say that `winner` is better; see `Paired`."""
    if any(each.why == "missed" for each in lost):
        return False
    alarms = Counter(each.by for each in lost)
    if winner == "B":
        return alarms["B"] <= alarms["A"] or wins > losses
    return not winner or alarms["A"] <= alarms["B"] or losses > wins


def _with_holm(labels: Sequence[Paired]) -> list[Paired]:
    adjusted = holm([label.p for label in labels])
    return [dataclasses.replace(label, p_holm=p) for label, p in zip(labels, adjusted, strict=True)]


def _overall(
    labels: Sequence[Paired],
    common: Sequence[str],
    with_label: Collection[str],
    metric: Metric,
) -> Paired:
    """Each case's mean over the labels for which both have a number."""
    numbers: dict[str, list[tuple[float, float]]] = {}
    for label in labels:
        for case, a, b in zip(label.cases, label.a, label.b, strict=True):
            numbers.setdefault(case, []).append((a, b))
    cases = [case for case in common if case in numbers]
    means = [np.mean(numbers[case], axis=0) for case in cases]
    lost = [each for label in labels for each in label.lost]
    paired = _paired(
        None, "mean over labels", cases, [float(each[0]) for each in means],
        [float(each[1]) for each in means], metric, lost,
    )  # fmt: skip
    sums = {
        field: sum(getattr(label, field) for label in labels)
        for field in ("compared", "present", "found_a", "found_b", "alarms_a", "alarms_b")
    }
    counted = paired.wins + paired.ties + paired.losses
    return dataclasses.replace(paired, of=len(with_label), left_out=len(common) - counted, **sums)
