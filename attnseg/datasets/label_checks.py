"""Plain rules on the label values of all masks together: declared, found, lacking, interpolated."""

from collections import defaultdict
from collections.abc import Sequence

from attnseg.datasets.cases import Dataset
from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.findings import Finding
from attnseg.datasets.interpolated import FEWEST, PART, SHARE

# A label that fewer masks than this share lack is annotated as a rule: its absence is odd.
_SELDOM = 0.25


def label_value_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Label values that are missing, undeclared, or in a single mask only."""
    names = dataset.label_names
    cases_with: dict[int, list[str]] = defaultdict(list)
    for case in facts:
        for value in case.label_counts:
            if value != 0:
                cases_with[value].append(case.name)
    if not cases_with:
        if not any(case.label_counts for case in facts):
            return []  # no mask could be read, which each case says itself
        remedy = "check that the masks are the right files"
        return [Finding("dataset", "fatal", "no mask has any voxel that is not 0", remedy)]

    findings = []
    absent = [f"{value} ({name})" for value, name in names.items() if value not in cases_with]
    if absent:
        problem = f"no mask has the declared label(s) {', '.join(absent)}"
        remedy = "nothing will be learnt for them; check `labels` in dataset.json"
        findings.append(Finding("dataset", "harmless", problem, remedy))

    undeclared = {value: cases for value, cases in cases_with.items() if value not in names}
    # A value that one mask alone has is nearly always a slip of the annotator or a wrong file.
    several = sum(bool(case.label_counts) for case in facts) > 1
    stray: dict[str, list[int]] = defaultdict(list)
    for value, cases in undeclared.items():
        if len(cases) == 1 and several:
            stray[cases[0]].append(value)
    for case_name, values in stray.items():
        problem = f"label value(s) {_listed(values)} occur in this case only"
        remedy = "correct the mask, or name the value under `labels` in dataset.json"
        findings.append(Finding(case_name, "fatal", problem, remedy))

    shared = [value for value, cases in undeclared.items() if len(cases) > 1]
    if dataset.regions and shared:
        problem = f"label value(s) {_listed(shared)} occur in the masks but in no region"
        remedy = "add them to a region under `labels` in dataset.json, or correct the masks"
        findings.append(Finding("dataset", "fatal", problem, remedy))
    elif names and shared:
        problem = f"label value(s) {_listed(shared)} occur in the masks but are not declared"
        remedy = "name them under `labels` in dataset.json; they are trained as labels of their own"
        findings.append(Finding("dataset", "harmless", problem, remedy))
    return findings


def partial_label_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Masks against `labels_present`, and labels that look as if some masks lacked them."""
    findings = []
    present = {case.name: case.labels_present for case in dataset.cases}
    for case in facts:
        drawn = present.get(case.name)
        unlisted = [] if drawn is None else sorted(case.label_counts.keys() - {0, *drawn})
        if unlisted:
            problem = f"its mask has label value(s) {_listed(unlisted)}, not in its labels_present"
            remedy = "list them there or correct the mask"
            findings.append(Finding(case.name, "fatal", problem, remedy))

    # Empty masks and unusable cases have findings of their own.
    complete = [
        case
        for case in facts
        if case.usable and any(case.label_counts) and not present.get(case.name)
    ]
    for value, name in dataset.label_names.items():
        lacking = [case.name for case in complete if value not in case.label_counts]
        if lacking and len(lacking) < _SELDOM * len(complete):
            problem = (
                f"{len(lacking)} of {len(complete)} masks, such as that of {lacking[0]}, lack the "
                f"label {value} ({name})"
            )
            remedy = (
                "fine if it is not there; where it was not drawn, list the labels that were under "
                "`labels_present` in dataset.json"
            )
            findings.append(Finding("dataset", "harmless", problem, remedy))
    return findings


def interpolation_findings(facts: Sequence[CaseFacts]) -> list[Finding]:
    """One warning where values that nobody named lie only at the edges of others."""
    looked: dict[int, list[int]] = {}
    for case in facts:
        for value, pair in case.between.items():
            total = looked.setdefault(value, [0, 0])
            total[0] += pair[0]
            total[1] += pair[1]
    edges = {value for value, (seen, between) in looked.items() if between >= SHARE * seen}
    masks = [case for case in facts if len(edges & case.between.keys()) >= FEWEST]
    if not masks or len(edges) < PART * len(looked):
        return []
    shown = sorted(edges.intersection(*[case.between for case in masks]) or edges)
    labelled = sum(any(case.label_counts) for case in facts)
    problem = (
        f"{len(edges)} label values, such as {', '.join(map(str, shown[:3]))}, lie only at "
        f"the edges of others, each between a smaller and a larger one, in {len(masks)} of "
        f"{labelled} masks, such as that of {masks[0].name}: so look masks that were resized with "
        "interpolation or kept as JPEG"
    )
    remedy = (
        "make the masks anew from the originals, resized by nearest neighbour; if the values are "
        "meant, name them under `labels` in dataset.json"
    )
    return [Finding("dataset", "warning", problem, remedy)]


def spelling_findings(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Masks of pictures in which 255 means 1."""
    white = [case.name for case in facts if case.white_as_one]
    if not white:
        return []
    problem = f"{len(white)} mask(s), such as that of {white[0]}, hold 255 where others hold 1"
    return [Finding("dataset", "harmless", problem, "no harm done; 255 counts as label 1 in them")]


def label_in_words(dataset: Dataset, value: int) -> str:
    """A label by its value and, where it has one, its name, such as "1 (liver)"."""
    name = dataset.label_names.get(value)
    return f"{value} ({name})" if name else str(value)


def _listed(values: Sequence[int]) -> str:
    ordered = sorted(values)
    shown = ", ".join(map(str, ordered[:5]))
    return shown if len(ordered) <= 5 else f"{shown}, … ({len(ordered)} values)"
