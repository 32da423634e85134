"""What is wrong with a data set, in words that name the case, the problem and the remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from attnseg.errors import DataError


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        case: name of the case; "dataset" where it concerns all of them.
        severity: "fatal" stops training, "warning" does not.
        problem: what is wrong, with the values that show it.
        remedy: what the user can do.
    """

    case: str
    severity: Literal["fatal", "warning"]
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.case}: {self.problem}; {self.remedy}"


def raise_if_fatal(findings: Iterable[Finding]) -> None:
    """Stop with one error that lists all fatal findings, one per line, if there is any.

    Raises:
        DataError: at least one finding is fatal.
    """
    fatal = [finding for finding in findings if finding.severity == "fatal"]
    if fatal:
        raise DataError(
            "\n".join([f"the data set has {len(fatal)} fatal problem(s):", *map(str, fatal)])
        )
