"""Label colours: the published ones first, and no two alike where they may meet."""

import itertools
import math

from attnseg.visualization import colour_of
from attnseg.visualization.palette import label_colours


def test_the_first_colours_are_okabe_and_itos() -> None:
    hexes = ["".join(f"{round(255 * c):02x}" for c in colour_of(n)) for n in range(7)]
    assert hexes == ["e69f00", "56b4e9", "009e73", "f0e442", "cc79a7", "d55e00", "0072b2"]


def test_colours_stay_apart() -> None:
    colours = [colour_of(n) for n in range(28)]
    assert all(0 <= c <= 1 for colour in colours for c in colour)
    assert min(math.dist(a, b) for a, b in itertools.combinations(colours[:7], 2)) > 0.25
    assert min(math.dist(a, b) for a, b in itertools.combinations(colours[:21], 2)) > 0.15
    assert len(set(colours)) == 28


def test_a_named_label_keeps_its_colour_when_others_are_absent() -> None:
    names = {0: "background", 3: "a", 7: "b", 500: "c"}
    assert label_colours({7, 3, 500}, names)[500] == colour_of(2)
    assert label_colours({500}, names) == {500: colour_of(2)}
    assert label_colours({-1, 5}, {}) == {-1: colour_of(0), 5: colour_of(1)}
