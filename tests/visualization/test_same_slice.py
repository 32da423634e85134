"""The slice of a case that a report shows, and how much of it."""

import numpy as np

from attnseg.images import Geometry, Image
from attnseg.visualization.thumbnails import same_slice

SHAPE = (60, 50, 8)


def volume(array: np.ndarray) -> Image:
    return Image(array[None], Geometry(SHAPE, np.diag([2.0, 3.0, 5.0, 1.0])))


def mask(*parts: tuple[slice, slice, slice]) -> Image:
    array = np.zeros(SHAPE, np.uint8)
    for part in parts:
        array[part] = 2
    return volume(array)


def test_it_is_where_two_masks_differ_most_and_cut_to_them() -> None:
    scan = volume(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    large = (slice(10, 40), slice(10, 40), slice(2, 3))
    small = (slice(30, 34), slice(20, 24), slice(6, 7))
    predicted, reference = same_slice(scan, [mask(large), mask(large, small)])
    assert not predicted.labels.any()
    assert (reference.labels == 2).sum() == 16
    # 12 voxels of 2 mm are 8 of 3 mm.
    assert reference.labels.shape == (8 + 4 + 8, 12 + 4 + 12)
    assert reference.size_mm == (20 * 3.0, 28 * 2.0)
    assert predicted.size_mm == reference.size_mm
    np.testing.assert_array_equal(predicted.grey, reference.grey)


def test_equal_masks_show_the_slice_with_the_most_labels() -> None:
    scan = volume(np.zeros(SHAPE, np.float32))
    parts = [(slice(10, 12), slice(10, 12), slice(2, 3)), (slice(5, 9), slice(5, 9), slice(4, 5))]
    for count in (1, 2):
        seen = same_slice(scan, [mask(*parts)] * count)
        assert [(each.labels == 2).sum() for each in seen] == [16] * count


def test_grey_is_that_of_the_whole_scan() -> None:
    array = np.full(SHAPE, 40.0, np.float32)
    array[:5] = -1000.0  # air, by which CT is known, outside of what is shown
    (seen,) = same_slice(volume(array), [mask((slice(30, 34), slice(20, 24), slice(6, 7)))])
    assert set(np.unique(seen.grey)) == {int(255 * 0.5)}  # the middle of -160 to 240 HU


def test_without_labels_the_whole_slice_is_shown() -> None:
    (seen,) = same_slice(volume(np.zeros(SHAPE, np.float32)), [mask()])
    assert seen.size_mm == (150.0, 120.0)
