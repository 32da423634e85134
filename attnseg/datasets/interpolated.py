"""Masks whose values were interpolated: label values that lie only at the edges of others."""

from collections.abc import Collection, Mapping
from itertools import product

import numpy as np

from attnseg.datasets.cases import Dataset
from attnseg.spec import unnamed

# Voxels of a mask that are looked at; enough to know a layer from a body.
_SAMPLES = 10_000
# Where there are more, every fourth slice is searched: a quarter of the time.
_SLICES = 4
# Of a value's voxels, the share with a smaller and a larger neighbour. Of layers of one voxel it is
# 1, of JPEG's noise 0.65 to 1 for many values; of layers of two voxels it is 0.5 at most, of
# hippocampus, heads and necks 0.1.
SHARE = 0.65
# One layer of a single voxel may be a wall or a rim; two that nobody named are no accident.
FEWEST = 2
# Of the values that nobody named, the share that such layers are at least: of a hundred anatomical
# labels one or two may be as thin.
PART = 0.1


def suspects(counts: Mapping[int, int], named: Collection[int]) -> set[int]:
    """Values of a mask that may have come of interpolation; empty where too few to look at.

    Args:
        counts: value → voxels of the mask, the label to ignore left out.
        named: values that somebody named, which are meant.
    """
    found = {value for value, voxels in counts.items() if voxels}
    if not found:
        return set()
    between = found - {min(found), max(found), 0, *named}
    return between if len(between) >= FEWEST else set()


def count_between(
    labels: np.ndarray,
    counts: Mapping[int, int],
    values: Collection[int],
    *,
    ignore_label: int | None = None,
) -> dict[int, tuple[int, int]]:
    """Of some label values, how many voxels lie between a smaller and a larger neighbour.

    Neighbours are the 26 around a voxel, in a slice 8. About ten thousand voxels are looked at, or
    all if there are fewer, evenly spaced.

    Args:
        labels: `[I, J, K]`.
        counts: value → voxels.
        values: which ones.
        ignore_label: its voxels count as neighbours of no value.

    Returns:
        Value → (voxels looked at, those between); values without a voxel looked at are left out.
    """
    if not values:
        return {}
    step = -(-sum(counts[value] for value in values) // _SAMPLES) or 1
    across = min(step, _SLICES, labels.shape[2])
    within = -(-step // across)
    wanted = np.array(sorted(values))
    places, seen = [], 0
    for k in range(0, labels.shape[2], across):
        i, j = np.nonzero(np.isin(labels[:, :, k], wanted))
        picked = slice(-seen % within, None, within)
        places.append(np.stack([i[picked], j[picked], np.full(len(i[picked]), k)]))
        seen += len(i)
    place = np.concatenate(places, axis=1)
    own = labels[tuple(place)]
    smaller, larger = np.zeros(len(own), bool), np.zeros(len(own), bool)
    last = np.array(labels.shape)[:, None] - 1
    for offset in product((-1, 0, 1), repeat=3):
        near = labels[tuple(np.clip(place + np.array(offset)[:, None], 0, last))]
        counted = True if ignore_label is None else near != ignore_label
        smaller |= (near < own) & counted
        larger |= (near > own) & counted
    between = smaller & larger
    return {
        int(value): (
            int(np.count_nonzero(own == value)),
            int(np.count_nonzero(between[own == value])),
        )
        for value in np.unique(own)
    }


def named_values(dataset: Dataset) -> set[int]:
    """Label values that somebody named; names that are made of the value are none."""
    return {
        value
        for value, name in dataset.label_names.items()
        if dataset.regions or name != unnamed(value)
    }
