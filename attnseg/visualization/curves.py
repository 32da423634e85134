"""Learning curves and box plots as inline SVG, their text and lines in the colours of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 320, 180
_LEFT, _RIGHT, _TOP, _BASE = 44, 310, 8, 152
_DOTTED = 40  # lines of at most so many points show each of them

_BOX_WIDTH, _ROW = 480, 54
_BOX_LEFT, _BOX_RIGHT, _BOX_TOP = 12, 468, 4
_TEXT = 'style="font-size: 13px"'  # the plot is as wide as a phone's screen, and wider elsewhere
_REACH = 1.5  # of the box: how far whiskers go at most (Tukey)
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Args:
        name: told by the line's tooltip.
        colour: as `#e69f00`.
        points: (step, value), finite, in the order of the steps.
    """

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Box:
    """One row of a box plot.

    Args:
        name: written above it.
        colour: as `#e69f00`.
        values: one a case, at least one, finite.
    """

    name: str
    colour: str
    values: Sequence[float]

    def quartiles(self) -> tuple[float, float, float]:
        """25th, 50th and 75th percentile, linear between cases."""
        low, middle, high = np.percentile(self.values, (25, 50, 75))
        return float(low), float(middle), float(high)

    def whiskers(self) -> tuple[float, float]:
        """The furthest cases within 1.5 box lengths of the box (Tukey 1977)."""
        low, _, high = self.quartiles()
        reach = _REACH * (high - low)
        inside = [value for value in self.values if low - reach <= value <= high + reach]
        # Linear quartiles may lie beyond every case within reach; a whisker never enters the box.
        return min([*inside, low]), max([*inside, high])


def curves_svg(curves: Sequence[Curve], *, what: str) -> str:
    """Lines over training steps on common axes.

    Args:
        curves: at least one with a point.
        what: the quantity, for those who cannot see the plot.
    """
    shown = [curve for curve in curves if curve.points]
    steps = [step for curve in shown for step, _ in curve.points]
    values = [value for curve in shown for _, value in curve.points]
    first, last = 0.0, max([1.0, *steps])
    ticks = round_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    written, power = tick_texts(ticks)
    top = _TOP + 16 if power else _TOP

    def x(step: float) -> float:
        return _LEFT + (step - first) / (last - first) * (_RIGHT - _LEFT)

    def y(value: float) -> float:
        return _BASE - (value - low) / (high - low) * (_BASE - top)

    grid = "".join(
        f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{text}</text>'
        for tick, text in zip(ticks, written, strict=True)
    )
    if power:
        grid += f'<text x="{_LEFT}" y="{_TOP + 6}">× {power}</text>'
    lines = "".join(_line(curve, [(x(s), y(v)) for s, v in curve.points]) for curve in shown)
    told = ", ".join(f"{curve.name} ends at {curve.points[-1][1]:.4g}" for curve in shown)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>{escape(f'{what} over {last:g} steps: {told}')}</title>{grid}{lines}"
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">0</text>'
        f'<text x="{(_LEFT + _RIGHT) / 2:g}" y="{_HEIGHT - 8}" text-anchor="middle">step</text>'
        f'<text x="{_RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{last:,.0f}</text></svg>'
    )


def box_plots_svg(boxes: Sequence[Box], *, what: str, limits: tuple[float, float]) -> str:
    """One row a box on a common axis: quartiles, median, whiskers, and a dot for each case.

    Args:
        boxes: at least one.
        what: the quantity.
        limits: of the axis.
    """
    low, high = limits
    base = _BOX_TOP + _ROW * len(boxes)

    def x(value: float) -> float:
        return _BOX_LEFT + (value - low) / (high - low) * (_BOX_RIGHT - _BOX_LEFT)

    ticks = [tick for tick in round_ticks(low, high) if low - 1e-9 <= tick <= high + 1e-9]
    axis = "".join(
        f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_BOX_TOP}" y2="{base}"/>'
        f'<text {_TEXT} x="{x(tick):.1f}" y="{base + 17}" text-anchor="middle">{tick:g}</text>'
        for tick in ticks
    )
    rows = []
    for number, box in enumerate(boxes):
        top = _BOX_TOP + _ROW * number
        first, middle, third = map(x, box.quartiles())
        start, end = map(x, box.whiskers())
        y = top + 34
        # Dots are spread over the row by the golden ratio: even, and the same every time.
        dots = "".join(
            f'<circle cx="{x(value):.1f}" cy="{y - 9 + 18 * (n * _GOLDEN % 1):.1f}" r="2"/>'
            for n, value in enumerate(box.values)
        )
        rows.append(
            f'<text {_TEXT} x="{_BOX_LEFT}" y="{top + 16}">{escape(box.name)}</text>'
            f'<text {_TEXT} x="{_BOX_RIGHT}" y="{top + 16}" text-anchor="end">median '
            f"{box.quartiles()[1]:.3f}</text>"
            f'<g fill="{escape(box.colour)}" fill-opacity="0.55">{dots}</g>'
            f'<g stroke="{escape(box.colour)}" stroke-width="2">'
            f'<line x1="{start:.1f}" x2="{first:.1f}" y1="{y}" y2="{y}"/>'
            f'<line x1="{third:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>'
            f'<rect x="{first:.1f}" y="{y - 10}" width="{third - first:.1f}" height="20" '
            f'fill="{escape(box.colour)}" fill-opacity="0.25"/></g>'
            f'<line class="middle" x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 10}" '
            f'y2="{y + 10}"/>'
        )
    told = ", ".join(f"{box.name} median {box.quartiles()[1]:.4g}" for box in boxes)
    return (
        f'<svg viewBox="0 0 {_BOX_WIDTH} {base + 24}" role="img">'
        f"<title>{escape(f'{what}: {told}')}</title>{axis}{''.join(rows)}</svg>"
    )


def round_ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers that cover low … high; at least two.

    Example:
        >>> round_ticks(0.12, 0.87)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if stop - start <= most:
            break
    return [float(f"{number * step:.10g}") for number in range(start, stop + 1)]


def tick_texts(ticks: Sequence[float]) -> tuple[list[str], str]:
    """Ticks as they are written, all with as many digits, and the power of ten they are times.

    Thousandths and less, and tens of thousands and more, leave a power of a thousand to the axis.

    Args:
        ticks: of `round_ticks`.

    Example:
        >>> tick_texts([0.0, 0.0005, 0.001])
        (['0.0', '0.5', '1.0'], '10⁻³')
    """
    largest = max(abs(tick) for tick in ticks)
    exponent = math.floor(math.log10(largest) + 1e-9)
    thousands = 0 if -3 < exponent < 4 else 3 * (exponent // 3)
    scaled = [float(f"{tick / 10.0**thousands:.10g}") for tick in ticks]
    digits = max(len(f"{value:g}".partition(".")[2]) for value in scaled)
    texts = [f"{value:.{digits}f}".replace("-", "−") for value in scaled]
    return texts, f"10{str(thousands).translate(_RAISED)}" if thousands else ""


def _line(curve: Curve, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    colour = escape(curve.colour)
    dots = ""
    if len(places) <= _DOTTED:
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in places)
    return (
        f'<g fill="{colour}"><title>{escape(curve.name)}</title><polyline points="{path}" '
        f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>{dots}</g>'
    )
