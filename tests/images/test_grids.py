"""Masks on the grids of their images: what is put there, and what may be another image's mask."""

from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets.case_checks import check_pair, completed
from attnseg.images import Geometry, Image, on_common_grid, on_grid

TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])


def grid(shape: tuple[int, int, int] = (12, 14, 9)) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = TURN * [1.5, 1.5, 2.0]
    affine[:3, 3] = -20, 30, 10
    return Geometry(shape, affine)


def whole() -> Image:
    array = np.zeros((1, *grid().shape), np.int16)
    array[0, 3:7, 4:11, 2:6], array[0, 5:8, 2:5, 5:7] = 1, 700
    return Image(array, grid(), path=Path("m.nrrd"), notes=("told before",))


def part(mask: Image, low: tuple[int, ...], high: tuple[int, ...]) -> Image:
    """A crop of a mask, its place kept."""
    cells = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    array = mask.array[(slice(None), *cells)]
    affine = mask.geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Image(array, Geometry(array.shape[1:], affine), path=mask.path, notes=mask.notes)


def stored(mask: Image, order: tuple[int, ...], flips: tuple[int, ...]) -> Image:
    """A mask along other axes, some of them the other way."""
    array = np.flip(mask.array.transpose(0, *(1 + axis for axis in order)), [1 + f for f in flips])
    affine = mask.geometry.affine[:, [*order, 3]]
    for axis in flips:
        affine[:, 3] += (array.shape[1 + axis] - 1) * affine[:, axis]
        affine[:, axis] *= -1
    return Image(array, Geometry(array.shape[1:], affine), path=mask.path)


def shifted(mask: Image, voxels: tuple[float, float, float]) -> Image:
    affine = mask.geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ voxels
    return Image(mask.array, Geometry(mask.geometry.shape, affine), path=mask.path)


def test_a_crop_is_put_where_it_lies() -> None:
    crop = part(whole(), (3, 2, 2), (8, 11, 7))
    # As headers of text round: less than a tenth of a voxel.
    found = on_grid(shifted(crop, (0.04, -0.05, 0.02)), grid())
    np.testing.assert_array_equal(found.array, whole().array)
    assert found.array.dtype == np.int16
    assert found.geometry.matches(grid(), tolerance_mm=0)
    assert on_grid(crop, grid()).notes == (
        "told before",
        "it holds a part of the image's grid alone; put where it lies, with 0 around it",
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(), (0,), (0, 1, 2)])
def test_other_orders_of_axes_whole_and_in_part(
    order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    for mask in (whole(), part(whole(), (0, 2, 2), (9, 11, 7))):
        found = on_grid(stored(mask, order, flips), grid())
        np.testing.assert_array_equal(found.array, whole().array)
        assert found.geometry.matches(grid(), tolerance_mm=0)


def test_a_mask_on_its_grid_is_the_very_same() -> None:
    mask = whole()
    assert on_grid(mask, grid()) is mask
    assert on_common_grid([mask, mask, mask])[2] is mask


def test_a_mask_larger_than_its_image_loses_background_alone() -> None:
    small = Geometry((12, 12, 8), grid().affine)
    larger = part(whole(), (0, 1, 0), (12, 14, 9))
    found = on_grid(larger, small)
    np.testing.assert_array_equal(found.array, whole().array[:, :, :12, :8])
    assert found.notes[-1] == (
        "it reaches beyond the image, with background alone there; put where it lies and cut"
    )
    # A label outside the image: of another image, or of an image that was cut.
    assert on_grid(larger, Geometry((12, 10, 8), grid().affine)) is larger


def nothing_placed(shape: tuple[int, int, int]) -> Geometry:
    return Geometry(shape, np.diag([1.5, 1.5, 2.0, 1.0]))


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        # Cases of one data set often start at one point, or at none: masks exchanged look so.
        (part(whole(), (0, 0, 0), (10, 12, 9)), grid()),
        (
            Image(whole().array[:, 2:, 2:, 1:], nothing_placed((10, 12, 8))),
            nothing_placed((12, 14, 9)),
        ),
        # Of the image's size, a voxel or more off: a slip of the header, or another place.
        (shifted(whole(), (1, 0, 0)), grid()),
        (shifted(whole(), (0, 0, -2)), grid()),
        # Between the voxels, of another spacing, elsewhere.
        (shifted(part(whole(), (3, 2, 2), (8, 11, 7)), (0.3, 0, 0)), grid()),
        (part(whole(), (3, 2, 2), (8, 11, 7)), Geometry((12, 14, 9), grid().affine * 1.2)),
        (shifted(part(whole(), (3, 2, 2), (8, 11, 7)), (100, 0, 0)), grid()),
    ],
)
def test_what_may_be_another_images_mask_stays(mask: Image, image: Geometry) -> None:
    assert on_grid(mask, image) is mask
    assert completed(mask, image) is mask
    findings = check_pair("a", image, mask)
    assert findings
    assert findings[0].stops


def test_what_the_user_asks_for_is_put_there() -> None:
    for mask in (part(whole(), (0, 0, 0), (10, 12, 9)), part(whole(), (0, 1, 1), (12, 14, 9))):
        np.testing.assert_array_equal(on_grid(mask, grid(), asked=True).array, whole().array)
    (finding,) = check_pair("a", grid(), part(whole(), (0, 0, 0), (10, 12, 9)))
    assert "`attnseg convert MASK OUT --like IMAGE` completes it" in finding.remedy
    outside = shifted(whole(), (6, 0, 0))
    assert on_grid(outside, grid(), asked=True) is outside


def test_two_crops_meet_on_the_smallest_grid_that_holds_both() -> None:
    one, other = part(whole(), (3, 4, 2), (8, 11, 7)), part(whole(), (5, 2, 5), (8, 5, 7))
    found = on_common_grid([one, stored(other, (1, 2, 0), (2,))])
    assert [mask.geometry.shape for mask in found] == [(5, 9, 5)] * 2
    np.testing.assert_array_equal(found[0].array[0, :, 2:], one.array[0])
    np.testing.assert_array_equal(found[1].array[0, 2:, :3, 3:], other.array[0])
    assert found[0].geometry.matches(found[1].geometry, tolerance_mm=0)
    # Neither two voxels apart in one size, nor on two lattices.
    for strange in (shifted(one, (0, 0, 2)), shifted(other, (0, 0.4, 0))):
        pair = [one, strange]
        assert all(a is b for a, b in zip(on_common_grid(pair), pair, strict=True))
