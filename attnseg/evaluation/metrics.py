"""Agreement of two masks, as numbers."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from attnseg.spec import Region

Sources = tuple[Sequence[int], Sequence[int]]
"""Values that belong to a label or region: in predictions, in references."""


class Counts(NamedTuple):
    """Voxels of one label: where both masks have it, in the prediction, in the reference."""

    both: int
    predicted: int
    reference: int

    @property
    def dice(self) -> float:
        """2 |A∩B| / (|A| + |B|); NaN where neither mask has the label."""
        total = self.predicted + self.reference
        return 2 * self.both / total if total else math.nan


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice overlap of two boolean arrays of one shape.

    Returns:
        2 |A∩B| / (|A| + |B|), from 0 to 1; NaN if both are empty, 0 if only one is.

    Example:
        >>> dice(np.array([True, True, False]), np.array([False, True, True]))
        0.5
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    masks = (prediction & reference, prediction, reference)
    return Counts(*(int(np.count_nonzero(mask)) for mask in masks)).dice


def label_values(labels: np.ndarray) -> set[int]:
    """All label values in the mask except 0, the background."""
    return {int(value) for value in np.unique(labels)} - {0}


def overlap_counts(
    prediction: np.ndarray, reference: np.ndarray, values: Iterable[int]
) -> dict[int, Counts]:
    """Count the voxels of every label in one pass over both masks.

    Args:
        prediction: integer labels of any shape.
        reference: integer labels of the same shape.
        values: label values to count, in any order; all others are ignored.

    Returns:
        Counts by label value, in rising order.
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    wanted = np.unique(np.fromiter(values, dtype=np.int64))
    size = len(wanted) + 1  # the last index gathers every other value
    table = np.zeros((size, size), dtype=np.int64)
    # Slice by slice: the index arrays take 8 bytes a voxel, eight times what a mask does.
    for k in range(prediction.shape[-1]):
        ours, theirs = prediction[..., k], reference[..., k]
        if 0 not in wanted:
            foreground = (ours != 0) | (theirs != 0)
            ours, theirs = ours[foreground], theirs[foreground]
        code = label_index(ours, wanted) * size + label_index(theirs, wanted)
        table += np.bincount(code.ravel(), minlength=size * size).reshape(size, size)
    both, predicted, in_reference = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    return {
        int(value): Counts(int(both[n]), int(predicted[n]), int(in_reference[n]))
        for n, value in enumerate(wanted)
    }


def region_counts(
    prediction: np.ndarray, reference: np.ndarray, regions: Sequence[Region]
) -> dict[int, Counts]:
    """Count the voxels of every region, which may overlap.

    Args:
        prediction: values of regions, as predictors write them: of the last one that has the voxel.
            It belongs to that region and to all that contain it.
        reference: values of the regions' members, the same shape.
        regions: all regions of the model.

    Returns:
        Counts by the region's value, in the order of the regions.
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    found = {}
    for value, (inside, members) in region_sources(regions).items():
        ours, theirs = np.isin(prediction, inside), np.isin(reference, members)
        sizes = (int(np.count_nonzero(mask)) for mask in (ours & theirs, ours, theirs))
        found[value] = Counts(*sizes)
    return found


def region_sources(regions: Sequence[Region]) -> dict[int, Sources]:
    """By the region's value: the values in predictions that belong to it, its own and those of
    regions that it contains, and the values in references, its members.
    """
    return {
        region.value: (
            [other.value for other in regions if set(region.members).issuperset(other.members)],
            region.members,
        )
        for region in regions
    }


def is_drawn(members: Collection[int], present: Collection[int] | None) -> bool:
    """Whether a reference can say anything about what has these label values.

    Args:
        members: of a label its value, of a region those of its members.
        present: label values that were drawn in the reference; None for all.
    """
    return present is None or set(members) <= set(present)


def mean(numbers: Sequence[float]) -> float:
    """Mean of the numbers that are not NaN; NaN if there is none."""
    found = [number for number in numbers if not math.isnan(number)]
    return sum(found) / len(found) if found else math.nan


def as_predicted(reference: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """A reference in the values that predictions hold: of regions, the last one that has the voxel.

    Args:
        reference: label values.
        regions: of the model; without any the reference is given back as it is.
    """
    if not regions:
        return reference
    values = np.zeros_like(reference)
    for region in regions:
        values[np.isin(reference, region.members)] = region.value
    return values


def volume_ml(voxels: int, spacing_mm: tuple[float, float, float]) -> float:
    """Volume in millilitres of that many voxels of that spacing in mm."""
    return voxels * math.prod(spacing_mm) / 1000.0


def label_index(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each label in the sorted `wanted`; `len(wanted)` where it is not in there."""
    position = np.searchsorted(wanted, labels)
    found = np.append(wanted, 0)[position] == labels
    return np.where(found & (position < len(wanted)), position, len(wanted))
