"""What is wrong with a data set, in words that name the case, the problem and the remedy."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from attnseg.errors import DataError

_T = TypeVar("_T")
Severity = Literal["fatal", "fixable", "warning", "harmless"]
SEVERITIES: tuple[Severity, ...] = ("fatal", "fixable", "warning", "harmless")
# What `attnseg check --fix` does, in the order in which it does it.
Mend = Literal["leave out", "reorient", "copy header", "resample", "fill", "straighten"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        case: name of the case; "dataset" where it concerns all of them.
        severity: "fatal" stops training and needs a person; "fixable" stops it too, and
            `attnseg check --fix` mends it in a copy; "warning" stops nothing, but is likely to
            spoil the model or its scores; "harmless" was settled by a rule, or may well be right.
        problem: what is wrong, with the values that show it.
        remedy: what the user can do.
        mend: what `attnseg check --fix` does about it; None where it does nothing.
        files: that are left out of the corrected copy, where that is the mend.
    """

    case: str
    severity: Severity
    problem: str
    remedy: str
    mend: Mend | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        assert (self.severity == "fixable") == (self.mend is not None), self

    def __str__(self) -> str:
        return f"{self.case}: {self.problem}; {self.remedy}"

    @property
    def stops(self) -> bool:
        """Whether it stops training."""
        return self.severity in ("fatal", "fixable")


def alike(texts: Iterable[tuple[_T, str]]) -> list[list[_T]]:
    """Groups of things of which the same is said, numbers apart, in the order of the first of each.

    Args:
        texts: each thing, and what is said of it.
    """
    groups: dict[str, list[_T]] = {}
    for thing, text in texts:
        groups.setdefault(re.sub(r"[\d.]+", "#", text), []).append(thing)
    return list(groups.values())


def count_severities(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many findings there are of each severity, the gravest first."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES}


def raise_if_fatal(findings: Iterable[Finding]) -> None:
    """Stop with one error that lists all findings that stop training, one per line, if any does.

    Raises:
        DataError: at least one finding is fatal or fixable.
    """
    stopping = [finding for finding in findings if finding.stops]
    if not stopping:
        return
    fixable = count_severities(stopping)["fixable"]
    mended = (
        f", {fixable} of which `attnseg check DATA --fix OUT` mends in a corrected copy"
        if fixable
        else ""
    )
    raise DataError(
        "\n".join(
            [
                f"the data set has {len(stopping)} problem(s) that stop training{mended}:",
                *map(str, stopping),
            ]
        )
    )
