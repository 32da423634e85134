"""The page of a comparison: whole, escaped, without network or script; pictures at their place."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.evaluation import CaseResult, Evaluation, LabelResult, Score
from attnseg.evaluation.compare import compare
from attnseg.images import Geometry, Image
from attnseg.visualization.compare_page import compare_page
from attnseg.visualization.differences import differences_svg
from attnseg.visualization.side_by_side import data_uri, side_by_side

HOSTILE = "<script>alert('x')</script>"
SHAPE = (20, 16, 6)


def evaluation(dices, names) -> Evaluation:
    cases = tuple(
        CaseResult(name, Path(name), Path(name), {3: Score(dice, 9, 9 + n, 0.1, 0.1 + n)})
        for n, (name, dice) in enumerate(zip(names, dices, strict=True))
    )
    nan = float("nan")
    label = LabelResult(3, HOSTILE, nan, (nan, nan), nan, nan, nan, len(cases), 0)
    return Evaluation(cases, (label,), not_predicted=("lonely",))


def image(labels) -> Image:
    return Image(labels[None], Geometry(SHAPE, np.diag([-1.0, -1.0, 3.0, 1.0])))


def labels(rows: slice, k: slice = slice(1, 3)) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[rows, 4:10, k] = 3
    return array


@pytest.fixture
def comparison():
    names = [f"case {n}" for n in range(12)] + [HOSTILE]
    rng = np.random.default_rng(0)
    return compare(*(evaluation(rng.uniform(0.4, 0.9, 13), names) for _ in "ab"))


def test_the_page_is_whole_and_loads_nothing(comparison):
    picture = side_by_side(*(image(labels(slice(n, n + 6))) for n in (4, 5, 6)), None)
    pictures = dict.fromkeys(comparison.cases, picture)
    page = compare_page(comparison, pictures, {"A": "a", "B": HOSTILE, "reference": "r"})
    assert "<script" not in page
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r'src="data:[^"]*"', "", page))
    assert all(name in page for name in comparison.cases if name != HOSTILE)
    assert "lonely" in page
    assert page.count("<svg") == 1
    assert page.count("<circle") == 13
    assert page.count('src="data:image/png') == 2 * len(
        {*comparison.worst(), *comparison.most_changed()}
    )


def test_the_slice_is_where_the_methods_differ(comparison):
    reference = image(labels(slice(4, 10), slice(0, 4)))
    changed = labels(slice(4, 10), slice(0, 4))
    changed[4:6, :, 3] = 0
    scan = Image(np.random.default_rng(0).normal(0, 1, (1, *SHAPE)), reference.geometry)
    seen = side_by_side(reference, reference, image(changed), scan)
    assert seen.scan
    assert seen.caption() == "axial slice where A and B differ most, 20 mm wide"
    assert (seen.a != seen.b).sum() == 12
    assert (seen.a == seen.reference).all()
    same = side_by_side(reference, reference, reference, None)
    assert same.caption() == "axial slice, 20 mm wide, scan not shown"


def test_a_scan_on_another_grid_is_left_out():
    mask = image(labels(slice(4, 10)))
    other = Image(np.ones((1, 5, 5, 5), np.float32), Geometry((5, 5, 5), np.eye(4)))
    assert not side_by_side(mask, mask, mask, other).scan


def test_the_outline_is_white_and_the_mask_coloured():
    drawn = np.zeros((8, 8), int)
    drawn[2:6, 2:6] = 1
    uri = data_uri(np.zeros((8, 8)), np.ones((8, 8), int), drawn, {1: "#ff0000"})
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")
    pixels = np.asarray(picture)
    assert pixels.shape == (320, 320, 3)
    assert (pixels[80, 80] == 255).all()  # the corner of the reference
    assert tuple(pixels[160, 160]) == tuple(pixels[10, 10])  # inside and outside it
    assert pixels[160, 160, 0] > 100
    assert pixels[160, 160, 1] == 0
    assert (pixels == 255).all(axis=2).sum() == 160**2 - 156**2


def test_dots_stand_at_their_differences(comparison):
    label = comparison.labels[0]
    svg = differences_svg(label, limit=0.5, colour="#e69f00", lower_is_better=False)
    found = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]
    expected = [52 + (b - a + 0.5) * 240 for a, b in zip(label.a, label.b, strict=True)]
    assert found == pytest.approx(expected, abs=0.06)
    assert re.findall(r"#[0-9a-f]{6}", svg) == ["#e69f00"]  # all other colours are the page's


def test_a_single_case_and_a_case_without_labels():
    one = compare(evaluation([0.5], ["only"]), evaluation([0.7], ["only"]))
    page = compare_page(one, {}, {"A": "a"})
    assert "nan" not in page
    assert "one case says nothing about others" in page
    case = CaseResult("blank", Path("x"), Path("x"), {})
    nothing = compare(Evaluation((case,), ()), Evaluation((case,), ()))
    page = compare_page(nothing, {}, {"A": "a"})
    assert "nan" not in page
    assert "there is nothing to compare" in page
