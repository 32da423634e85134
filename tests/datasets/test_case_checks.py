"""A mask beside its image: when its header is believed, when it is a slip, and when neither."""

import numpy as np
import pytest

from attnseg.datasets.case_checks import (
    check_image,
    check_pair,
    common_space,
    header_slip,
    notes_of,
)
from attnseg.images import Geometry, Image

SHAPE = (12, 10, 8)


def affine(*spacing: float, origin=(0.0, 0.0, 0.0), signs=(1, 1, 1)) -> np.ndarray:
    placed = np.diag([*(s * mm for s, mm in zip(signs, spacing, strict=True)), 1.0])
    placed[:3, 3] = origin
    return placed


PLACED = affine(0.9, 0.9, 2.0, origin=(-31.0, 12.5, 40.0))


def mask(place: np.ndarray, shape=SHAPE) -> Image:
    labels = np.zeros((1, *shape), np.uint8)
    labels[0, 4:8, 4:7, 3:5] = 1
    return Image(labels, Geometry(shape, place))


def verdict(image: np.ndarray, label: np.ndarray, shape=SHAPE) -> tuple[str, str | None] | None:
    found = check_pair("a", Geometry(SHAPE, image), mask(label, shape))
    assert len(found) <= 1
    return (found[0].severity, found[0].mend) if found else None


def moved(*mm: float) -> np.ndarray:
    place = PLACED.copy()
    place[:3, 3] += mm
    return place


def turned(degrees: float) -> np.ndarray:
    """Turned about the middle of the grid."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = (c, -s), (s, c)
    middle = (PLACED @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]
    to, back = np.eye(4), np.eye(4)
    to[:3, 3], back[:3, 3] = -middle, middle
    return back @ turn @ to @ PLACED


def test_rounding_and_small_offsets():
    assert verdict(PLACED, moved(0.005, 0, 0)) is None
    assert verdict(PLACED, moved(0, 0.05, 0)) == ("harmless", None)


@pytest.mark.parametrize(
    "slip",
    [
        np.eye(4),
        affine(0.9, 0.9, 2.0),
        affine(0.9, 0.9, 2.0, signs=(-1, 1, 1)),
        affine(0.9, 0.9, 2.0, origin=(-0.9 * 5.5, -0.9 * 4.5, -7.0)),
        np.diag([-1.0, -1.0, 1.0, 1.0]) @ PLACED,
        moved(0.45, 0.45, 1.0),
        moved(0, 0, -2.0),
    ],
    ids=["identity", "no origin", "no origin, LAS", "centred", "LPS", "half a voxel", "a voxel"],
)
def test_headers_that_are_slips(slip):
    assert header_slip(Geometry(SHAPE, PLACED), Geometry(SHAPE, slip))
    assert verdict(PLACED, slip) == ("fixable", "copy header")


def test_an_identity_beside_an_image_that_lies_at_the_origin_itself():
    assert verdict(affine(0.9, 0.9, 2.0), np.eye(4)) == ("fixable", "copy header")


def test_masks_that_lie_in_the_same_world():
    assert verdict(PLACED, moved(2.0, 0, 0)) == ("fixable", "resample")
    assert verdict(PLACED, turned(15)) == ("fixable", "resample")


def test_masks_that_lie_elsewhere_or_have_other_voxels_need_a_person():
    assert verdict(PLACED, moved(0, 0, 60.0)) == ("fatal", None)
    # Two thirds of the space are common, but what is labelled lies outside the image.
    assert verdict(PLACED, moved(0, 0, -9.0)) == ("fatal", None)
    other = PLACED.copy()
    other[:3, 0] *= 1.2
    assert verdict(PLACED, other) == ("fatal", None)
    assert verdict(PLACED, PLACED, (12, 10, 9)) == ("fatal", None)


@pytest.mark.parametrize("permutation", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 1, -1), (-1, -1, 1), (1, 1, 1)])
def test_the_same_grid_in_another_order_of_axes(permutation, flips):
    place = PLACED[:, [*permutation, 3]]
    shape = tuple(SHAPE[axis] for axis in permutation)
    for axis, sign in enumerate(flips):
        if sign < 0:
            place[:, 3] += (shape[axis] - 1) * place[:, axis]
            place[:, axis] *= -1
    same = permutation == (0, 1, 2) and flips == (1, 1, 1)
    assert verdict(PLACED, place, shape) == (None if same else ("fixable", "reorient"))


def test_common_space_of_grids_in_closed_form():
    one = Geometry((10, 10, 10), np.eye(4))
    half = Geometry((10, 10, 10), affine(1, 1, 1, origin=(5, 0, 0)))
    assert common_space(one, one) == pytest.approx(1)
    assert common_space(one, half) == pytest.approx(1 / 3)
    assert common_space(one, Geometry((5, 5, 5), affine(2, 2, 2, origin=(0.5,) * 3))) == 1
    assert common_space(one, Geometry((10, 10, 10), affine(1, 1, 1, origin=(10, 0, 0)))) == 0


def test_axes_askew_are_fixable_beyond_one_degree():
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(1, *SHAPE)
    for degrees, expected in ((0.9, []), (3.0, [("fixable", "straighten")])):
        place = np.eye(4)
        place[1, 2] = np.tan(np.radians(degrees))
        found = check_image("a", Image(array, Geometry(SHAPE, place)))
        assert [(each.severity, each.mend) for each in found] == expected
        assert all(f"{degrees:.1f}° off right angles" in each.problem for each in found)


def test_notes_say_which_file_they_are_of():
    geometry = Geometry((1, 1, 1), np.eye(4))
    image = Image(np.zeros((1, 1, 1, 1)), geometry, notes=("p", "q"))
    labels = Image(np.zeros((1, 1, 1, 1)), geometry, notes=("p",))
    assert notes_of(image, labels) == ("image: p", "image: q", "label: p")
    assert notes_of(None, None) == ()
