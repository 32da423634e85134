"""Compare predicted masks with reference masks: one pair, or a folder of them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnseg.datasets.labels import LabelScheme, white_is_one
from attnseg.errors import DataError, UsageError
from attnseg.evaluation.calibration import Calibration, calibrate, probability_path
from attnseg.evaluation.figures import case_figures, empty_figures, label_sources
from attnseg.evaluation.matching import (
    find_label_scheme,
    match_files,
    unmatched_references,
)
from attnseg.evaluation.metrics import Counts, is_drawn, overlap_counts, region_counts, volume_ml
from attnseg.evaluation.metrics import label_values as values_in
from attnseg.evaluation.results import CaseResult, Evaluation, Score, summarise
from attnseg.images import is_picture, of_picture, on_common_grid, read_labels
from attnseg.inference.manifest import made_together, owners
from attnseg.inference.written import names_of_masks, not_taken
from attnseg.spec import Region

Pair = tuple[str, Path, Path]


def evaluate(
    prediction: Path,
    reference: Path,
    *,
    label_names: dict[int, str] | None = None,
    full: bool = False,
    tolerance_mm: float = 1.0,
) -> Evaluation:
    """Compare predicted masks with their references, one pair of files in memory at a time.

    A `dataset.json` beside the references (and a `labels_present.json` beside that) tells the names
    of the labels, the label to ignore, regions, and which labels were drawn in which case.

    Args:
        prediction: a mask, be it a file or a folder with a file for each label; or a folder of
            masks.
        reference: the mask to compare with, or a folder with a mask of the same name for each.
        label_names: names by label value, in place of those of `dataset.json`; where that is not
            there, those of the manifest above the predictions, or of the files of their labels, are
            taken. Labels without a name are called by their value.
        full: find all of `FIGURES` beside Dice, and the calibration where files of probabilities
            (`NAME_probabilities.nii.gz`) lie beside the predictions.
        tolerance_mm: up to which surfaces agree, for the NSD; in pictures, pixels.

    Returns:
        Scores of every case and label. In folders a case that cannot be compared is listed in
        `failed` and the others go on.

    Raises:
        DataError: files that do not pair; no case that could be compared.
        UsageError: a tolerance that is no distance.
    """
    prediction, reference = Path(prediction), Path(reference)
    scheme = find_label_scheme(reference)
    pairs = match_files(prediction, reference)
    declared = [*scheme.names]
    if scheme.ignore is not None:
        declared.append(scheme.ignore)
    names = {region.value: region.name for region in scheme.regions} or scheme.names
    if not names and label_names is None:
        names = names_of_masks(path for _, path, _ in pairs)
    white = (0, 1) if _white_is_one(pairs, declared) else None
    found = compare_files(
        pairs,
        label_names=names if label_names is None else label_names,
        label_values=white,
        ignore_label=scheme.ignore,
        regions=scheme.regions,
        labels_present=scheme.present,
        full=full,
        tolerance_mm=tolerance_mm,
    )
    if full:
        found = replace(found, calibration=_calibration(found.cases, scheme, white))
    return replace(
        found,
        not_predicted=unmatched_references(prediction, reference),
        not_compared=not_taken(prediction, reference),
    )


def compare_files(
    pairs: Sequence[Pair],
    *,
    label_names: Mapping[int, str],
    label_values: Collection[int] | None = None,
    ignore_label: int | None = None,
    regions: Sequence[Region] = (),
    labels_present: Mapping[str, Collection[int]] | None = None,
    full: bool = False,
    tolerance_mm: float = 1.0,
    none_is_an_error: bool = True,
) -> Evaluation:
    """Compare (case name, prediction, reference) one after another; see `evaluate`.

    Args:
        pairs: the files.
        label_names: value in the predictions → name.
        label_values: values of the reference masks, where they are known: pictures that hold 255
            in place of 1 are read accordingly.
        ignore_label: value in the references of voxels that are not counted.
        regions: where there are any, predictions hold their values, references those of their
            members, and regions are scored. A predicted voxel belongs to the region whose value it
            has and to those that contain it; where two regions overlap and neither contains the
            other, a mask cannot tell, and the voxel counts for the one that was written last.
        labels_present: case name → label values that were drawn in its reference; others are not
            scored in that case, nor are regions with a member that was not drawn. Cases that are
            not named have all.
        full: find all of `FIGURES` beside Dice; without, a case takes the time of reading it.
        tolerance_mm: of the NSD.
        none_is_an_error: whether to raise where no case could be compared.

    Raises:
        DataError: no case that could be compared.
        UsageError: a tolerance that is no distance.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise UsageError(f"tolerance {tolerance_mm}: must be 0 or a positive distance in mm")
    wanted = tolerance_mm if full else None
    present = labels_present or {}
    cases: list[CaseResult] = []
    failed: dict[str, str] = {}
    placed: list[str] = []
    for name, ours, theirs in pairs:
        try:
            scores, moved = _compare(ours, theirs, label_values, ignore_label, regions, wanted)
            cases.append(CaseResult(name, ours, theirs, scores))
            placed += [name] * moved
        except (DataError, OSError) as error:
            failed[name] = str(error)
    if failed and not cases and none_is_an_error:
        first = next(iter(failed.values()))
        others = f" (and no other of {len(pairs)} cases could be compared)"
        raise DataError(first + others * (len(pairs) > 1))

    values = sorted(
        {
            value
            for case in cases
            for value, score in case.scores.items()
            if not math.isnan(score.dice) and _drawn(value, regions, present.get(case.name))
        }
    )
    cases = [
        replace(
            case,
            scores={
                value: case.scores.get(value, _absent(case.reference, full))
                for value in values
                if _drawn(value, regions, present.get(case.name))
            },
        )
        for case in cases
    ]
    labels = tuple(
        summarise(
            value,
            label_names.get(value, str(value)),
            [case.scores[value] for case in cases if value in case.scores],
        )
        for value in values
    )
    return Evaluation(
        tuple(cases), labels, failed=failed, tolerance_mm=wanted, placed=tuple(placed)
    )


