"""Outlines and fillings are each other's inverse, by two rules of filling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from attnseg.images.dicom.contours import filled, outlines

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def wound(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels around whose centre the contours wind: the non-zero rule, pixel by pixel."""
    turns = np.zeros(shape)
    for i, j in np.ndindex(*shape):
        for contour in contours:
            angle = np.arctan2(*(contour - (i, j)).T)
            steps = np.diff(angle, append=angle[:1])
            turns[i, j] += np.round(((steps + np.pi) % (2 * np.pi) - np.pi).sum() / (2 * np.pi))
    return turns != 0


@settings(max_examples=200)
@given(MASKS)
def test_filled_outlines_are_the_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(outlines(mask), mask.shape), mask)


@settings(max_examples=30)
@given(MASKS)
def test_the_nonzero_rule_gives_the_same(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(wound(outlines(mask), mask.shape), mask)


@pytest.mark.slow
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_filled_outlines_are_the_mask_many_times(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(outlines(mask), mask.shape), mask)


@settings(max_examples=100)
@given(MASKS, st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_what_moves_points_by_less_than_half_a_pixel_moves_no_voxel(
    mask: np.ndarray, x: float, y: float
) -> None:
    moved = [outline + np.array([x, y]) for outline in outlines(mask)]
    np.testing.assert_array_equal(filled(moved, mask.shape), mask)


def test_a_single_pixel_is_its_square() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    (outline,) = outlines(mask)
    np.testing.assert_array_equal(outline, [[0.5, 1.5], [1.5, 1.5], [1.5, 2.5], [0.5, 2.5]])


def test_a_ring_is_one_outline_and_corners_do_not_join() -> None:
    ring = np.ones((5, 5), dtype=bool)
    ring[2, 2] = False
    (outline,) = outlines(ring)
    # Four corners outside, four inside, and the channel's outer end, there and back.
    assert len(outline) == 10
    assert len(outlines(np.eye(3, dtype=bool))) == 3
    assert outlines(np.zeros((3, 3), dtype=bool)) == []


def test_contours_within_contours_are_holes_and_islands() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    contours = [square * 8 + 0.5, square * 4 + 2.5, square * 1 + 3.5]
    inside = filled(contours, (12, 12))
    expected = np.zeros((12, 12), dtype=bool)
    expected[1:9, 1:9], expected[3:7, 3:7], expected[4, 4] = True, False, True
    np.testing.assert_array_equal(inside, expected)


def test_a_triangle_holds_the_centres_below_its_line_and_is_cut_at_the_grid() -> None:
    triangle = np.array([[-5.2, -5.2], [20.3, -5.2], [-5.2, 20.3]])
    i, j = np.indices((9, 7))
    np.testing.assert_array_equal(filled([triangle], (9, 7)), i + j < 15.1)
