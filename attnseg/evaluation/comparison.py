"""What a comparison of two methods found, as plain objects."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

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
        cases: how many.
        difference: B − A, with its interval.
    """

    name: str
    low: float
    high: float
    cases: int
    difference: Difference


@dataclasses.dataclass(frozen=True)
class Paired:
    """One label, or the mean over labels, of the cases where both methods have a number.

    Args:
        value: of the label; None for the mean over labels.
        name: of the label.
        cases: their names.
        a, b: numbers of both methods, as `cases`.
        difference: mean of B − A, with its 95 % interval.
        p: Wilcoxon's signed-rank test, two-sided; NaN without a case.
        p_holm: adjusted over the labels; NaN for the mean over labels.
        wins, ties, losses: cases where B is better, within the margin, worse; where the reference
            has the label and one method's number is missing, that one has lost.
        missed_a, missed_b: cases among these where the number of A (of B) is missing.
        left_out: cases without a number of either, or without the label in the reference.
        alarms_a, alarms_b: cases where the reference lacks the label and A (B) has some.
        sizes: by volume in the reference, small first; empty for fewer than six cases.
    """

    value: int | None
    name: str
    cases: tuple[str, ...]
    a: tuple[float, ...]
    b: tuple[float, ...]
    difference: Difference
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    missed_a: int = 0
    missed_b: int = 0
    left_out: int = 0
    alarms_a: int = 0
    alarms_b: int = 0
    sizes: tuple[SizeGroup, ...] = ()

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
        """Case → label name → numbers of A and B."""
        found: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in self.cases}
        for label in self.labels:
            for name, a, b in zip(label.cases, label.a, label.b, strict=True):
                found[name][label.name] = (a, b)
        return found

    def worst(self) -> list[str]:
        """The ten cases where the worse method's mean over labels is worst."""
        sign = -1 if self.metric.lower_is_better else 1
        triples = zip(self.overall.cases, self.overall.a, self.overall.b, strict=True)
        ranked = sorted((min(sign * a, sign * b), name) for name, a, b in triples)
        return [name for _, name in ranked[:NUM_SHOWN]]

    def most_changed(self) -> list[str]:
        """The ten cases with the largest difference on any label, ties left out."""
        largest = {
            name: max((abs(b - a) for a, b in labels.values()), default=0.0)
            for name, labels in self.by_case().items()
        }
        ranked = sorted((-size, name) for name, size in largest.items())
        return [name for size, name in ranked[:NUM_SHOWN] if -size > self.metric.margin]


def find_metric(field: str) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: none of `METRICS`.
    """
    if field not in METRICS:
        raise UsageError(f"--metric {field}: not known; choose from {', '.join(METRICS)}")
    return METRICS[field]
