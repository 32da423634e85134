"""A slice of a case twice: one method's mask and the other's, both with the reference's outline."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attnseg.images import Image
from attnseg.visualization.palette import Colour
from attnseg.visualization.slices import SURROUNDINGS, display_planes, labelled_region, window_of
from attnseg.visualization.thumbnails import lay_over, png_uri

_PIXELS = 320  # of the longer side, about
_LINE = 2  # pixels
_OPACITY = 0.55


@dataclass(frozen=True, eq=False)
class SideBySide:
    """One slice of a case.

    Args:
        grey: `[rows, columns]` in 0..1; black where no scan is known.
        reference, a, b: `[rows, columns]` label values.
        size_mm: height and width.
        plane: as "axial"; empty for a picture.
        scan: whether `grey` is of a scan.
    """

    grey: np.ndarray
    reference: np.ndarray
    a: np.ndarray
    b: np.ndarray
    size_mm: tuple[float, float]
    plane: str
    scan: bool

    def caption(self) -> str:
        """Which slice it is, how wide, and what is missing."""
        which = f"{self.plane} slice" if self.plane else "picture"
        if self.plane and (self.a != self.b).any():
            which += " where A and B differ most"
        elif self.plane and (self.a != self.reference).any():
            which += " where both err most"
        which += f", {self.size_mm[1]:.0f} {'mm' if self.plane else 'px'} wide"
        return which if self.scan else f"{which}, scan not shown"


def side_by_side(reference: Image, a: Image, b: Image, scan: Image | None) -> SideBySide:
    """The axial slice where the two methods differ most, else where they err most.

    It is cut to the labels and their surroundings.

    Args:
        reference, a, b: `[1, I, J, K]` masks on one grid.
        scan: `[C, I, J, K]`, the first channel is shown; left out where it lies on another grid.
    """
    if scan is not None and not scan.geometry.matches(reference.geometry):
        scan = None
    drawn, ours, theirs = reference.array[0], a.array[0], b.array[0]
    labelled = (drawn != 0) | (ours != 0) | (theirs != 0)
    differ, err = ours != theirs, ours != drawn
    chosen = next((each for each in (differ, err) if each.any()), labelled)
    plane = display_planes(reference, chosen)[0]
    seen = labelled_region(plane.cut(labelled), plane.spacing_mm, least=SURROUNDINGS)
    parts = [plane.cut(each)[seen].copy() for each in (drawn, ours, theirs)]
    grey = np.zeros(parts[0].shape)
    if scan is not None:
        low, high = window_of(scan.array[0])
        section = plane.cut(scan.array[0])[seen].astype(float)
        section = np.nan_to_num(section, nan=low, posinf=high, neginf=low)
        grey = np.clip((section - low) / (high - low), 0, 1)
    return SideBySide(
        grey,
        reference=parts[0],
        a=parts[1],
        b=parts[2],
        size_mm=plane.extent_mm(parts[0]),
        plane=plane.name,
        scan=scan is not None,
    )


def data_uri(
    grey: np.ndarray, labels: np.ndarray, reference: np.ndarray, colours: Mapping[int, Colour]
) -> str:
    """A PNG in a `data:` address: the labels in their colours, the reference outlined in white."""
    step = -(-max(grey.shape) // (2 * _PIXELS))
    grey, labels, reference = (each[::step, ::step] for each in (grey, labels, reference))
    factor = max(1, round(_PIXELS / max(grey.shape)))
    grey, labels, reference = (
        each.repeat(factor, axis=0).repeat(factor, axis=1) for each in (grey, labels, reference)
    )
    pixels = lay_over(grey, labels, colours, opacity=_OPACITY)
    pixels[_outline(reference)] = 1.0
    return png_uri(pixels)


def _outline(labels: np.ndarray) -> np.ndarray:
    """Pixels of a label within a line's width of another value, along rows and columns."""
    edge = np.zeros(labels.shape, bool)
    padded = np.pad(labels, _LINE)
    rows, columns = labels.shape
    for shift in range(1, _LINE + 1):
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            top, left = _LINE + down, _LINE + right
            edge |= padded[top : top + rows, left : left + columns] != labels
    return edge & (labels != 0)
