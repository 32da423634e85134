"""Geometry against nibabel on any affine, and distances in mm known by hand."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes, io_orientation

from attnseg.images import Geometry

SIGNED_PERMUTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    total = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        total = total @ turn
    return total


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Flipped and permuted, rotated by any angle, anisotropic up to 1 : 50, sheared up to 0.4."""
    floats = st.floats
    angles = draw(st.tuples(*[floats(-np.pi, np.pi)] * 3))
    spacing = draw(st.tuples(*[floats(0.2, 10.0)] * 3))
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = draw(st.tuples(*[floats(-0.4, 0.4)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = (
        rotation(angles) @ draw(st.sampled_from(SIGNED_PERMUTATIONS)) @ shear @ np.diag(spacing)
    )
    affine[:3, 3] = draw(st.tuples(*[floats(-300.0, 300.0)] * 3))
    return affine


@given(affines())
@settings(derandomize=True, deadline=None, max_examples=300)
def test_orientation_equals_nibabels(affine: np.ndarray) -> None:
    expected = io_orientation(affine)
    noise = np.zeros((4, 4))
    noise[:3, :3] = 1e-7 * np.arange(1, 10).reshape(3, 3)
    for nudged in (affine + noise, affine - noise, affine + noise.T):
        assume(np.array_equal(expected, io_orientation(nudged)))  # not on the edge of two axes
    geometry = Geometry((3, 4, 5), affine)
    assert np.array_equal(geometry.closest_axes, expected)
    assert geometry.orientation == "".join(aff2axcodes(affine))
    np.testing.assert_allclose(geometry.spacing_mm, voxel_sizes(affine), rtol=1e-12)


def test_orientation_of_all_48_axis_orders() -> None:
    found = set()
    for matrix in SIGNED_PERMUTATIONS:
        affine = np.eye(4)
        affine[:3, :3] = matrix @ np.diag([0.5, 2.0, 7.0])
        geometry = Geometry((3, 4, 5), affine)
        assert geometry.orientation == "".join(aff2axcodes(affine))
        assert geometry.spacing_mm == (0.5, 2.0, 7.0)
        found.add(geometry.orientation)
    assert len(found) == 48


def test_shear_does_not_decide_the_orientation() -> None:
    # The columns' own largest entries say R, S and S; the nearest rotation says A, L, S.
    affine = np.eye(4)
    affine[:3, :3] = [[0.8, -0.9, 0.4], [0.6, 0.2, 0.5], [-0.3, 1.0, 1.6]]
    assert Geometry((2, 2, 2), affine).orientation == "".join(aff2axcodes(affine)) == "ALS"


def test_distance_of_a_shift() -> None:
    near = Geometry((10, 20, 30), np.diag([1.0, 2.0, 3.0, 1.0]))
    moved = near.affine.copy()
    moved[:3, 3] = 3.0, -4.0, 12.0
    assert near.distance_mm(Geometry(near.shape, moved)) == pytest.approx(13.0)
    assert near.distance_mm(near) == 0.0


def test_distance_grows_with_the_lever() -> None:
    """A rotation about voxel 0 by θ moves the corner at distance r by 2 r sin(θ/2)."""
    affine, turned = np.eye(4), np.eye(4)
    angle = 0.01
    turned[:3, :3] = rotation((0.0, 0.0, angle))
    distance = Geometry((31, 41, 1), affine).distance_mm(Geometry((31, 41, 1), turned))
    assert distance == pytest.approx(2 * 50.0 * np.sin(angle / 2))


def shifted(geometry: Geometry, mm: float) -> Geometry:
    affine = geometry.affine.copy()
    affine[1, 3] += mm
    return Geometry(geometry.shape, affine)


def test_matches_within_a_tenth_of_the_smallest_spacing() -> None:
    geometry = Geometry((8, 8, 8), np.diag([3.0, 0.5, 2.0, 1.0]))
    assert geometry.matches(geometry)
    assert geometry.matches(shifted(geometry, 0.049))
    assert not geometry.matches(shifted(geometry, 0.051))


def test_matches_takes_a_tolerance_in_mm() -> None:
    geometry = Geometry((8, 8, 8), np.diag([3.0, 0.5, 2.0, 1.0]))
    assert geometry.matches(shifted(geometry, 1.9), tolerance_mm=2.0)
    assert not geometry.matches(shifted(geometry, 2.1), tolerance_mm=2.0)
    assert not geometry.matches(shifted(geometry, 1e-3), tolerance_mm=1e-4)


def test_matches_never_for_another_shape() -> None:
    geometry = Geometry((8, 8, 8), np.eye(4))
    assert not geometry.matches(Geometry((8, 8, 7), np.eye(4)), tolerance_mm=100.0)


def test_the_affine_is_a_copy_that_nobody_changes() -> None:
    given_affine = np.eye(4)
    geometry = Geometry((2, 2, 2), given_affine)
    given_affine[0, 3] = 99.0
    assert geometry.affine[0, 3] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 3] = 1.0
