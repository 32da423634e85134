"""Segments of a DICOM object as masks, and masks as label maps."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, smallest_integer_type


@dataclass(frozen=True)
class Segment:
    """One structure of a DICOM segmentation or structure set.

    Args:
        number: the object's own number of it.
        name: what it is called there.
        value: its value in label maps: the one that attnseg wrote it from, else `number`.
    """

    number: int
    name: str
    value: int


@dataclass(frozen=True, eq=False)
class Segments:
    """The masks of a DICOM segmentation or structure set, on one grid; they may overlap.

    Args:
        path: where they were read from.
        geometry: the grid.
        segments: in the object's order of numbers.
        series_uid: SeriesInstanceUID of the images they were drawn on; empty where not named.
        mask: segment → `[I, J, K]` bool, made when it is asked for; raises DataError where the
            object's own pixels or contours are damaged.
        notes: what the reader had to settle, in plain sentences.
    """

    path: Path
    geometry: Geometry
    segments: tuple[Segment, ...]
    series_uid: str
    mask: Callable[[Segment], np.ndarray]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> dict[int, str]:
        """Label value → name."""
        return {segment.value: segment.name for segment in self.segments}


def label_maps(segments: Segments) -> list[Image]:
    """Segments as label maps `[1, I, J, K]`, as few as their order allows.

    Each segment goes to the first map where it overlaps none, in order of numbers: the rule of
    dcmqi's `segimage2itkimage --mergeSegments`. Where none overlap it is one map.

    Args:
        segments: as read.

    Raises:
        DataError: pixels or contours that are damaged.
    """
    dtype = smallest_integer_type(tuple(segment.value for segment in segments.segments))
    shape = segments.geometry.shape[::-1]  # slice by slice in memory, as masks are made
    maps: list[np.ndarray] = []
    for segment in segments.segments:
        mask = segments.mask(segment).T
        free = next((labels for labels in maps if not labels[mask].any()), None)
        if free is None:
            free = np.zeros(shape, dtype=dtype)
            maps.append(free)
        free[mask] = segment.value
    return [
        Image(labels.T[None], segments.geometry, path=segments.path, notes=segments.notes)
        for labels in maps or [np.zeros(shape, dtype=dtype)]
    ]


def label_note(value: int) -> str:
    """The description by which a segment keeps the label value that it was written from."""
    return f"label {value}"


def label_values(numbers: list[int], descriptions: list[str]) -> list[int]:
    """Label values of segments: as noted by attnseg in all of their descriptions, or numbers."""
    found = [re.fullmatch("label (-?[0-9]{1,19})", text) for text in descriptions]
    values = [int(match[1]) for match in found if match]
    usable = {value for value in values if -(2**63) <= value < 2**63} - {0}
    return values if len(usable) == len(numbers) else numbers
