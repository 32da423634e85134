"""What is odd in a data set without stopping training: told, with wide tolerances.

A warning that comes with every data set is not read, so each rule leaves sound ones alone.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from attnseg.datasets.cases import Dataset
from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.findings import Finding, alike
from attnseg.sides import find_sides

# With fewer cases nothing is unlike the rest.
_ENOUGH = 10
# More cases than this with the same oddity are told of in one finding.
_FEW = 5
# Robust z of the log volume, and how many times larger or smaller than the median.
_FAR_Z, _FAR_TIMES = 6.0, 4.0
# Volumes of one organ differ by this much (as a standard deviation of the logarithm) at least.
_SMALLEST_SPREAD = 0.15
_OTHER_SPACING, _OTHER_FIELD = 2.0, 3.0  # times the median, or a part of it
_SELDOM = 0.1  # a share of the cases
_WRONG_SIDE_MM = 5.0
_CT = re.compile(r"(?<![a-z])(cb)?ct(?![a-z])|hounsfield", re.IGNORECASE)
_TIME_POINT = re.compile(
    r"(.+)[_-](ph|phase|t|tp|time|timepoint|frame|visit|day|week|month|year|ses|session|scan|study|"
    r"slice|pre|post|baseline|followup|ed|es)[_-]?\d*",
    re.IGNORECASE,
)


def find_oddities(
    dataset: Dataset, facts: Sequence[CaseFacts], *, patient_pattern: str | None = None
) -> list[Finding]:
    """Warnings and harmless findings across cases.

    Args: as of `attnseg.datasets.find_problems`.
    """
    usable = [case for case in facts if case.usable]
    found = [*_patients(dataset, patient_pattern), *_notes(facts)]
    if dataset.pictures:  # which know neither sides nor sizes nor Hounsfield units
        return found
    return [
        *found,
        *folded(_sides(dataset, usable)),
        *folded(_units(dataset.channel_names, facts)),
        *_volumes(dataset.label_names, usable),
        *folded(_spacings(usable)),
        *folded(_orientations(usable)),
    ]


def find_scan_oddities(facts: Sequence[CaseFacts]) -> list[Finding]:
    """The same of scans without masks, which may be of any kind: only what readers settled."""
    return _notes(facts)


def folded(findings: Sequence[Finding]) -> list[Finding]:
    """More than five findings of one rule as a single one, which names the first case."""
    if len(findings) <= _FEW:
        return list(findings)
    first = findings[0]
    cases = len({finding.case for finding in findings})  # a case may have one for each channel
    problem = f"{cases} case{'s' * (cases > 1)}, such as {first.case}: {first.problem}"
    if cases < len(findings):
        problem += f" ({len(findings)} such findings)"
    return [Finding("dataset", first.severity, problem, first.remedy)]


def fold_alike(findings: Iterable[Finding]) -> list[Finding]:
    """The same thing in many cases, numbers apart, told once."""
    kinds = alike((finding, f"{finding.problem}; {finding.remedy}") for finding in findings)
    return [finding for kind in kinds for finding in folded(kind)]


def _patients(dataset: Dataset, pattern: str | None) -> Iterator[Finding]:
    """Case names that look like several scans of one patient, when nobody said whose they are."""
    if pattern is not None or dataset.patients:
        return
    scans: dict[str, list[str]] = defaultdict(list)
    markers: Counter[str] = Counter()
    for case in dataset.cases:
        if match := _TIME_POINT.fullmatch(case.name):
            scans[match[1]].append(case.name)
            markers[match[2]] += 1
    several = [names for names in scans.values() if len(names) > 1]
    # A single stem is a series of cases, not a patient.
    if several and len(scans) > 1:
        problem = (
            f"{sum(map(len, several))} cases seem to be scans of {len(several)} patient(s), "
            f"such as {several[0][0]} and {several[0][1]}, and may be trained on and held out "
            "at once"
        )
        marker = markers.most_common(1)[0][0]
        remedy = f"set data.patient_pattern, perhaps to '(.+)[_-]{marker}', or rename the cases"
        yield Finding("dataset", "warning", problem, remedy)


def _sides(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Labels and regions named left that lie on the right of their partners."""
    structures = [
        *((f"label {value} ({name})", (value,)) for value, name in dataset.label_names.items()),
        *((f"region {region.name}", region.members) for region in dataset.regions),
    ]
    names = [*dataset.label_names.values(), *(region.name for region in dataset.regions)]
    findings = []
    remedy = (
        "look at it in a viewer: either the names of the two are exchanged or the header mixes up "
        "left and right"
    )
    for pair in find_sides(dict(enumerate(names))).pairs:
        (left, of_left), (right, of_right) = (structures[each] for each in pair)
        for case in facts:
            beyond_mm = _right_mm(case, of_left) - _right_mm(case, of_right)
            if beyond_mm > _WRONG_SIDE_MM:
                problem = f"{left} lies {beyond_mm:.0f} mm to the patient's right of {right}"
                findings.append(Finding(case.name, "warning", problem, remedy))
    return findings


