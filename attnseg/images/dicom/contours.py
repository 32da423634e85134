"""Outlines of 2D masks and the masks within outlines, exactly the inverse of each other.

An outline runs along the edges between pixels, half a pixel from every pixel's centre: whatever
rounding does to its points, each centre stays on its own side. Coordinates are the pixels' indices
(i, j), with centres at whole numbers.
"""

from collections.abc import Sequence

import numpy as np

# Right, up, left, down; a left turn is the next one.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_Vertex = tuple[int, int]


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines `[N, 2]` of the regions of a 2D mask, their last point joined to the first.

    Regions that touch at a corner alone are apart. A hole is joined to the outline around it by a
    channel of no width (a "keyhole", PS3.3 C.8.8.6.3): filled by the even-odd or the non-zero rule,
    the outlines give the mask again.

    Args:
        mask: `[I, J]` bool.
    """
    if not mask.any():
        return []
    ends = [np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    (left, right), (low, high) = ends
    loops = _loops(mask[left : right + 1, low : high + 1])
    polygons = [loop for loop in loops if _area(loop) > 0]
    owner = {vertex: index for index, loop in enumerate(polygons) for vertex in loop}
    # From left to right: what lies left of a hole's leftmost point is joined before it.
    for hole in sorted((loop for loop in loops if _area(loop) < 0), key=min):
        start = hole.index(min(hole))
        hole = hole[start:] + hole[: start + 1]
        x, y = hole[0]
        while (x, y) not in owner:
            x -= 1
        index = owner[x, y]
        polygon = polygons[index]
        place = polygon.index((x, y))
        polygons[index] = [*polygon[: place + 1], *hole, *polygon[place:]]
        owner.update(dict.fromkeys(hole, index))
    corner = np.array([left, low]) - 0.5
    return [_corners(np.array(polygon)) + corner for polygon in polygons]


def filled(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels `[I, J]` whose centres lie within closed contours `[N, 2]`, by the even-odd rule.

    A centre on a contour belongs to the region on its right, or above it.

    Args:
        contours: in pixels; parts outside the grid are cut off.
        shape: (I, J).
    """
    toggles = np.zeros((shape[0] + 1, shape[1]), dtype=np.uint8)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        low = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), 0, shape[1]).astype(int)
        high = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, shape[1]).astype(int)
        count = high - low
        if not count.any():
            continue
        edge = np.repeat(np.arange(len(contour)), count)
        first = np.cumsum(count) - count
        row = np.arange(len(edge)) - first[edge] + low[edge]
        (x0, y0), (x1, y1) = start[edge].T, end[edge].T
        crossing = x0 + (row - y0) / (y1 - y0) * (x1 - x0)
        column = np.clip(np.ceil(crossing), 0, shape[0]).astype(int)
        np.bitwise_xor.at(toggles, (column, row), 1)
    inside: np.ndarray = np.bitwise_xor.accumulate(toggles[:-1], axis=0).astype(bool)
    return inside


def _loops(mask: np.ndarray) -> list[list[_Vertex]]:
    """Closed loops of unit edges with the region on their left, vertex by vertex."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    # Per direction: pixels whose edge runs that way, and where on the pixel it starts.
    bordering = (padded[1:-1, :-2], padded[2:, 1:-1], padded[1:-1, 2:], padded[:-2, 1:-1])
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    leaving: dict[_Vertex, list[int]] = {}
    for direction, (neighbour, start) in enumerate(zip(bordering, starts, strict=True)):
        for i, j in (np.argwhere(inner & ~neighbour) + start).tolist():
            leaving.setdefault((i, j), []).append(direction)
    loops = []
    while leaving:
        vertex, ways = next(iter(leaving.items()))
        direction, loop = ways[0], list[_Vertex]()
        while True:
            leaving[vertex].remove(direction)
            if not leaving[vertex]:
                del leaving[vertex]
            loop.append(vertex)
            vertex = (vertex[0] + _STEPS[direction][0], vertex[1] + _STEPS[direction][1])
            ways, left = leaving.get(vertex, []), (direction + 1) % 4
            if vertex == loop[0] and left not in ways:
                break
            # Where two pixels meet at a corner alone, stay with the one at hand.
            direction = left if left in ways else ways[0]
        loops.append(loop)
    return loops


def _area(loop: list[_Vertex]) -> float:
    """Twice the area within; negative where the region is on the outside."""
    x, y = np.array(loop).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _corners(polygon: np.ndarray) -> np.ndarray:
    """A closed polygon without repeated points and points on the way straight on."""
    polygon = polygon[(polygon != np.roll(polygon, 1, axis=0)).any(axis=1)]
    before, after = polygon - np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0) - polygon
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return polygon[(cross != 0) | ((before * after).sum(axis=1) < 0)]
