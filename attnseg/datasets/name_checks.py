"""What of the cases' names will not hold elsewhere."""

from collections.abc import Iterable

from attnseg.datasets.findings import Finding
from attnseg.names import WINDOWS_REMEDY, differing_in_case_only, windows_note


def find_name_problems(names: Iterable[str]) -> list[Finding]:
    """Names that differ in capitals alone, and names that Windows cannot hold.

    Args:
        names: of all cases or scans; a mask is called by its case's name and `.nii.gz`.
    """
    names = list(names)
    findings = [
        Finding(
            group[0],
            "warning",
            f"{', '.join(group)} differ in capitals alone",
            "on Windows and macOS the mask of one would be written over that of the other; rename "
            "all but one",
        )
        for group in differing_in_case_only(names)
    ]
    if problem := windows_note(f"{name}.nii.gz" for name in names):
        findings.append(Finding("dataset", "harmless", problem, WINDOWS_REMEDY))
    return findings
