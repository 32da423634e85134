"""Label colours that people with any colour vision tell apart, on dark and on grey."""

import colorsys
from collections.abc import Iterable

Colour = tuple[float, float, float] | str  # red, green, blue in 0..1, a name or a code

# Okabe & Ito (2008), without black, which vanishes on a scan; the dark blue comes late for the
# same reason. Neighbours in this order differ in lightness as well as in hue.
_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
# Lightness of each round through the hues, searched so that the first 21 stay far apart in RGB.
_ROUNDS = (1.0, 1.3, 0.7, 1.6)


def colour_of(index: int) -> tuple[float, float, float]:
    """Red, green, blue in 0..1 of the label with that rank (0 is the first label).

    The first seven are the Okabe-Ito colours; later ones repeat their hues darker and lighter.
    After 28 the colours repeat.

    Example:
        >>> [round(255 * c) for c in colour_of(0)]
        [230, 159, 0]
    """
    turn, hue = divmod(index, len(_OKABE_ITO))
    code = _OKABE_ITO[hue]
    red, green, blue = rgb_of(code)
    factor = _ROUNDS[turn % len(_ROUNDS)]
    if factor == 1.0:
        return red, green, blue
    h, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    return colorsys.hls_to_rgb(h, min(0.95, lightness * factor), saturation)


def rgb_of(colour: Colour) -> tuple[float, float, float]:
    """Red, green, blue in 0..1 of a colour or of a code, as `#e69f00`."""
    if not isinstance(colour, str):
        return colour
    red, green, blue = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return red, green, blue


def label_colours(values: Iterable[int], names: Iterable[int]) -> dict[int, Colour]:
    """Colours by label value, in rising order of the values.

    Args:
        values: labels to colour.
        names: all labels that have a name. The rank of a label among all of both chooses its
            colour, so that a label keeps it when others are missing from a scan.
    """
    ranks = sorted((set(names) | set(values)) - {0})
    return {value: colour_of(ranks.index(value)) for value in sorted(set(values))}
