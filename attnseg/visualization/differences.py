"""Paired differences as inline SVG, text and lines in the colours of the page."""

from collections.abc import Sequence
from html import escape

import numpy as np

from attnseg.evaluation.comparison import Paired

_WIDTH, _LEFT, _RIGHT = 300, 52, 292
_TOP, _DOTS, _ROW = 18, 44, 20  # heights: above, of the row of dots, of a row without
_RADIUS = 2.6
_TEXT = 'style="stroke: var(--text)"'


def differences_svg(paired: Paired, *, limit: float, colour: str, lower_is_better: bool) -> str:
    """A dot per case, below it the mean with its interval, and those by size.

    Args:
        paired: of a label.
        limit: the axis runs from -limit to limit, so that several labels can share one.
        colour: of the dots, as `#e69f00`.
        lower_is_better: what positive means.
    """
    differences = [b - a for a, b in zip(paired.a, paired.b, strict=True)]
    rows = [("all", _TOP + _DOTS, paired.difference)]
    rows += [
        (group.name, _TOP + _DOTS + _ROW * (number + 1), group.difference)
        for number, group in enumerate(paired.sizes)
    ]
    base = rows[-1][1] + _ROW // 2
    parts = [_dots(paired.cases, differences, limit, colour)]
    for name, y, (mean, low, high) in rows:
        parts.append(f'<text x="2" y="{y + 4}">{name}</text>')
        if not np.isnan(low):
            parts.append(
                f'<line {_TEXT} stroke-width="2" x1="{_x(low, limit):.1f}" '
                f'x2="{_x(high, limit):.1f}" y1="{y}" y2="{y}"/>'
            )
        if not np.isnan(mean):
            parts.append(
                f'<rect style="fill: var(--text)" x="{_x(mean, limit) - 3:.1f}" y="{y - 3}" '
                'width="6" height="6"/>'
            )
    zero = _x(0, limit)
    left, right = ("B better", "A better") if lower_is_better else ("A better", "B better")
    mean, low, high = paired.difference
    title = f"B - A on {paired.name}, {len(differences)} case(s): mean {mean:+.3g}"
    title += "" if np.isnan(low) else f", interval {low:+.3g} to {high:+.3g}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {base + 18}" role="img"><title>{escape(title)}</title>'
        f'<line class="median" x1="{zero:.1f}" x2="{zero:.1f}" y1="4" y2="{base}"/>'
        f'<text x="{_LEFT}" y="11">{left}</text>'
        f'<text x="{_RIGHT}" y="11" text-anchor="end">{right}</text>'
        f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{base}" y2="{base}"/>'
        f"{''.join(parts)}"
        f'<text x="{_LEFT}" y="{base + 13}">{-limit:.3g}</text>'
        f'<text x="{zero:.1f}" y="{base + 13}" text-anchor="middle">0</text>'
        f'<text x="{_RIGHT}" y="{base + 13}" text-anchor="end">{limit:+.3g}</text></svg>'
    )


def _dots(names: Sequence[str], differences: Sequence[float], limit: float, colour: str) -> str:
    """Dots that would hide each other are stacked, as high as the row lets them."""
    height: dict[int, int] = {}
    bins = [round(_x(each, limit) / (2 * _RADIUS)) for each in differences]
    tallest = max((bins.count(each) for each in set(bins)), default=1)
    step = min(2 * _RADIUS, (_DOTS - 16) / max(1, tallest - 1))
    dots = []
    for name, difference, place in zip(names, differences, bins, strict=True):
        level = height[place] = height.get(place, -1) + 1
        y = _TOP + _DOTS - 12 - level * step
        dots.append(
            f'<circle cx="{_x(difference, limit):.1f}" cy="{y:.1f}" r="{_RADIUS}">'
            f"<title>{escape(name)}: {difference:+.4f}</title></circle>"
        )
    return f'<g fill="{escape(colour)}">{"".join(dots)}</g>'


def _x(value: float, limit: float) -> float:
    return _LEFT + (value / limit + 1) / 2 * (_RIGHT - _LEFT)
