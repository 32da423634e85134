"""Slices for display: the right slice, the right way round, for every orientation of the array."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from attnseg.images import Geometry, Image
from attnseg.visualization import Plane, display_planes, window_of
from attnseg.visualization.slices import crop, fullest_slice, labelled_region

SPACING_MM = (0.5, 2.0, 3.0)  # along right, anterior, superior
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def oriented(ras: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> Image:
    """The volume `[R, A, S]` stored with its axes permuted and flipped, at the same place."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * SPACING_MM[world]
        affine[world, 3] = 0.0 if sign > 0 else (ras.shape[world] - 1) * SPACING_MM[world]
    array = ras.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    i, j, k = array.shape
    return Image(array[None].astype(np.float32), Geometry((i, j, k), affine))


def planes_of(image: Image, labels: np.ndarray) -> dict[str, Plane]:
    return {plane.name: plane for plane in display_planes(image, labels)}


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_a_voxel_is_shown_at_its_place(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    ras = np.zeros((6, 7, 8))
    right, anterior, superior = 5, 4, 1  # at 2.5 mm right, 8 mm anterior, 3 mm superior
    ras[right, anterior, superior] = 1
    image = oriented(ras, order, signs)
    place = image.geometry.affine @ [*np.argwhere(image.array[0])[0], 1]
    assert place[:3].tolist() == [2.5, 8.0, 3.0]

    planes = planes_of(image, image.array[0])
    # Rows count from the front or the top of the patient, columns from the right or the front.
    expected = {
        "axial": ((7, 6), (6 - anterior, 5 - right)),
        "coronal": ((8, 6), (7 - superior, 5 - right)),
        "sagittal": ((8, 7), (7 - superior, 6 - anterior)),
    }
    for name, (shape, pixel) in expected.items():
        section = planes[name].cut(image.array[0])
        assert section.shape == shape
        assert np.argwhere(section).tolist() == [list(pixel)]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_letters_and_spacing(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    image = oriented(np.zeros((6, 7, 8)), order, signs)
    planes = planes_of(image, image.array[0])
    assert planes["axial"].letters == ("R", "L", "A", "P")
    assert planes["coronal"].letters == ("R", "L", "S", "I")
    assert planes["sagittal"].letters == ("A", "P", "S", "I")
    assert planes["axial"].spacing_mm == (2.0, 0.5)
    assert planes["coronal"].spacing_mm == (3.0, 0.5)
    assert planes["sagittal"].spacing_mm == (3.0, 2.0)
    assert planes["sagittal"].size_mm(image.array[0]) == (24.0, 14.0)


def test_the_slice_with_the_largest_area_is_taken() -> None:
    labels = np.zeros((6, 7, 8), dtype=np.int16)
    labels[0, 0, :] = 1  # long but thin
    labels[2:5, 1:6, 6] = 205
    image = oriented(np.zeros((6, 7, 8)), (0, 1, 2), (1, 1, 1))
    planes = planes_of(image, labels)
    assert planes["axial"].index == 6
    assert planes["coronal"].index == 0
    assert planes["sagittal"].index == 0
    empty = planes_of(image, np.zeros_like(labels))
    assert [empty[name].index for name in ("axial", "coronal", "sagittal")] == [4, 3, 3]


def test_planes_seen_edge_on_are_left_out() -> None:
    image = oriented(np.zeros((6, 7, 1)), (0, 1, 2), (1, 1, 1))
    assert [plane.name for plane in display_planes(image, image.array[0])] == ["axial"]
    line = oriented(np.zeros((6, 1, 1)), (0, 1, 2), (1, 1, 1))
    assert [plane.name for plane in display_planes(line, line.array[0])] == ["axial"]


def test_region_is_the_labels_with_an_equal_margin_in_mm() -> None:
    labels = np.zeros((100, 60, 40), dtype=np.uint8)
    labels[40:64, 20:26, 2:6] = 3  # 12 × 12 × 12 mm, so 4 mm of margin
    assert labelled_region(labels, SPACING_MM) == (slice(32, 72), slice(18, 28), slice(0, 8))
    everything = (slice(None),) * 3
    assert labelled_region(np.zeros_like(labels), SPACING_MM) == everything


def test_the_fullest_slice_weighs_small_labels_as_large_ones() -> None:
    labels = np.zeros((5, 20, 20), dtype=np.int32)
    labels[1, :20, :10] = 70000  # its largest slice: 200 voxels
    labels[2, :15, :10] = 70000  # three quarters of that
    labels[2, 16:18, 0] = 2  # two of a label of four
    labels[4, 16:20, 0] = 2
    assert fullest_slice(labels, 0) == 2  # 0.75 + 0.5 against 1 and 1
    assert fullest_slice(np.zeros_like(labels), 0) == 2
    assert fullest_slice(labels.transpose(1, 2, 0), 2) == 2


def test_region_of_a_slice_keeps_its_surroundings() -> None:
    labels = np.zeros((40, 50), dtype=np.uint8)
    labels[20:22, 30:33] = 1
    assert labelled_region(labels, (1.0, 1.0)) == (slice(19, 23), slice(29, 34))
    # Four voxels of the finer axis, 2 mm, are one of the coarser.
    assert labelled_region(labels, (2.0, 0.5), least=4) == (slice(19, 23), slice(26, 37))


def test_cropped_voxels_stay_where_they_are() -> None:
    ras = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    image = oriented(ras, (2, 0, 1), (-1, 1, -1))
    part = crop(image, (slice(2, 5), slice(None), slice(1, 9)))
    assert part.geometry.shape == (3, 6, 6)
    np.testing.assert_array_equal(part.array, image.array[:, 2:5, :, 1:])
    np.testing.assert_allclose(
        part.geometry.affine @ [0, 3, 4, 1], image.geometry.affine @ [2, 3, 5, 1]
    )


def test_windows() -> None:
    rng = np.random.default_rng(0)
    assert window_of(np.array([-1000.0, 0.0, 40.0, 3000.0])) == (-160.0, 240.0)
    values = rng.permutation(np.arange(1001.0)).reshape(7, 11, 13)
    assert window_of(values) == (10.0, 990.0)
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    assert window_of(values) == pytest.approx((10.0, 990.0), abs=3)
    sparse = np.zeros((10, 10, 10))
    sparse[3, 3, 3] = 7  # too few bright voxels to reach a percentile
    assert window_of(sparse) == (0.0, 7.0)
    assert window_of(np.full((4, 4), 5.0)) == (5.0, 6.0)
    assert window_of(np.full((4, 4), np.nan)) == (0.0, 1.0)


def test_window_of_a_large_scan_is_that_of_a_sample() -> None:
    rng = np.random.default_rng(0)
    large = rng.random((128, 128, 200), dtype=np.float32)
    assert window_of(large) == pytest.approx((0.01, 0.99), abs=1e-3)


def test_a_picture_has_pixels_and_no_patient():
    image = Image(
        np.zeros((1, 9, 7, 1), np.float32),
        Geometry((9, 7, 1), np.diag([-1.0, -1.0, 1.0, 1.0])),
        path=Path("nuclei.png"),
    )
    (plane,) = display_planes(image, np.zeros((9, 7, 1), int))
    assert (plane.name, plane.letters, plane.unit) == ("", ("",) * 4, "px")
    pixels = np.arange(63).reshape(9, 7, 1)  # [x, y]
    np.testing.assert_array_equal(plane.cut(pixels), pixels[:, :, 0].T)
