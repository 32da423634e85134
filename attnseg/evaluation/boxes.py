"""Where the labels of a mask lie, so that each is looked at in its own box."""

from collections.abc import Collection

import numpy as np
from scipy.ndimage import find_objects

from attnseg.images.components import Box, bounding_box

# `find_objects` lists every value up to the largest.
_MAX_LISTED = 65535


def label_boxes(labels: np.ndarray, values: Collection[int]) -> dict[int, Box]:
    """The smallest box of each label in `[I, J, K]`, found in one pass; absent ones left out."""
    if not values or not labels.size:
        return {}
    if min(values) < 1 or max(values) > _MAX_LISTED:
        found = {value: bounding_box(labels, value) for value in values}
        return {value: box for value, box in found.items() if box is not None}
    # Along memory: a pass across it takes several times as long.
    order = np.argsort([-abs(step) for step in labels.strides], kind="stable")
    boxes = find_objects(labels.transpose(order), max_label=max(values))
    back = np.argsort(order)
    return {
        value: (box[back[0]], box[back[1]], box[back[2]])
        for value in values
        if (box := boxes[value - 1]) is not None
    }
