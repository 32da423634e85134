"""Where things stand in a figure: plain arithmetic in pixels, from the top left corner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnseg.visualization.slices import Plane

WIDTH = 1100
MARGIN = 20
GAP = 10
MAX_PANEL_HEIGHT = 420
NARROWEST, FLATTEST = 0.45, 2.5  # width by height of a panel


@dataclass(frozen=True)
class Panel:
    """A plane, how many mm of it are seen, and its place in the figure in pixels."""

    plane: Plane
    height_mm: float
    width_mm: float
    left: float
    height: float
    width: float


def place_panels(planes: Sequence[Plane], volume: np.ndarray) -> list[Panel]:
    """One row of panels of one height, centred, each at the scale that its slice fills it.

    A very narrow or very flat slice gets an empty border, so that its marks find room.

    Args:
        planes: slices of `volume`.
        volume: `[I, J, K]`.
    """
    views = []
    for plane in planes:
        height_mm, width_mm = plane.size_mm(volume)
        views.append((max(height_mm, width_mm / FLATTEST), max(width_mm, height_mm * NARROWEST)))
    aspects = [width_mm / height_mm for height_mm, width_mm in views]
    free = WIDTH - 2 * MARGIN - GAP * (len(planes) - 1)
    height = min(MAX_PANEL_HEIGHT, free / sum(aspects))
    left = MARGIN + (free - height * sum(aspects)) / 2
    panels = []
    for plane, view, aspect in zip(planes, views, aspects, strict=True):
        panels.append(Panel(plane, *view, left, height, height * aspect))
        left += height * aspect + GAP
    return panels


def flow(widths: Sequence[float], free: float) -> list[tuple[float, int]]:
    """Place items side by side, and on the next line where the width is used up.

    Returns:
        (left edge in pixels, line) of each item.
    """
    places = []
    left, line = 0.0, 0
    for width in widths:
        if left > 0 and left + width > free:
            left, line = 0.0, line + 1
        places.append((left, line))
        left += width
    return places


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, … (and of 0.5, 0.2, …) that is not above `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step for step in (power, 2 * power, 5 * power) if step <= most * (1 + 1e-9))
