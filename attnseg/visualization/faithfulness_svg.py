"""Deletion and insertion curves as inline SVG, text and lines in the colours of the page."""

import math
from collections.abc import Sequence

from attnseg.evaluation.faithfulness import Curve

_WIDTH, _HEIGHT = 320, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 18, 10, 34
HIGHEST = "#d55e00"  # against grey told apart with any colour vision, and by the dashes


def curve_svg(curve: Curve, *, axis: str, limits: tuple[float, float]) -> str:
    """Dice by the share of voxels: those with the highest α solid, random ones dashed.

    Args:
        curve: as measured.
        axis: what the shares are of.
        limits: of Dice, shared by the plots that stand side by side.
    """
    low, high = limits
    x = [_LEFT + share * (_WIDTH - _LEFT - _RIGHT) for share in curve.shares]

    def y(dice: float) -> float:
        return _HEIGHT - _BOTTOM - (dice - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def points(values: Sequence[float]) -> str:
        known = [(a, b) for a, b in zip(x, values, strict=True) if not math.isnan(b)]
        return " ".join(f"{a:.1f},{y(b):.1f}" for a, b in known)

    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{y(b):.1f}" r="3" fill="{HIGHEST}"/>'
        for a, b in zip(x, curve.dice, strict=True)
        if not math.isnan(b)
    )
    base = _HEIGHT - _BOTTOM
    ticks = "".join(
        f'<text x="{_LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" '
        f'y2="{y(value):.1f}"/>'
        for value in (low, (low + high) / 2, high)
    )
    shares = "".join(
        f'<text x="{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}" y="{base + 14}" '
        f'text-anchor="middle">{share:.0%}</text>'
        for share in (0, 0.5, 1)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>Dice by {axis}</title>{ticks}'
        f'{shares}<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 5}" '
        f'text-anchor="middle">{axis}</text>'
        f'<polyline class="median" fill="none" stroke-width="1.5" points="{points(curve.random)}"/>'
        f'<polyline fill="none" stroke="{HIGHEST}" stroke-width="2" points="{points(curve.dice)}"/>'
        f"{dots}</svg>"
    )


def dice_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Limits that hold every point, with a little room, in steps of 0.05."""
    values = [
        dice for curve in curves for dice in (*curve.dice, *curve.random) if not math.isnan(dice)
    ]
    if not values:
        return 0.0, 1.0
    low = math.floor((min(values) - 0.005) * 20) / 20
    high = math.ceil((max(values) + 0.005) * 20) / 20
    return max(0.0, low), min(1.0, high) if high > low else low + 0.05
