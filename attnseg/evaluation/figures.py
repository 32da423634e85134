"""All figures of a label in a case beyond Dice: overlap, volume, surface, lesions."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from attnseg.evaluation.boxes import label_boxes
from attnseg.evaluation.lesions import count_lesions
from attnseg.evaluation.metrics import Counts, Sources, region_sources, volume_ml
from attnseg.evaluation.surface import surface_figures
from attnseg.images.components import Box
from attnseg.spec import Region

FIGURES = {
    "iou": "|A∩B|/|A∪B| over voxels; 0 where one mask lacks the label",
    "sensitivity": "|A∩B|/|B|, B the reference; null where the reference lacks the label",
    "precision": "|A∩B|/|A|, A the prediction; null where the prediction lacks the label",
    "volume_difference_ml": "volume of the prediction minus that of the reference; null for "
    "pictures",
    "relative_volume_difference": "(|A| - |B|)/|B|; null where the reference lacks the label",
    "nsd": "normalised surface Dice: share of the area of both surfaces that lies within "
    "tolerance_mm of the other one, elements and areas as surface-distance (DeepMind) has them; "
    "0 where one mask lacks the label",
    "hd95_mm": "95th percentile of the distances between the surfaces, weighted by area, the "
    "larger of both directions; null (infinite) where one mask lacks the label, and in no mean: "
    "see missed and false_alarm; in distance_unit",
    "assd_mm": "average symmetric surface distance: mean of the distances of all elements of both "
    "surfaces, weighted by area; null as hd95_mm; in distance_unit",
    "reference_lesions": "connected components of the reference, through 26 neighbours (8 in 2D)",
    "predicted_lesions": "those of the prediction",
    "lesion_sensitivity": "share of the reference's lesions that the prediction touches in any "
    "voxel; null where there is none",
    "lesion_precision": "share of the predicted lesions that touch the reference in any voxel; "
    "null where there is none",
    "lesion_f1": "harmonic mean of both; 0 where one mask has no lesion",
    "segmentation_quality": "mean IoU of the pairs of lesions whose IoU is above 0.5; null where "
    "there is none",
    "recognition_quality": "2 × such pairs / (reference_lesions + predicted_lesions)",
    "panoptic_quality": "segmentation_quality × recognition_quality; 0 where nothing matches",
}


def label_sources(values: Collection[int], regions: Sequence[Region]) -> dict[int, Sources]:
    """Which values of prediction and reference belong to each label, or to each region."""
    return region_sources(regions) or {value: ((value,), (value,)) for value in values}


def case_figures(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    counts: Mapping[int, Counts],
    sources: Mapping[int, Sources],
    spacing_mm: tuple[float, float, float] | None,
    tolerance_mm: float,
) -> dict[int, dict[str, float]]:
    """`FIGURES` of every label of a case; one label's masks, cropped, are in memory at a time.

    Args:
        prediction: integer labels `[I, J, K]`.
        reference: the same shape.
        counts: of the labels.
        sources: of the same labels, from `label_sources`.
        spacing_mm: None for pictures: distances then are in pixels.
        tolerance_mm: of the NSD.

    Returns:
        By label value the figures by name; NaN where one is not defined, infinite distances where
        one of the masks lacks the label.
    """
    steps = spacing_mm or (1.0, 1.0, 1.0)
    # A picture or a single slice has contours, not surfaces.
    flat = prediction.shape.index(1) if 1 in prediction.shape else None
    found = {value: empty_figures() for value in counts}
    for value, ours, theirs in _crops(prediction, reference, sources):
        lesions = count_lesions(ours, theirs)
        axes = [axis for axis in range(3) if axis != flat]
        surface = surface_figures(
            ours if flat is None else ours.take(0, axis=flat),
            theirs if flat is None else theirs.take(0, axis=flat),
            spacing_mm=tuple(steps[axis] for axis in axes),
            tolerance_mm=tolerance_mm,
        )
        both, predicted, drawn = counts[value]
        difference = predicted - drawn
        found[value] = {
            "iou": both / (predicted + drawn - both),
            "sensitivity": both / drawn if drawn else math.nan,
            "precision": both / predicted if predicted else math.nan,
            "volume_difference_ml": volume_ml(difference, spacing_mm) if spacing_mm else math.nan,
            "relative_volume_difference": difference / drawn if drawn else math.nan,
            "nsd": surface.nsd,
            "hd95_mm": surface.hd95_mm,
            "assd_mm": surface.assd_mm,
            "reference_lesions": lesions.reference,
            "predicted_lesions": lesions.predicted,
            "lesion_sensitivity": lesions.sensitivity,
            "lesion_precision": lesions.precision,
            "lesion_f1": lesions.f1,
            "segmentation_quality": lesions.segmentation_quality,
            "recognition_quality": lesions.recognition_quality,
            "panoptic_quality": lesions.panoptic_quality,
        }
    return found


def empty_figures() -> dict[str, float]:
    """Those of a label that neither mask has."""
    return dict.fromkeys(FIGURES, math.nan)


def _crops(
    prediction: np.ndarray, reference: np.ndarray, sources: Mapping[int, Sources]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each label's two masks in the smallest box that holds both; labels that neither has are
    left out."""
    written = label_boxes(prediction, {v for ours, _ in sources.values() for v in ours})
    drawn = label_boxes(reference, {v for _, theirs in sources.values() for v in theirs})
    for value, (ours, theirs) in sources.items():
        boxes = [written[v] for v in ours if v in written]
        boxes += [drawn[v] for v in theirs if v in drawn]
        if boxes:
            box = _around(boxes)
            yield value, _mask(prediction[box], ours), _mask(reference[box], theirs)


def _around(boxes: Sequence[Box]) -> Box:
    i, j, k = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
    return i, j, k


def _mask(labels: np.ndarray, values: Collection[int]) -> np.ndarray:
    if len(values) == 1:
        (value,) = values
        return np.asarray(labels == value)
    return np.isin(labels, list(values))
