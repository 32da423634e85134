"""Warps: against rotations done by hand, scipy, and what they promise (in step, no folds)."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from attnseg.config import AugmentationConfig
from attnseg.training.warp import Warp, draw_warp, fine_axes, resample

CPU = torch.device("cpu")


def draw(seed=0, *, patch=(20, 16, 12), spacing_mm=(1.0, 1.0, 1.0), **settings) -> Warp | None:
    probabilities = {"spatial_probability": 1, "elastic_probability": 1}
    return draw_warp(
        AugmentationConfig(**(probabilities | settings)),
        patch,
        spacing_mm,
        affine=np.random.default_rng((seed, 0)),
        elastic=np.random.default_rng((seed, 1)),
    )


def voxels(warp: Warp, middle) -> np.ndarray:
    """`[3, *patch]`, in the order R, A, S."""
    return warp.coordinates(middle, device=CPU).flip(-1).movedim(-1, 0).numpy()


def in_the_middle(shape) -> tuple[float, ...]:
    return tuple((n - 1) / 2 for n in shape)


@pytest.mark.parametrize(
    ("patch", "spacing_mm", "expected"),
    [
        ((8, 8, 8), (1, 1, 1), (0, 1, 2)),
        ((8, 8, 8), (1, 1, 2.9), (0, 1, 2)),
        ((8, 8, 8), (1, 1, 3), (0, 1)),
        ((8, 8, 8), (5, 1, 1.2), (1, 2)),
        ((8, 8, 8), (5, 1, 5), (1,)),
        ((8, 8, 1), (2, 2, 0.1), (0, 1)),
        ((1, 1, 1), (1, 1, 1), ()),
    ],
)
def test_fine_axes(patch, spacing_mm, expected):
    assert fine_axes(patch, spacing_mm) == expected


def test_a_quarter_turn_is_numpys():
    generator = np.random.default_rng(0)
    image = generator.normal(size=(2, 7, 7, 5)).astype(np.float32)
    label = generator.integers(-1, 3, (1, 7, 7, 5)).astype(np.int16)
    matrix = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    x = Warp((7, 7, 5), matrix).coordinates((3, 3, 2), device=CPU)
    turned, mask = resample(torch.from_numpy(image), torch.from_numpy(label), x)
    np.testing.assert_allclose(turned.numpy(), np.rot90(image, -1, axes=(1, 2)), atol=1e-5)
    np.testing.assert_array_equal(mask.numpy(), np.rot90(label, -1, axes=(1, 2)))


@pytest.mark.parametrize("shape", [(24, 20, 16), (9, 8, 7), (5, 1, 6)])
def test_resampling_agrees_with_scipy(shape):
    """Smaller volumes than the patch as well: zeros beyond, labels included."""
    generator = np.random.default_rng(1)
    image = generator.normal(size=(2, *shape)).astype(np.float32)
    label = generator.integers(-1, 4, (1, *shape)).astype(np.int16)
    warp = draw(3, rotation_degrees=40, scale=0.3)
    x = warp.coordinates(in_the_middle(shape), device=CPU)
    ours, mask = resample(torch.from_numpy(image), torch.from_numpy(label), x)
    where = voxels(warp, in_the_middle(shape))
    for channel, sampled in zip(image, ours.numpy(), strict=True):
        # grid-constant: what lies beyond counts as 0 in the interpolation too.
        theirs = map_coordinates(channel, where, order=1, mode="grid-constant")
        np.testing.assert_allclose(sampled, theirs, atol=2e-4)
    theirs = map_coordinates(label[0], where, order=0, mode="grid-constant")
    assert (mask[0].numpy() == theirs).mean() > 0.999, "but for ties"
    assert set(np.unique(mask)) <= {-1, 0, 1, 2, 3}


def test_an_image_equal_to_its_label_stays_so():
    label = torch.zeros(1, 24, 20, 18, dtype=torch.int16)
    label[:, 6:18, 5:15, 4:14] = 1
    for seed in range(5):
        x = draw(seed, rotation_degrees=30).coordinates((11.5, 9.5, 8.5), device=CPU)
        image, mask = resample(label.float(), label, x)
        clear = (image - 0.5).abs() > 0.49  # away from the surface, where linear and nearest differ
        assert clear.float().mean() > 0.7
        torch.testing.assert_close(image[clear].round(), mask[clear])


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 0.7, 2.0)])
def test_rotations_are_rotations_in_millimetres(spacing_mm):
    D = np.diag(spacing_mm)
    for seed in range(10):
        warp = draw(seed, spacing_mm=spacing_mm, scale=0, elastic_probability=0)
        R = D @ warp.matrix @ np.linalg.inv(D)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1)
        assert np.abs(np.arcsin(R[0, 1])) <= np.deg2rad(31), "two turns of up to 15°"


def test_scales_lie_within_the_promised_range():
    factors = np.array(
        [
            np.diag(draw(seed, rotation_degrees=0, scale=0.25, elastic_probability=0).matrix)
            for seed in range(300)
        ]
    )
    assert factors.min() >= 1 / 1.25
    assert factors.max() <= 1.25
    assert factors.max() > 1.2
    assert factors.min() < 1 / 1.2
    spread = np.log(factors.max(axis=1) / factors.min(axis=1))
    assert spread.max() <= 0.5 * np.log(1.25), "mostly the same along all axes"


def test_deformations_never_fold():
    """Jacobian determinant of i + d(i), positive at every voxel, with the largest shifts too."""
    patch = (24, 20, 16)
    for seed in range(20):
        shifts = draw(seed, patch=patch).shifts
        if seed % 2:  # every control point at its limit
            shifts = np.sign(shifts) * np.abs(shifts).max(axis=(1, 2, 3), keepdims=True)
        where = voxels(Warp(patch, np.eye(3), shifts), in_the_middle(patch))
        jacobian = np.stack([np.stack(np.gradient(each), axis=-1) for each in where], axis=-2)
        assert np.linalg.det(jacobian).min() > 0


def test_equal_control_points_shift_everything_alike():
    plain = Warp((9, 8, 7), np.eye(3))
    shifts = np.broadcast_to(np.array([1.5, -2, 0.25])[:, None, None, None], (3, 5, 4, 6))
    moved = Warp((9, 8, 7), np.eye(3), shifts)
    difference = voxels(moved, (4, 4, 4)) - voxels(plain, (4, 4, 4))
    np.testing.assert_allclose(
        difference, np.broadcast_to(shifts[:, :1, :1, :1], (3, 9, 8, 7)), atol=1e-5
    )


def test_reach_bounds_what_a_patch_looks_at():
    for seed in range(20):
        warp = draw(seed, rotation_degrees=90, spacing_mm=(1, 1.5, 2))
        distance = np.abs(voxels(warp, (0, 0, 0))).max(axis=(1, 2, 3))
        assert (distance <= warp.reach() + 1e-4).all()
        affine = Warp(warp.patch, warp.matrix)
        exact = np.abs(voxels(affine, (0, 0, 0))).max(axis=(1, 2, 3))
        np.testing.assert_allclose(exact, affine.reach(), rtol=1e-5)


def test_coarse_axes_are_left_alone():
    warp = draw(5, spacing_mm=(1, 1, 3))
    np.testing.assert_array_equal(warp.matrix[2], [0, 0, 1])
    np.testing.assert_array_equal(warp.matrix[:, 2], [0, 0, 1])
    assert not warp.shifts[2].any()
    assert warp.shifts.shape[3] == 1
    where = voxels(warp, (0, 0, 0))
    np.testing.assert_array_equal(where[2], np.broadcast_to(np.arange(12) - 5.5, (20, 16, 12)))
    for axis in (0, 1):  # every slice is changed alike
        np.testing.assert_allclose(where[axis], np.broadcast_to(where[axis, ..., :1], (20, 16, 12)))


def test_nothing_drawn_is_no_warp():
    assert draw(spatial_probability=0, elastic_probability=0) is None
    assert draw(rotation_degrees=0, scale=0, elastic_probability=0) is None
    assert draw(patch=(1, 1, 1)) is None


def test_each_kind_has_draws_of_its_own():
    both = draw(7)
    np.testing.assert_array_equal(both.matrix, draw(7, elastic_probability=0).matrix)
    np.testing.assert_array_equal(both.shifts, draw(7, spatial_probability=0).shifts)
