"""Plain rules on the facts of a data set: what stops training, and what is worth a second look."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from attnseg.datasets.cases import Dataset
from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.findings import Finding, Severity
from attnseg.datasets.interpolated import FEWEST, PART, SHARE
from attnseg.datasets.name_checks import find_name_problems
from attnseg.datasets.outliers import find_oddities, find_scan_oddities, fold_alike, folded
from attnseg.datasets.pictures import check_palettes
from attnseg.datasets.splits import Splits, count_folds, make_splits
from attnseg.preprocessing import too_large

# A label that fewer masks than this share lack is drawn as a rule, so that its absence is odd.
_SELDOM = 0.25
# Folds where nobody says how many, as in the configuration.
DEFAULT_FOLDS = 5
# So many labels are named in one finding.
_FEW = 5


def find_problems(
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    *,
    patient_pattern: str | None = None,
    splits: Splits | None = None,
) -> list[Finding]:
    """What can be trained on: all findings of the folder, of single cases, and across cases.

    `attnseg check`, `attnseg plan` and every training ask this, and nothing else decides.

    Args:
        dataset: what `find_dataset` found.
        facts: what `inspect_dataset` found in its files.
        patient_pattern: as of `make_splits`; None where nobody said which cases share a patient.
        splits: the folds of the training; None: five, as they are made by default.
    """
    of_cases = [finding for case in facts for finding in case.findings]
    findings = [
        *dataset.problems,
        *(finding for finding in of_cases if finding.severity != "warning"),
        *fold_alike(finding for finding in of_cases if finding.severity == "warning"),
        *_constant_channels(facts),
        *_wrong_units(facts),
        *_label_value_findings(dataset, facts),
        *_partial_label_findings(dataset, facts),
        *_spelling_findings(facts),
        *folded(check_palettes({case.name: case.label_colours for case in facts})),
        *_interpolation_findings(facts),
        *_duplicates(facts, "warning"),
        *find_name_problems(case.name for case in facts),
        *find_oddities(dataset, facts, patient_pattern=patient_pattern),
    ]
    # A case that `attnseg check --fix` mends is not lost.
    usable = [
        case
        for case in facts
        if case.label_counts and all(each.severity != "fatal" for each in case.findings)
    ]
    return findings + _fold_findings(dataset, usable, patient_pattern, splits)


def find_scan_problems(facts: Sequence[CaseFacts]) -> list[Finding]:
    """All findings of scans that are no data set: readability, geometry, copies, notes."""
    return [
        *(finding for case in facts for finding in case.findings),
        *_constant_channels(facts),
        *_duplicates(facts, "harmless"),  # nothing is trained on them
        *find_name_problems(case.name for case in facts),
        *find_scan_oddities(facts),
    ]


def _constant_channels(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Channels that say nothing: the network sees zeros there, in training and in prediction."""
    remedy = "check its export; it is trained on and predicted as zeros"
    return folded(
        [
            Finding(case.name, "warning", sentence, remedy)
            for case in facts
            for sentence in case.constant_channels
        ]
    )


