"""Axis orders: really RAS, and back again, for all 48 of them."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine

from attnseg.images import Geometry
from attnseg.preprocessing import AxisOrder

ORDERS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
SHAPE = (2, 3, 4)


def affine_of(order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """Stored axis n runs along world axis order[n], 0.5, 2 or 7 mm a voxel."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * (0.5, 2.0, 7.0)[axis]
    affine[:3, 3] = -11.0, 5.0, 30.0
    return affine


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_apply_gives_ras_and_undo_gives_the_scan(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = affine_of(order, signs)
    array = np.arange(24).reshape(SHAPE)
    axes = AxisOrder.of(Geometry(SHAPE, affine))
    ras = axes.apply(array)

    canonical = nib.as_closest_canonical(nib.Nifti1Image(array.astype("i4"), affine))
    np.testing.assert_array_equal(ras, np.asarray(canonical.dataobj))
    np.testing.assert_array_equal(axes.undo(ras), array)
    np.testing.assert_array_equal(axes.apply(axes.undo(np.ones(ras.shape) * ras)), ras)
    assert axes.permute(SHAPE) == ras.shape
    assert axes.permute((0.5, 2.0, 7.0)) == canonical.header.get_zooms()
    assert np.shares_memory(ras, array)

    # Where each voxel lies in mm, ordered along R, A, S.
    millimetres = apply_affine(affine, np.stack(np.indices(SHAPE), axis=-1))
    for world in range(3):
        placed = axes.apply(millimetres[..., world])
        assert (np.diff(placed, axis=world) > 0).all()


@pytest.mark.parametrize(("order", "signs"), ORDERS[::5])
def test_leading_axes_stay_in_front(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    axes = AxisOrder.of(Geometry(SHAPE, affine_of(order, signs)))
    array = np.arange(5 * 2 * 24).reshape(5, 2, *SHAPE)
    moved = axes.apply(array)
    for first, second in product(range(5), range(2)):
        np.testing.assert_array_equal(moved[first, second], axes.apply(array[first, second]))
    np.testing.assert_array_equal(axes.undo(moved), array)


def test_ras_is_left_alone() -> None:
    axes = AxisOrder.of(Geometry(SHAPE, np.eye(4)))
    assert axes == AxisOrder((0, 1, 2), (False, False, False))
    array = np.arange(24).reshape(SHAPE)
    np.testing.assert_array_equal(axes.apply(array), array)


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_a_single_slice_can_go_to_torch(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """A flipped axis of one voxel keeps no negative stride, which `ascontiguousarray` overlooks."""
    axes = AxisOrder.of(Geometry((1, 1, 4), affine_of(order, signs)))
    array = np.arange(4).reshape(1, 1, 4)
    ras = torch.from_numpy(np.ascontiguousarray(axes.apply(array)))
    expected = np.arange(4)[:: signs[2]]
    np.testing.assert_array_equal(ras.flatten().numpy(), expected)
    back = torch.from_numpy(np.ascontiguousarray(axes.undo(ras.numpy())))
    np.testing.assert_array_equal(back.numpy(), array)


def test_a_voxel_known_in_mm_lands_where_ras_says() -> None:
    """LPI with J and K swapped: voxel (1, 0, 3) is 1 to the left, 3 back, at the bottom."""
    affine = affine_of((0, 2, 1), (-1, -1, -1))
    array = np.zeros(SHAPE, dtype=int)
    array[1, 0, 3] = 1
    ras = AxisOrder.of(Geometry(SHAPE, affine)).apply(array)
    assert ras.shape == (2, 4, 3)
    assert np.argwhere(ras).tolist() == [[0, 0, 2]]


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_every_voxel_keeps_its_millimetres(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    geometry = Geometry(SHAPE, affine_of(order, signs))
    axes = AxisOrder.of(geometry)
    grid = axes.grid(geometry)
    assert grid.orientation == "RAS"

    def places(of: Geometry) -> np.ndarray:
        """`[3, I, J, K]` in mm."""
        indices = np.moveaxis(np.indices(of.shape), 0, -1)
        return np.moveaxis(apply_affine(of.affine, indices), -1, 0)

    assert axes.apply(np.zeros(SHAPE)).shape == grid.shape
    np.testing.assert_allclose(axes.apply(places(geometry)), places(grid))
