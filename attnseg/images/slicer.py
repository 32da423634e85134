"""3D Slicer's segmentations: NRRD whose header names segments, which may lie in several layers.

Slicer puts segments that overlap into layers, a number of each voxel for each layer, and counts
label values anew in each of them.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.image import smallest_integer_type

_KEY = re.compile(r"Segment([0-9]{1,9})_(Layer|LabelValue|Name):=(.*)")


@dataclass(frozen=True)
class Segment:
    """A segment as the header describes it.

    Args:
        name: what it is called.
        layer: index of the numbers of a voxel.
        value: what a voxel of it holds there.
    """

    name: str
    layer: int
    value: int


def segments_of(lines: Sequence[str]) -> tuple[Segment, ...]:
    """The segments that the lines of a header describe, in its own order; none for other files."""
    fields: dict[int, dict[str, str]] = defaultdict(dict)
    for line in lines:
        if match := _KEY.fullmatch(line.strip()):
            fields[int(match[1])][match[2]] = match[3].strip()
    segments = []
    for number, each in sorted(fields.items()):
        layer, value = each.get("Layer", "0"), each.get("LabelValue", "1")
        if re.fullmatch(r"[0-9]{1,9}", layer) and re.fullmatch(r"0*[1-9][0-9]{0,17}", value):
            name = each.get("Name") or f"Segment_{number + 1}"
            segments.append(Segment(name, int(layer), int(value)))
    return tuple(segments)


def merged(
    path: Path, layers: np.ndarray, segments: Sequence[Segment]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Layers as one label map, where no two segments overlap.

    Label values are the header's where each segment has its own; else segments are numbered in
    their order from 1 on, as Slicer does when it exports a label map.

    Args:
        path: named in the errors.
        layers: `[layers, I, J, K]` integers.
        segments: as the header describes them.

    Returns:
        `[1, I, J, K]`, and what is to be told.

    Raises:
        DataError: segments that overlap, voxels or layers that the header does not describe.
    """
    export = (
        "export a label map in 3D Slicer (Segmentations module, Export to files, NRRD with one "
        "label map)"
    )
    known = {(each.layer, each.value) for each in segments}
    if not segments:
        raise DataError(
            f"{path}: {len(layers)} numbers a voxel, and a mask holds one; {export}, or split it "
            "into single files"
        )
    if len(known) < len(segments) or max(each.layer for each in segments) >= len(layers):
        raise DataError(
            f"{path}: its header describes {len(segments)} segments that its {len(layers)} layers "
            f"cannot hold; {export}"
        )
    own = len({each.value for each in segments}) == len(segments)
    values = [each.value if own else number for number, each in enumerate(segments, start=1)]
    dtype = smallest_integer_type(tuple(values))
    labels = np.zeros((1, *layers.shape[1:]), dtype=dtype, order="F")
    counted = 0
    for segment, value in zip(segments, values, strict=True):
        mask = layers[segment.layer] == segment.value
        taken = labels[0][mask]
        if taken.any():
            other = segments[values.index(int(taken[taken != 0][0]))]
            raise DataError(
                f"{path}: segments {other.name!r} and {segment.name!r} overlap in "
                f"{np.count_nonzero(taken)} voxel(s) or more, and a mask holds one label a voxel; "
                f"{export}, which lets one of them win, or one file for each segment"
            )
        labels[0][mask] = value
        counted += int(np.count_nonzero(mask))
    if counted < np.count_nonzero(layers):
        raise DataError(f"{path}: its layers hold labels that its header does not name; {export}")
    named = ", ".join(
        f"{value} {segment.name}" for value, segment in zip(values, segments, strict=True)
    )
    return labels, (f"its {len(layers)} layers became one label map: {named}",)
