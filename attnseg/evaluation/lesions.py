"""Lesions found and missed, one by one: detection and panoptic quality of one label.

A lesion is a connected component of the label: voxels hang together through any of their 26
neighbours, the 8 of a picture. Panoptic quality is that of Kirillov et al. 2019 (arXiv:1801.00868).
"""

import math
from dataclasses import dataclass

import numpy as np

from attnseg.images.components import components

# More than half of the union: no lesion can then match two others.
_MATCH_IOU = 0.5


@dataclass(frozen=True)
class Lesions:
    """Lesions of one label in one case, and how they meet.

    Args:
        reference: how many the reference has.
        predicted: how many the prediction has.
        found: of the reference's, those that the prediction touches in any voxel.
        true: of the prediction's, those that touch the reference in any voxel.
        matched: pairs with an IoU above 0.5.
        iou: sum of the IoU of those pairs.
    """

    reference: int
    predicted: int
    found: int
    true: int
    matched: int
    iou: float

    @property
    def sensitivity(self) -> float:
        """Found of the reference's; NaN where it has none."""
        return self.found / self.reference if self.reference else math.nan

    @property
    def precision(self) -> float:
        """True of the predicted; NaN where there is none."""
        return self.true / self.predicted if self.predicted else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of both; 0 where one mask has no lesion, NaN where neither has."""
        if not self.reference and not self.predicted:
            return math.nan
        if not self.found:
            return 0.0
        return 2 / (1 / self.sensitivity + 1 / self.precision)

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of the matched pairs; NaN where nothing matches."""
        return self.iou / self.matched if self.matched else math.nan

    @property
    def recognition_quality(self) -> float:
        """2 matched / (reference + predicted); NaN where neither mask has a lesion."""
        total = self.reference + self.predicted
        return 2 * self.matched / total if total else math.nan

    @property
    def panoptic_quality(self) -> float:
        """Both qualities multiplied: 2 Σ IoU / (reference + predicted); NaN as recognition."""
        total = self.reference + self.predicted
        return 2 * self.iou / total if total else math.nan


def count_lesions(prediction: np.ndarray, reference: np.ndarray) -> Lesions:
    """Match the connected components of two masks.

    Args:
        prediction: bool `[I, J, K]`; the box that holds both masks is enough.
        reference: the same shape.

    Example:
        >>> mask = np.zeros((5, 5, 1), dtype=bool)
        >>> mask[0, 0], mask[3:, 3:] = True, True
        >>> count_lesions(mask, mask).panoptic_quality
        1.0
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    ours, our_sizes = components(prediction)
    theirs, their_sizes = components(reference)
    both = prediction & reference
    pairs = ours[both].astype(np.int64) * (len(their_sizes) + 1) + theirs[both]
    codes, shared = np.unique(pairs, return_counts=True)
    a, b = np.divmod(codes, len(their_sizes) + 1)
    iou = shared / (our_sizes[a - 1] + their_sizes[b - 1] - shared)
    matches = iou > _MATCH_IOU
    return Lesions(
        reference=len(their_sizes),
        predicted=len(our_sizes),
        found=len(np.unique(b)),
        true=len(np.unique(a)),
        matched=int(np.count_nonzero(matches)),
        iou=float(iou[matches].sum()),
    )
