"""What a comparison of two methods found, as plain objects."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from attnseg.errors import UsageError
from attnseg.evaluation.metrics import mean
from attnseg.evaluation.statistics import Difference

NUM_SHOWN = 10  # cases in each list of cases


class Metric(NamedTuple):
    """A number of `Score` by which masks are compared.

    Args:
        field: of `Score`, or of its `figures`.
        title: for people.
        margin: differences up to this are ties.
        lower_is_better: as of distances.
        unit: behind the numbers, with a space before; empty for ratios. `compare` puts px for
            pictures.
    """

    field: str
    title: str
    margin: float
    lower_is_better: bool = False
    unit: str = ""

    @property
    def heading(self) -> str:
        """The title with the unit, as "HD95 in mm"."""
        return f"{self.title} in{self.unit}" if self.unit else self.title


METRICS = {
    metric.field: metric
    for metric in (
        Metric("dice", "Dice", 0.001),
        Metric("iou", "IoU", 0.001),
        Metric("nsd", "NSD", 0.001),
        Metric("hd95_mm", "HD95", 0.01, lower_is_better=True, unit=" mm"),
        Metric("assd_mm", "ASSD", 0.01, lower_is_better=True, unit=" mm"),
    )
}


@dataclasses.dataclass(frozen=True)
class SizeGroup:
    """A third of a label's cases by volume in the reference.

    Args:
        name: small, middle or large.
        low, high: least and largest volume, in ml, or in voxels or pixels where that is not known.
        cases: how many of them both methods have a number for.
        of: how many there are.
        difference: B − A over `cases`, with its interval.
    """

    name: str
    low: float
    high: float
    cases: int
    of: int
    difference: Difference


class Lost(NamedTuple):
    """A label in a case that one method alone gets wrong so that it has no pair of numbers.

    Args:
        case: its name.
        by: the method that is wrong.
        why: it misses what the reference has and the other method finds; or it marks what neither
            the reference nor the other method has.
        a, b: numbers of both methods; NaN where there is none.
    """

    case: str
    by: Literal["A", "B"]
    why: Literal["missed", "false alarm"]
    a: float
    b: float

    def __str__(self) -> str:
        return f"{self.why}{' by' if self.why == 'missed' else ' of'} {self.by}"


@dataclasses.dataclass(frozen=True)
class Paired:
    """One label, or the mean over labels: the cases where both methods have a number, and the rest.

    Of the mean over labels `compared`, `lost`, `present`, `found_*` and `alarms_*` count
    structures: a label in a case.

    Args:
        value: of the label; None for the mean over labels.
        name: of the label.
        cases: names of the cases where both have a number.
        of: how many cases there are in which the reference or a method has the label.
        a, b: numbers of both methods, as `cases`.
        difference: mean of B − A over `cases`, with its 95 % interval.
        p: Wilcoxon's signed-rank test, two-sided; NaN without a case, or without a verdict.
        p_holm: adjusted over the labels; NaN for the mean over labels.
        judged: whether the means may say which method is better: not where one misses what the
            other finds, nor where the better one loses as many cases as it wins, or more, and has
            more false alarms of its own than the other.
        wins, ties, losses: cases where B is better, within the margin, worse; a case in `lost` is
            lost for the method at fault. For the mean over labels: for the one at fault more often.
        compared: numbers that both have.
        lost: what has no pair of numbers through the fault of one method.
        left_out: cases in none of these: without a number of either, or without the label.
        present: cases where the reference has the label.
        found_a, found_b: those of them where A (B) has voxels of it.
        alarms_a, alarms_b: cases where the reference lacks the label and A (B) has some.
        sizes: by volume in the reference, small first; empty for fewer than six cases.
    """

    value: int | None
    name: str
    cases: tuple[str, ...]
    of: int
    a: tuple[float, ...]
    b: tuple[float, ...]
    difference: Difference
    p: float
    p_holm: float
    judged: bool
    wins: int
    ties: int
    losses: int
    compared: int
    lost: tuple[Lost, ...] = ()
    left_out: int = 0
    present: int = 0
    found_a: int = 0
    found_b: int = 0
    alarms_a: int = 0
    alarms_b: int = 0
    sizes: tuple[SizeGroup, ...] = ()

    def lost_by(self, method: str, why: str) -> int:
        """How often a method is at fault; `why` as of `Lost`."""
        return sum(each.by == method and each.why == why for each in self.lost)

    @property
    def mean_a(self) -> float:
        """Of the cases that both have; NaN without one."""
        return mean(self.a)

    @property
    def mean_b(self) -> float:
        """Of the cases that both have; NaN without one."""
        return mean(self.b)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        metric: what was compared.
        labels: by label value.
        overall: of each case's mean over the labels for which both have a number.
        cases: names of the cases that both have.
        only_a, only_b: names of cases that only one has.
        in_neither: names of references that neither has.
        failed: why a case could not be compared, by name.
        volume_unit: of the size groups: "ml"; "pixels" for pictures, "voxels" where some are.
    """

    metric: Metric
    labels: tuple[Paired, ...]
    overall: Paired
    cases: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    in_neither: tuple[str, ...]
    failed: Mapping[str, str]
    volume_unit: str

    @property
    def complete(self) -> bool:
        """Whether every case of A has its pair in B, and the other way round."""
        return not (self.failed or self.only_a or self.only_b)

    def by_case(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Case → label name → numbers of A and B; NaN where one has none by a fault of one."""
        found: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in self.cases}
        for label in self.labels:
            for name, a, b in zip(label.cases, label.a, label.b, strict=True):
                found[name][label.name] = (a, b)
            for each in label.lost:
                found[each.case][label.name] = (each.a, each.b)
        return found

    def lost(self) -> dict[str, dict[str, Lost]]:
        """Case → label name → by whose fault there is no pair of numbers; no other cases."""
        found: dict[str, dict[str, Lost]] = {}
        for label in self.labels:
            for each in label.lost:
                found.setdefault(each.case, {})[label.name] = each
        return found

    def worst(self) -> list[str]:
        """Ten cases: those with most faults without a number, then those whose mean over labels,
        of the worse method, is worst.
        """
        sign = -1 if self.metric.lower_is_better else 1
        triples = zip(self.overall.cases, self.overall.a, self.overall.b, strict=True)
        means = {name: min(sign * a, sign * b) for name, a, b in triples}
        lost = self.lost()
        ranked = sorted(
            (-len(lost.get(name, ())), means.get(name, math.inf), name)
            for name in means.keys() | lost.keys()
        )
        return [name for *_, name in ranked[:NUM_SHOWN]]

    def most_changed(self) -> list[str]:
        """Ten cases: those with a label that one method alone gets wrong without a number, then
        those with the largest difference on any label, ties left out.
        """
        lost = self.lost()
        largest = {
            name: math.inf
            if name in lost
            else max((abs(b - a) for a, b in labels.values()), default=0.0)
            for name, labels in self.by_case().items()
        }
        ranked = sorted((-size, name) for name, size in largest.items())
        return [name for size, name in ranked[:NUM_SHOWN] if -size > self.metric.margin]


def better(difference: Difference, metric: Metric) -> Literal["A", "B", ""]:
    """The method that the interval of B − A says is better; neither where it holds 0.

    A single case has no interval: its difference decides.
    """
    mean, low, high = difference
    if math.isnan(mean) or mean == 0 or low <= 0 <= high:
        return ""
    return "B" if (mean < 0) == metric.lower_is_better else "A"


def find_metric(field: str) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: none of `METRICS`.
    """
    if field not in METRICS:
        raise UsageError(f"--metric {field}: not known; choose from {', '.join(METRICS)}")
    return METRICS[field]