def _wrong_units(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans whose spacing would blow them up beyond any memory at that of the others."""
    read = [case for case in facts if min(case.ras_spacing_mm) > 0]
    if not read:
        return []
    median = np.median([case.ras_spacing_mm for case in read], axis=0)
    findings = []
    for case in read:
        scale = np.array(case.ras_spacing_mm) / median
        resampled = np.maximum(1, np.round(np.array(case.ras_shape) * scale)).tolist()
        if too_large(case.ras_shape, resampled):
            spacing, voxels, usual = (
                "×".join(f"{n:.4g}" for n in each)
                for each in (case.ras_spacing_mm, resampled, median)
            )
            problem = (
                f"its voxels of {spacing} mm would become {voxels} voxels at the median spacing "
                f"of {usual} mm"
            )
            remedy = "correct the spacing in its header, which is in mm"
            findings.append(Finding(case.name, "fatal", problem, remedy))
    return findings


def _fold_findings(
    dataset: Dataset,
    usable: Sequence[CaseFacts],
    patient_pattern: str | None,
    splits: Splits | None,
) -> list[Finding]:
    """Too few cases to hold any out, and labels that a fold's training would never see."""
    if not usable:
        remedy = "add cases or mend those above"
        return [Finding("dataset", "fatal", "0 usable case(s); training needs one", remedy)]
    names, patients = [case.name for case in usable], dataset.patients
    if splits is None:
        count = count_folds(
            names, DEFAULT_FOLDS, patient_pattern=patient_pattern, patients=patients
        )
        splits = make_splits(
            names, num_folds=count, patient_pattern=patient_pattern, patients=patients
        )
    if len(splits) < 2:
        problem = f"{len(usable)} usable case(s) of one patient: none can be held out"
        remedy = "train with --fold none, which gives no scores, or add cases of other patients"
        return [Finding("dataset", "warning", problem, remedy)]
    counts = {case.name: case.label_counts for case in usable}
    cases_with = Counter(value for each in counts.values() for value in each)
    # An undeclared value of one mask alone has a finding of its own.
    values = [
        v for v in sorted(cases_with) if v and (v in dataset.label_names or cases_with[v] > 1)
    ]
    findings = []
    for fold, held_out in enumerate(splits):
        seen = {value for name in counts.keys() - set(held_out) for value in counts[name]}
        unseen = [value for value in values if value not in seen]
        if unseen:
            each = [
                f"{_called(dataset, value)} in {_some([n for n in held_out if value in counts[n]])}"
                for value in unseen[:_FEW]
            ]
            more = f" and {len(unseen) - _FEW} more" if len(unseen) > _FEW else ""
            problem = (
                f"fold {fold} of {len(splits)} holds out every case that has the label "
                f"{', '.join(each)}{more}: its model never sees it"
            )
            remedy = "add cases that have it, or train on all cases with --fold none"
            findings.append(Finding("dataset", "warning", problem, remedy))
    return findings


def _label_value_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
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


def _partial_label_findings(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Finding]:
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


def _interpolation_findings(facts: Sequence[CaseFacts]) -> list[Finding]:
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


def _spelling_findings(facts: Sequence[CaseFacts]) -> list[Finding]:
    white = [case.name for case in facts if case.white_as_one]
    if not white:
        return []
    problem = f"{len(white)} mask(s), such as that of {white[0]}, hold 255 where others hold 1"
    return [Finding("dataset", "harmless", problem, "no harm done; 255 counts as label 1 in them")]


def _duplicates(facts: Sequence[CaseFacts], severity: Severity) -> list[Finding]:
    """Images and masks that another case has too, by their voxels and not by their files."""
    with_image: dict[str, str] = {}
    with_label: dict[str, str] = {}
    findings = []
    for case in facts:
        # Blank images and empty masks are alike without being copies.
        blank = all(channel.min == channel.max for channel in case.intensity)
        image = "" if blank else with_image.setdefault(case.image_digest, case.name)
        empty = not any(case.label_counts)
        label = "" if empty else with_label.setdefault(case.label_digest, case.name)
        same_image, same_label = image not in ("", case.name), label not in ("", case.name)
        if same_image and same_label and image == label:
            problem = f"image and label are identical to those of {image}"
        elif same_image:
            problem = f"its image is identical to that of {image}"
        elif same_label:
            problem = f"its label is identical to that of {label}"
        else:
            continue
        remedy = (
            "keep one of the two: trained on and held out at once, it makes scores too good"
            if same_image
            else "one of the two is probably a copy under a wrong name: keep the right one"
        )
        findings.append(Finding(case.name, severity, problem, remedy))
    return findings


def _called(dataset: Dataset, value: int) -> str:
    name = dataset.label_names.get(value)
    return f"{value} ({name})" if name else str(value)


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _listed(values: Sequence[int]) -> str:
    ordered = sorted(values)
    shown = ", ".join(map(str, ordered[:5]))
    return shown if len(ordered) <= 5 else f"{shown}, … ({len(ordered)} values)"
