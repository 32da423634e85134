"""Sheared grids made straight: what is there stays at its place in mm."""

import numpy as np
import pytest

from attnseg.images import Geometry, Image
from attnseg.preprocessing.straighten import onto_grid, straight_geometry, straighten


def sheared(degrees: float, shape: tuple[int, int, int] = (24, 20, 16)) -> Geometry:
    """Slices shifted along y, as a tilted gantry leaves them, on an oblique grid."""
    affine = np.diag([1.0, 1.2, 2.0, 1.0])
    affine[1, 2] = 2.0 * np.sin(np.radians(degrees))
    affine[2, 2] = 2.0 * np.cos(np.radians(degrees))
    turned = np.eye(4)
    turned[:3, :3], _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned[:3, 3] = 30, -80, 12
    return Geometry(shape, turned @ affine)


def places(geometry: Geometry) -> np.ndarray:
    """`[3, I, J, K]` in mm."""
    indices = np.indices(geometry.shape).reshape(3, -1)
    points = geometry.affine[:3, :3] @ indices + geometry.affine[:3, 3:]
    return points.reshape(3, *geometry.shape)


@pytest.mark.parametrize("degrees", [2.0, 15.0])
def test_what_is_linear_in_mm_stays_what_it_was(degrees):
    """Linear interpolation gives a linear field back, wherever it does not reach outside."""
    geometry = sheared(degrees)
    weights = np.array([0.3, -0.2, 0.5])
    field = np.tensordot(weights, places(geometry), 1).astype(np.float32)
    done = straighten(Image(field[None], geometry), labels=False)
    assert done.geometry.shear_degrees < 1e-6
    np.testing.assert_allclose(done.geometry.spacing_mm, geometry.spacing_mm)
    old = np.linalg.inv(geometry.affine) @ np.vstack(
        [places(done.geometry).reshape(3, -1), np.ones(np.prod(done.geometry.shape))]
    )
    size = np.array(geometry.shape)[:, None]
    inside = ((old[:3] > -1e-9) & (old[:3] < size - 1 + 1e-9)).all(0).reshape(done.geometry.shape)
    assert inside.sum() > 0.6 * field.size
    expected = np.tensordot(weights, places(done.geometry), 1)
    np.testing.assert_allclose(done.array[0][inside], expected[inside], atol=1e-3)
    assert done.array[0][~inside].min() == field.min()
    assert "resampled onto a straight grid" in done.notes[-1]


def test_labels_stay_in_place():
    geometry = sheared(12.0)
    middle = geometry.affine[:3, :3] @ (np.array(geometry.shape) / 2) + geometry.affine[:3, 3]
    distance = np.linalg.norm(places(geometry) - middle[:, None, None, None], axis=0)
    mask = np.where(distance < 6, 300, np.where(distance < 9, 7, 0)).astype(np.int16)
    done = straighten(Image(mask[None], geometry), labels=True)
    assert done.array.dtype == np.int16
    expected = np.linalg.norm(places(done.geometry) - middle[:, None, None, None], axis=0)
    for value, low, high in ((300, 0, 6), (7, 6, 9)):
        found = done.array[0] == value
        assert expected[found].max() < high + 1.5
        assert expected[found].min() >= low - 1.5
        volume = found.sum() * done.geometry.voxel_volume_mm3
        before = (mask == value).sum() * geometry.voxel_volume_mm3
        assert volume == pytest.approx(before, rel=0.05)


def test_every_voxel_lies_in_the_new_grid():
    for degrees in (0.0, 0.5, 30.0):
        geometry = sheared(degrees, (5, 4, 3))
        grid = straight_geometry(geometry)
        points = places(geometry).reshape(3, -1)
        at = np.linalg.inv(grid.affine) @ np.vstack([points, np.ones(points.shape[1])])
        assert at[:3].min() > -0.01
        assert (np.array(grid.shape) - 1 + 0.01 > at[:3].T).all()
    straight = sheared(0.0)
    assert straight_geometry(straight).matches(straight, tolerance_mm=1e-9)


def test_a_mask_on_a_grid_of_another_place_and_order():
    """Whole voxels apart and its axes permuted: every label lands on the voxel at its place."""
    geometry = sheared(0.0, (9, 8, 7))
    mask = np.random.default_rng(2).integers(0, 4, geometry.shape).astype(np.int16)
    affine = geometry.affine[:, [2, 0, 1, 3]]
    affine[:, 3] += affine[:, 0] - 2 * affine[:, 1]
    done = onto_grid(Image(mask[None], geometry), Geometry((6, 10, 8), affine), labels=True)
    expected = np.zeros((6, 10, 8), np.int16)
    expected[:, 2:, :] = mask.transpose(2, 0, 1)[1:, :8]
    np.testing.assert_array_equal(done.array[0], expected)