def _right_mm(case: CaseFacts, values: Sequence[int]) -> float:
    """How far to the patient's right (x grows so) the labels' centre lies; NaN without a voxel."""
    found = [value for value in values if value in case.label_centres_mm]
    if not found:
        return math.nan
    voxels = [case.label_counts.get(value, 1) for value in found]
    return float(np.average([case.label_centres_mm[value][0] for value in found], weights=voxels))


def _units(channels: Sequence[str], facts: Sequence[CaseFacts]) -> list[Finding]:
    """Channels named CT whose numbers are no Hounsfield units."""
    findings = []
    for number, name in enumerate(channels):
        if not _CT.search(name):
            continue
        for case in facts:
            if len(case.intensity) <= number:
                continue
            low, high = case.intensity[number].min, case.intensity[number].max
            if not (what := _unlike_hounsfield(low, high)):
                continue
            problem = f"channel {number} ({name}) has values {low:g} to {high:g}: perhaps {what}"
            remedy = (
                "give Hounsfield units, in which air is about -1000, or rename the channel; all "
                "cases must have the same unit"
            )
            findings.append(Finding(case.name, "warning", problem, remedy))
    return findings


def _unlike_hounsfield(low: float, high: float) -> str:
    """What was done to Hounsfield units, by the range of a scan, which holds air or fat below 0."""
    if -20 <= low < high <= 20:
        return "scaled to 0..1 or normalised"
    if low < 0 or not low < high:
        return ""
    return "scaled to 8 bits" if high <= 255 else "shifted by 1024"


def _notes(facts: Sequence[CaseFacts]) -> list[Finding]:
    """What readers had to settle; the same thing in many cases is told once."""
    findings = []
    for case in facts:
        for note in case.notes:
            # As errors do, notes say "what was found; what was made of it".
            problem, _, settled = note.rpartition("; ")
            remedy = (
                f"{settled}: see whether that is right" if problem else "see whether it is right"
            )
            problem = problem or note
            findings.append(Finding(case.name, "harmless", problem, remedy))
    return fold_alike(findings)


def _volumes(names: Mapping[int, str], facts: Sequence[CaseFacts]) -> list[Finding]:
    """Labels far larger or smaller than in the other cases."""
    volumes: dict[int, dict[str, float]] = defaultdict(dict)
    for case in facts:
        for value, volume_ml in case.volumes_ml.items():
            volumes[value][case.name] = volume_ml
    findings = []
    for value, by_case in sorted(volumes.items()):
        if len(by_case) < _ENOUGH:
            continue
        logs = np.log(list(by_case.values()))
        middle = np.median(logs)
        spread = max(_SMALLEST_SPREAD, 1.4826 * float(np.median(np.abs(logs - middle))))
        beyond = max(_FAR_Z * spread, float(np.log(_FAR_TIMES)))
        low, high = np.exp(np.percentile(logs, (5, 95)))
        of_label = []
        for (name, volume_ml), log in zip(by_case.items(), logs, strict=True):
            if abs(log - middle) > beyond:
                label = f"label {value} ({names[value]})" if value in names else f"label {value}"
                problem = f"{label} has {volume_ml:.3g} ml, most others {low:.3g} to {high:.3g} ml"
                remedy = "look whether its mask is whole, and drawn on this scan"
                of_label.append(Finding(name, "harmless", problem, remedy))
        findings += folded(of_label)
    return findings


def _spacings(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Voxels or a field of view of another size than those of the other cases."""
    if len(facts) < _ENOUGH:
        return []
    spacing = np.array([case.ras_spacing_mm for case in facts])
    field = spacing * np.array([case.ras_shape for case in facts])
    findings = []
    for what, sizes, times in (
        ("voxels of", spacing, _OTHER_SPACING),
        ("a field of view of", field, _OTHER_FIELD),
    ):
        middle = np.median(sizes, axis=0)
        other = (np.abs(np.log(sizes / middle)) > np.log(times)).any(axis=1)
        if other.mean() > _SELDOM:  # a set of two kinds of scans
            continue
        for index in np.flatnonzero(other).tolist():
            problem = f"{what} {_millimetres(sizes[index])}, most others {_millimetres(middle)}"
            remedy = "fine if it was scanned so; otherwise correct the spacing in its header"
            findings.append(Finding(facts[index].name, "harmless", problem, remedy))
    return findings


def _orientations(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Files that store their axes in another order than nearly all others."""
    if len(facts) < _ENOUGH:
        return []
    usual, count = Counter(case.orientation for case in facts).most_common(1)[0]
    if count < (1 - _SELDOM) * len(facts):
        return []
    remedy = "no harm done if its header is right: see that left and right are"
    return [
        Finding(case.name, "harmless", f"stored as {case.orientation}, others as {usual}", remedy)
        for case in facts
        if case.orientation != usual
    ]


def _millimetres(sizes: np.ndarray) -> str:
    return " × ".join(f"{size:.3g}" for size in sizes) + " mm"
