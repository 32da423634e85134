"""Plots as SVG: every point where it belongs."""

import re

import numpy as np
import pytest

from attnseg.visualization.curves import (
    Box,
    Curve,
    box_plots_svg,
    curves_svg,
    round_ticks,
    tick_texts,
)


def test_a_line_has_all_its_points_in_order():
    curve = Curve("loss <1>", "#e69f00", [(0, 1.0), (50, 0.5), (100, 0.0)])
    svg = curves_svg([curve], what="loss")
    (points,) = re.findall(r'polyline points="([^"]+)"', svg)
    places = np.array([pair.split(",") for pair in points.split()], float)
    assert places.tolist() == [[44.0, 8.0], [177.0, 80.0], [310.0, 152.0]]
    assert "loss &lt;1&gt;" in svg
    assert svg.count("<circle") == 3


def test_boxes_stand_at_their_quartiles():
    values = [0.0, 0.25, 0.5, 0.75, 1.0]
    box = Box("liver", "#e69f00", values)
    assert box.quartiles() == (0.25, 0.5, 0.75)
    assert box.whiskers() == (0.0, 1.0)
    svg = box_plots_svg([box], what="Dice", limits=(0.0, 1.0))
    (rect,) = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)
    assert [float(n) for n in rect] == [126.0, 228.0]
    assert svg.count("<circle") == len(values)


def test_whiskers_leave_far_cases_out():
    box = Box("liver", "#e69f00", [0.1, 0.8, 0.81, 0.82, 0.83, 0.84])
    assert box.whiskers() == (0.8, 0.84)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.12, 0.87, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.5, 0.5, [0.2, 0.4, 0.6, 0.8]),
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_ticks_are_round_and_cover(low, high, expected):
    assert round_ticks(low, high) == expected


@pytest.mark.parametrize(
    ("ticks", "texts", "power"),
    [
        ([0.0, 0.0005, 0.001], ["0.0", "0.5", "1.0"], "10⁻³"),
        ([0.0, 1e-5, 2e-5], ["0", "10", "20"], "10⁻⁶"),
        ([-1.0, 0.0, 1.0], ["−1", "0", "1"], ""),
        ([0.0, 0.25, 0.5], ["0.00", "0.25", "0.50"], ""),
        ([0.0, 20000.0, 40000.0], ["0", "20", "40"], "10³"),
    ],
)
def test_ticks_are_written_with_equal_digits(ticks, texts, power):
    assert tick_texts(ticks) == (texts, power)


def test_a_power_of_ten_stands_above_its_plot():
    svg = curves_svg([Curve("fold 0", "#e69f00", [(0, 0.0), (50, 0.002)])], what="learning rate")
    (points,) = re.findall(r'polyline points="([^"]+)"', svg)
    assert points == "44.0,152.0 310.0,24.0"
    assert '<text x="44" y="14">× 10⁻³</text>' in svg
    assert ">2.0</text>" in svg
