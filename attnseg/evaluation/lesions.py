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
# Voxels that are compared at one time.
_BLOCK = 1 << 20


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
    a, b, shared = _overlaps(ours, theirs)
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


def _overlaps(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which components meet: `[pairs]` number of ours, number of theirs, voxels that both have."""
    # Along memory neighbours mostly belong to one pair: whole runs are counted, block by block.
    order = np.argsort([-abs(step) for step in ours.strides], kind="stable")
    ours, theirs = ours.transpose(order), theirs.transpose(order)
    step = max(1, _BLOCK // max(1, math.prod(ours.shape[1:])))
    codes, lengths = [], []
    for start in range(0, ours.shape[0], step):
        a, b = (each[start : start + step].ravel().astype(np.int64) for each in (ours, theirs))
        code = np.where((a > 0) & (b > 0), a << 32 | b, 0)
        starts = np.flatnonzero(np.diff(code, prepend=-1))
        codes.append(code[starts])
        lengths.append(np.diff(starts, append=len(code)))
    pairs, index = np.unique(np.concatenate(codes), return_inverse=True)
    voxels = np.bincount(index, np.concatenate(lengths)).astype(np.int64)
    meet = pairs > 0
    return pairs[meet] >> 32, pairs[meet] & (2**32 - 1), voxels[meet]
