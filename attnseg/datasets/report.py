"""What a check found, as one object and as JSON."""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.findings import SEVERITIES, Finding, count_severities
from attnseg.files import write_text
from attnseg.whereabouts import all_told

_PACKAGES = ("attnseg", "numpy", "nibabel")


@dataclass(frozen=True)
class Check:
    """A data set, or single scans, and all that was found.

    Args:
        data: what was checked, as the user named it.
        understood: how it was understood, in lines.
        facts: of each case.
        findings: in any order.
        label_names: label value → name, as far as known.
        pictures: whether the cases are pictures, whose pixels have no known size.
        places: the same as paths; texts that are written say where they lie in short.
    """

    data: str
    understood: str
    facts: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]
    label_names: Mapping[int, str] = field(default_factory=dict)
    pictures: bool = False
    places: tuple[Path, ...] = ()

    @property
    def by_severity(self) -> list[Finding]:
        """The findings, the gravest first."""
        return sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))

    @property
    def volumes(self) -> dict[int, dict[str, float]]:
        """Label value → case → its volume in ml, of a picture its pixels."""
        found: dict[int, dict[str, float]] = {}
        for case in self.facts:
            sizes = case.label_counts if self.pictures else case.volumes_ml
            for value, size in sizes.items():
                if value != 0:
                    found.setdefault(value, {})[case.name] = size
        return dict(sorted(found.items()))

    def counts(self) -> str:
        """How many findings of which severity, in one line."""
        counted = ", ".join(
            f"{count} {severity}" for severity, count in count_severities(self.findings).items()
        )
        return f"{len(self.facts)} case(s): {counted}"


def save_json(check: Check, path: Path) -> None:
    """Write what was found as JSON, version 1 of its schema.

    Keys: `version`; `versions` of packages; `data`; `understood`; `counts` by severity; `findings`
    with case, severity, problem, remedy, mend (null where there is none); `cases` with the fields
    of `CaseFacts`, numbers that are none as null.
    """
    content = {
        "version": 1,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
        "data": check.data,
        "understood": check.understood.splitlines(),
        "counts": count_severities(check.findings),
        "findings": [
            {
                "case": finding.case,
                "severity": finding.severity,
                "problem": finding.problem,
                "remedy": finding.remedy,
                "mend": finding.mend,
            }
            for finding in check.by_severity
        ],
        "cases": [_case(case) for case in check.facts],
    }
    content = all_told(content, path.parent, check.places)
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _case(facts: CaseFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "shape": facts.shape,
        "spacing_mm": facts.spacing_mm,
        "orientation": facts.orientation,
        "label_voxels": facts.label_counts,
        "label_volumes_ml": facts.volumes_ml,
        "label_centres_mm": facts.label_centres_mm,
        "intensity": [
            {key: value if math.isfinite(value) else None for key, value in asdict(each).items()}
            for each in facts.intensity
        ],
        "image_digest": facts.image_digest,
        "label_digest": facts.label_digest,
        "notes": facts.notes,
    }
