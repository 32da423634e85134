"""A histogram as inline SVG, its text and lines in the colours of the page."""

from collections.abc import Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 300, 110
_BASE, _TOP, _MARGIN = 88, 6, 4
_BINS = 24


def histogram_svg(values: Sequence[float], *, colour: str, unit: str) -> str:
    """How many cases have which value, the median dashed, least and most written below.

    Args:
        values: at least one, finite.
        colour: of the bars, as `#e69f00`.
        unit: written behind the numbers.
    """
    numbers = np.asarray(values, dtype=float)
    low, high = float(numbers.min()), float(numbers.max())
    if high - low <= 1e-9 * abs(high):
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(numbers, bins=_BINS, range=(low, high))
    step = (_WIDTH - 2 * _MARGIN) / _BINS
    unit_height = (_BASE - _TOP) / counts.max()
    bars = "".join(
        f'<rect x="{_MARGIN + index * step + 0.5:.1f}" y="{_BASE - count * unit_height:.1f}" '
        f'width="{step - 1:.1f}" height="{count * unit_height:.1f}"/>'
        for index, count in enumerate(counts)
        if count
    )
    median = float(np.median(numbers))
    place = _MARGIN + (median - low) / (high - low) * (_WIDTH - 2 * _MARGIN)
    told = [f"{value:.3g}" for value in (numbers.min(), median, numbers.max())]
    title = f"{len(numbers)} cases, {told[0]} to {told[2]} {unit}, median {told[1]} {unit}"
    y = _HEIGHT - 6
    # The median's own number stands in the middle, where no other number is.
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>'
        f'<g fill="{escape(colour)}">{bars}</g>'
        f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_BASE}" y2="{_BASE}"/>'
        f'<line class="median" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{_BASE}"/>'
        f'<text x="{_MARGIN}" y="{y}">{told[0]}</text>'
        f'<text x="{_WIDTH / 2:g}" y="{y}" text-anchor="middle">median {told[1]} '
        f"{escape(unit)}</text>"
        f'<text x="{_WIDTH - _MARGIN}" y="{y}" text-anchor="end">{told[2]}</text></svg>'
    )
