"""The page of a data check: whole, escaped, without network or script; pictures at their place."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest

from attnseg.datasets import CaseFacts, Finding, Intensity
from attnseg.datasets.report import Check
from attnseg.images import Geometry, Image
from attnseg.visualization.check_page import check_page
from attnseg.visualization.histogram import histogram_svg
from attnseg.visualization.thumbnails import data_uri, thumbnail_of

SHAPE = (20, 16, 6)
HOSTILE = '<script>alert("x")</script>'


def scan(seed: int = 0) -> Image:
    array = np.random.default_rng(seed).normal(100, 20, (1, *SHAPE)).astype(np.float32)
    return Image(array, Geometry(SHAPE, np.diag([-1.0, -1.0, 3.0, 1.0])))


def mask(origin=(0.0, 0.0, 0.0)) -> Image:
    labels = np.zeros((1, *SHAPE), np.uint8)
    labels[0, 4:9, 2:5, 3] = 3
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    affine[:3, 3] = origin
    return Image(labels, Geometry(SHAPE, affine))


class Tags(HTMLParser):
    """Tags that are open at the end, and what was met on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.met.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.met.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def a_check(*findings: Finding, names: dict[int, str] | None = None) -> Check:
    facts = tuple(
        CaseFacts(
            name,
            shape=SHAPE,
            ras_shape=SHAPE,
            ras_spacing_mm=(1.0, 1.0, 3.0),
            label_counts={0: 100, 3: 10 + number},
            voxel_volume_mm3=3.0,
            intensity=(Intensity(100, 20, 50, 150, 30, 180),),
        )
        for number, name in enumerate(("a", "b", HOSTILE))
    )
    return Check("data", f"data: paired\n{HOSTILE}", facts, findings, names or {3: HOSTILE})


def test_a_page_is_whole_and_calls_nothing_in():
    findings = (
        Finding("a", "harmless", "odd", "look"),
        Finding(HOSTILE, "fatal", HOSTILE, HOSTILE),
        Finding("b", "warning", "exchanged", "look"),
        Finding("b", "fixable", "NaN", "fill", "fill"),
    )
    pictures = {name: thumbnail_of(scan(), mask()) for name in ("a", HOSTILE)}
    page = check_page(a_check(*findings), pictures)
    tags = Tags(page)
    assert tags.open == []
    assert not {"script", "link", "iframe", "object"} & set(tags.met)
    assert "alert" in tags.text
    addresses = [value for key, value in tags.attributes if key in {"src", "href"}]
    assert len(addresses) == 2
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"https?://|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    # The gravest come first, here and among the pictures.
    severities = ("fatal", "fixable", "warning", "harmless")
    order = [page.index(f'class="severity {each}"') for each in severities]
    assert order == sorted(order)
    assert "1fatal" in tags.text
    assert "3case(s)" in tags.text


def test_a_page_without_findings():
    tags = Tags(check_page(a_check(names={3: "liver"}), {"a": thumbnail_of(scan(), mask())}))
    assert "img" not in tags.met
    assert "None." in tags.text
    assert "3 liver in 3 case(s)" in tags.text
    assert "median 0.033 ml" in tags.text


def test_no_more_than_fifty_pictures():
    findings = [Finding(f"c{number}", "harmless", "odd", "look") for number in range(53)]
    pictures = {each.case: thumbnail_of(scan(), mask()) for each in findings}
    tags = Tags(check_page(a_check(*findings), pictures))
    assert tags.met.count("img") == 50
    assert "and 3 more case(s)" in tags.text


def test_a_picture_shows_the_slice_with_the_label():
    image, labels = scan(), mask()
    thumbnail = thumbnail_of(image, labels)
    # I and J run to the left and to the back, as columns and rows of the display do.
    np.testing.assert_array_equal(thumbnail.labels, labels.array[0, :, :, 3].T)
    assert (thumbnail.plane, thumbnail.size_mm) == ("axial", (16.0, 20.0))
    low, high = np.percentile(image.array, (1, 99))
    expected = np.clip((image.array[0, :, :, 3].T - low) / (high - low), 0, 1)
    np.testing.assert_allclose(thumbnail.grey / 255, expected, atol=1 / 255)


def test_a_label_is_shown_where_its_own_header_puts_it():
    """Three voxels further left and one further up: as the mask's own affine says."""
    thumbnail = thumbnail_of(scan(), mask(origin=(-3.0, 0.0, 3.0)))
    expected = np.zeros((16, 20), np.uint8)
    expected[2:5, 7:12] = 3
    np.testing.assert_array_equal(thumbnail.labels, expected)
    assert not thumbnail_of(scan(), mask(origin=(0.0, 0.0, 500.0))).labels.any()


def test_pictures_without_label_with_nan_and_of_large_scans():
    image = scan()
    image.array[0, :3] = np.nan
    thumbnail = thumbnail_of(image, None)
    assert not thumbnail.labels.any()
    assert not thumbnail.grey[:, :3].any()
    large = Image(np.ones((1, 500, 400, 1), np.float32), Geometry((500, 400, 1), np.eye(4)))
    assert thumbnail_of(large, None).grey.shape == (134, 167)


def test_the_picture_of_a_label_is_blended_with_its_colour():
    thumbnail = thumbnail_of(scan(), mask())
    content = base64.b64decode(data_uri(thumbnail, {3: (1.0, 0.5, 0.0)}).partition(",")[2])
    pixels = np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")) / 255
    grey = np.repeat(thumbnail.grey[..., None] / 255, 3, axis=2)
    inside = thumbnail.labels == 3
    np.testing.assert_allclose(pixels[~inside], grey[~inside], atol=0.01)
    expected = 0.3 * grey[inside] + 0.7 * np.array([1.0, 0.5, 0.0])
    np.testing.assert_allclose(pixels[inside], expected, atol=0.01)


@pytest.mark.parametrize("values", [[5.0], [2.0, 2.0], [1.0, 2.0, 4.0, 4.0]])
def test_bars_of_a_histogram_hold_every_case(values: list[float]):
    svg = histogram_svg(values, colour="#e69f00", unit="ml")
    heights = [float(height) for height in re.findall(r'<rect[^>]*height="([\d.]+)"', svg)]
    numbers = np.array(heights) / max(heights) * max(values.count(value) for value in values)
    assert numbers.sum() == pytest.approx(len(values))
    assert f"{len(values)} cases, {min(values):g} to {max(values):g} ml" in svg
    assert f"median {np.median(values):g} ml" in svg


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 7), (5, 1, 7), (300, 2, 1), (3, 500, 4)])
def test_scans_of_any_shape_have_a_picture(shape: tuple[int, int, int]):
    array = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    affine = np.array([[0, -2.0, 0, 3], [1.0, 0, 0, 4], [0, 0, 0.5, 5], [0, 0, 0, 1]])
    image = Image(array, Geometry(shape, affine))
    labels = Image((array > 0.5).astype(np.int32) * 300, image.geometry)
    thumbnail = thumbnail_of(image, labels)
    assert thumbnail.grey.shape == thumbnail.labels.shape
    assert 1 <= max(thumbnail.grey.shape) <= 192
    assert set(np.unique(thumbnail.labels)) <= {0, 300}
    assert data_uri(thumbnail, {300: (1.0, 0.0, 0.0)}).startswith("data:image/png;base64,")
