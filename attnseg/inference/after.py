"""What is done to a finished mask, label by label, and the volumes it then holds.

A model file carries the rules (`ModelSpec.after_processing`); training chooses them where they
helped. Removal comes first for all labels, holes are filled afterwards: so the order of the labels
plays no part, and the place of a fragment that was dropped inside another organ can be filled.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from attnseg.images import Geometry
from attnseg.images.components import bounding_box, holes, large_components, largest_component
from attnseg.spec import AfterProcessing


def apply(
    labels: np.ndarray, rules: Sequence[AfterProcessing], *, geometry: Geometry
) -> np.ndarray:
    """The mask after the rules: largest component, then smallest volume, then holes.

    A voxel that a label loses becomes background; a label gains background only, never a voxel of
    another label.

    Args:
        labels: `[I, J, K]` label values; not changed.
        rules: at most one a label, in any order.
        geometry: of the scan; its affine gives the volume of a voxel.

    Returns:
        A new array of the same type, or `labels` itself where there are no rules. Beside it, memory
        is needed for the bounding box of one label at a time, about eight bytes a voxel of it.
    """
    assert labels.shape == geometry.shape, (labels.shape, geometry.shape)
    if not rules:
        return labels
    result = labels.copy()
    for rule in rules:
        if rule.largest_component or rule.min_volume_mm3 > 0:
            _drop_components(result, rule, geometry.voxel_volume_mm3)
    axes = [axis for axis, n in enumerate(labels.shape) if n > 1]
    for rule in rules:
        box = bounding_box(result, rule.value) if rule.fill_holes else None
        if box is not None:
            part = result[box]
            part[holes(part, rule.value, axes=axes)] = rule.value
    return result


def _drop_components(labels: np.ndarray, rule: AfterProcessing, voxel_volume_mm3: float) -> None:
    box = bounding_box(labels, rule.value)
    if box is None:
        return
    part = labels[box]
    mask = part == rule.value
    kept = largest_component(mask) if rule.largest_component else mask
    if rule.min_volume_mm3 > 0:
        kept = large_components(
            kept, min_volume_mm3=rule.min_volume_mm3, voxel_volume_mm3=voxel_volume_mm3
        )
    part[mask & ~kept] = 0


def shared_rules(models: Sequence[Sequence[AfterProcessing]]) -> tuple[AfterProcessing, ...]:
    """What the rules of all models have in common, for their average: the least that any of them
    does to a label.

    Args:
        models: the rules of each model, at least one model.
    """
    by_value = [{rule.value: rule for rule in rules} for rules in models]
    shared = []
    for value in sorted(set.intersection(*[set(rules) for rules in by_value])):
        each = [rules[value] for rules in by_value]
        least = AfterProcessing(
            value=value,
            largest_component=all(rule.largest_component for rule in each),
            min_volume_mm3=min(rule.min_volume_mm3 for rule in each),
            fill_holes=all(rule.fill_holes for rule in each),
        )
        if least != AfterProcessing(value=value):
            shared.append(least)
    return tuple(shared)


def volumes_ml(
    labels: np.ndarray, names: Mapping[int, str], geometry: Geometry
) -> dict[int, float]:
    """Volume of each label in millilitres, 0 for one that is not there.

    Of a picture, whose pixels have no known size, this says nothing.

    Args:
        labels: `[I, J, K]` label values.
        names: label value → name; other values are not counted.
        geometry: of the scan; its affine gives the volume of a voxel.

    Example:
        >>> cube = np.zeros((20, 20, 20), np.uint8)
        >>> cube[:10, :10, :10] = 3
        >>> volumes_ml(cube, {3: "liver", 5: "tumour"}, Geometry(cube.shape, np.eye(4)))
        {3: 1.0, 5: 0.0}
    """
    wanted = np.array(sorted(names), dtype=np.int64)
    counts = np.zeros(len(wanted) + 1, dtype=np.int64)
    # Plane by plane, the background left out: what is counted takes 8 bytes a voxel.
    for plane in labels:
        found = plane[plane != 0]
        index = np.searchsorted(wanted, found)
        known = np.append(wanted, 0)[index] == found
        counts += np.bincount(index[known], minlength=len(counts))
    millilitres = geometry.voxel_volume_mm3 / 1000
    return {int(value): int(n) * millilitres for value, n in zip(wanted, counts, strict=False)}