def _drawn(value: int, regions: Sequence[Region], present: Collection[int] | None) -> bool:
    """Whether the reference can say anything about this label or region."""
    members = next((region.members for region in regions if region.value == value), (value,))
    return is_drawn(members, present)


def _compare(
    prediction: Path,
    reference: Path,
    label_values: Collection[int] | None,
    ignore_label: int | None,
    regions: Sequence[Region],
    tolerance_mm: float | None,
) -> tuple[dict[int, Score], bool]:
    """Scores of the labels that either file holds, or of all regions; and whether one of the masks
    had to be put on the grid of the other."""
    written, drawn = label_values, _drawn_values(label_values, ignore_label)
    if label_values is not None and regions:
        written = (0, *(region.value for region in regions))
    read = [
        read_labels(prediction, label_values=written),
        read_labels(reference, label_values=drawn),
    ]
    ours, theirs = on_common_grid(read)
    moved = ours is not read[0] or theirs is not read[1]
    if ours.geometry.shape != theirs.geometry.shape:
        raise DataError(
            f"{prediction}: shape {ours.geometry.shape} where {reference} has "
            f"{theirs.geometry.shape}; masks must lie on the same grid: resample one of them, or "
            "put it there with `attnseg convert MASK OUT --like IMAGE`"
        )
    if not ours.geometry.matches(theirs.geometry):
        distance = ours.geometry.distance_mm(theirs.geometry)
        raise DataError(
            f"{prediction}: its voxels lie up to {distance:.3g} mm from those of {reference}; "
            "masks must lie on the same grid: resample one of them, or correct its affine"
        )
    a, b = ours.array[0], theirs.array[0]
    if ignore_label is not None:
        counted = b != ignore_label
        a, b = np.where(counted, a, 0), np.where(counted, b, 0)
    counts = (
        region_counts(a, b, regions)
        if regions
        else overlap_counts(a, b, values_in(a) | values_in(b))
    )
    spacing_mm = None if of_picture(reference) else theirs.geometry.spacing_mm
    scores = {value: _score(each, spacing_mm) for value, each in counts.items()}
    if tolerance_mm is None:
        return scores, moved
    figures = case_figures(
        a,
        b,
        counts=counts,
        sources=label_sources(counts, regions),
        spacing_mm=spacing_mm,
        tolerance_mm=tolerance_mm,
    )
    full = {value: replace(score, figures=figures[value]) for value, score in scores.items()}
    return full, moved


def _drawn_values(
    label_values: Collection[int] | None, ignore_label: int | None
) -> Collection[int] | None:
    """Values that references may hold, where they are known."""
    if label_values is None or ignore_label is None:
        return label_values
    return (*label_values, ignore_label)


def _score(counts: Counts, spacing_mm: tuple[float, float, float] | None) -> Score:
    volumes = (
        (None, None)
        if spacing_mm is None
        else (volume_ml(counts.predicted, spacing_mm), volume_ml(counts.reference, spacing_mm))
    )
    return Score(counts.dice, counts.predicted, counts.reference, *volumes)


def _absent(reference: Path, full: bool) -> Score:
    """Of a label that neither mask of a case has."""
    score = _score(Counts(0, 0, 0), None if of_picture(reference) else (1.0, 1.0, 1.0))
    return replace(score, figures=empty_figures()) if full else score


def _calibration(
    cases: Sequence[CaseResult], scheme: LabelScheme, label_values: Collection[int] | None
) -> Calibration | None:
    """Of the cases with probabilities beside their masks; None where no case has any."""
    drawn = _drawn_values(label_values, scheme.ignore)
    found = [(case, path) for case in cases if (path := probability_path(case.prediction))]
    if not found:
        return None
    lines = {folder: owners(folder) for folder in {path.parent for _, path in found}}
    stale = {
        case.name: f"{path}: was not made together with {case.prediction.name}: the scan has "
        "changed, or the model or its settings were others; predict again with --save-probabilities"
        for case, path in found
        if not made_together(lines[path.parent], case.prediction.name, path.name)
    }
    calibration = calibrate(
        (
            (case.name, path, read_labels(case.reference, label_values=drawn))
            for case, path in found
            if case.name not in stale
        ),
        values=(0, *sorted(scheme.names)) if scheme.names else None,
        regions=scheme.regions,
        ignore_label=scheme.ignore,
        labels_present=scheme.present,
    )
    return replace(calibration, failed={**stale, **calibration.failed})


def _white_is_one(pairs: Sequence[Pair], declared: Collection[int]) -> bool:
    """Whether some of the masks are pictures that spell the label 1 as 255."""
    masks = []
    for file in (file for _, *files in pairs for file in files if is_picture(file)):
        try:
            masks.append(values_in(read_labels(file).array))
        except DataError:
            continue  # told when the file is compared
    return white_is_one(masks, declared)
