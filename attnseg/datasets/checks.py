"""Plain rules on the facts of a data set: what stops training, and what is worth a second look."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from attnseg.datasets.cases import Dataset
from attnseg.datasets.facts import CaseFacts
from attnseg.datasets.findings import Finding, Severity
from attnseg.datasets.label_checks import (
    interpolation_findings,
    label_in_words,
    label_value_findings,
    partial_label_findings,
    spelling_findings,
)
from attnseg.datasets.name_checks import find_name_problems
from attnseg.datasets.outliers import find_oddities, find_scan_oddities, fold_alike, folded
from attnseg.datasets.pictures import check_palettes
from attnseg.datasets.splits import Splits, count_folds, make_splits
from attnseg.preprocessing import too_large

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
        *label_value_findings(dataset, facts),
        *partial_label_findings(dataset, facts),
        *spelling_findings(facts),
        *folded(check_palettes({case.name: case.label_colours for case in facts})),
        *interpolation_findings(facts),
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
            holders = {value: [n for n in held_out if value in counts[n]] for value in unseen}
            each = [
                f"{label_in_words(dataset, value)} in {_some(holders[value])}"
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


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
