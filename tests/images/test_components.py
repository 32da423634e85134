"""Components, boxes and holes, against SciPy and against shapes drawn by hand."""

import numpy as np
import pytest
from scipy import ndimage

from attnseg.images.components import (
    bounding_box,
    component_voxels,
    components,
    holes,
    large_components,
    largest_component,
)

SHAPES = [(9, 11, 7), (16, 16, 16), (12, 17, 1), (1, 13, 10), (5, 1, 1), (1, 1, 1), (2, 2, 2)]


def random_masks():
    """Boolean arrays from empty to full, C- and Fortran-ordered."""
    for shape in SHAPES:
        for seed, share in enumerate((0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1)):
            mask = np.random.default_rng(seed).random(shape) < share
            yield mask if seed % 2 else np.asfortranarray(mask)


def by_scipy(mask):
    return ndimage.label(mask, structure=np.ones((3, 3, 3)))


def test_component_sizes_are_scipys():
    for mask in random_masks():
        labelled, count = by_scipy(mask)
        expected = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
        assert sorted(component_voxels(mask)) == sorted(expected)


def test_the_largest_component_is_scipys():
    for mask in random_masks():
        before = mask.copy()
        kept = largest_component(mask)
        assert (mask == before).all()
        assert kept.dtype == bool
        labelled, count = by_scipy(mask)
        if not count:
            assert not kept.any()
            continue
        sizes = np.bincount(labelled.ravel())[1:]
        assert kept.sum() == sizes.max()
        # It is one whole component, and none other.
        (number,) = np.unique(labelled[kept])
        assert number > 0
        assert (kept == (labelled == number)).all()


@pytest.mark.parametrize("voxel_volume_mm3", [1.0, 0.1, 2.5])
def test_small_components_by_scipy(voxel_volume_mm3):
    for mask in random_masks():
        labelled, count = by_scipy(mask)
        sizes = np.bincount(labelled.ravel(), minlength=count + 1)
        sizes[0] = 0
        for voxels in (1, 3, 10):
            kept = large_components(
                mask,
                min_volume_mm3=voxels * voxel_volume_mm3,
                voxel_volume_mm3=voxel_volume_mm3,
            )
            assert (kept == (sizes >= voxels)[labelled]).all()


def test_a_component_of_just_the_bound_stays():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, :3] = True
    # 3 × 0.1 is 0.30000000000000004, and a float32 header's 0.1 a little more or less again.
    for voxel in (0.1, float(np.float32(0.1)), float(np.nextafter(np.float32(0.1), np.float32(0)))):
        assert large_components(mask, min_volume_mm3=0.3, voxel_volume_mm3=voxel).sum() == 3
    assert not large_components(mask, min_volume_mm3=0.31, voxel_volume_mm3=0.1).any()


def test_corners_connect():
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 0, 2] = True
    assert list(component_voxels(mask)) == [3]
    picture = np.eye(5, dtype=bool)[..., None]
    assert list(component_voxels(picture)) == [5]


def test_holes_are_scipys():
    for mask in random_masks():
        flat = [axis for axis, n in enumerate(mask.shape) if n == 1]
        axes = [axis for axis in range(3) if axis not in flat]
        thin = mask.squeeze(tuple(flat)) if len(flat) < 3 else mask[0, 0]
        filled = ndimage.binary_fill_holes(thin).reshape(mask.shape)
        if axes:
            found = holes(mask.astype(np.uint8) * 3, 3, axes=axes)
            assert (found == filled & ~mask).all()


def sphere(n=15, radius=6.0):
    grid = np.indices((n, n, n)) - n // 2
    return (grid**2).sum(axis=0) <= radius**2


def test_a_hollow_sphere():
    labels = sphere().astype(np.int16) * 4
    labels[6:9, 6:9, 6:9] = 0
    found = holes(labels, 4, axes=(0, 1, 2))
    assert found.sum() == 27
    assert found[6:9, 6:9, 6:9].all()
    # A tunnel of one voxel opens it; a diagonal crack does not.
    labels[7, 7, 8:] = 0
    assert not holes(labels, 4, axes=(0, 1, 2)).any()


def test_a_hole_that_holds_another_label_is_left_alone():
    labels = sphere().astype(np.uint8)
    labels[5, 5, 5] = 0
    labels[8:11, 8:11, 8] = 0
    labels[9, 9, 8] = 2
    found = holes(labels, 1, axes=(0, 1, 2))
    assert np.argwhere(found).tolist() == [[5, 5, 5]]


def test_a_ring_is_a_hole_in_a_picture_and_none_in_a_volume():
    ring = np.ones((5, 5, 1), dtype=np.uint8)
    ring[2, 2] = 0
    assert holes(ring, 1, axes=(0, 1)).sum() == 1
    assert not holes(ring, 1, axes=(0, 1, 2)).any()


def test_bounding_boxes():
    generator = np.random.default_rng(0)
    for order in ("C", "F"):
        labels = np.zeros((20, 30, 10), dtype=np.int16, order=order)
        for value in (-3, 5, 300):
            low = generator.integers(0, 5, 3)
            high = low + generator.integers(1, 5, 3)
            labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
        for view in (labels, labels.transpose(2, 0, 1), labels[::-1, :, ::-1]):
            for value in (-3, 5, 300):
                places = np.argwhere(view == value)
                if not len(places):
                    assert bounding_box(view, value) is None
                    continue
                expected = tuple(
                    slice(int(a), int(b) + 1)
                    for a, b in zip(places.min(axis=0), places.max(axis=0), strict=True)
                )
                assert bounding_box(view, value) == expected
    assert bounding_box(labels, 7) is None
    assert bounding_box(np.zeros((0, 3, 3), np.uint8), 1) is None


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (3, 1, 1), (65, 1, 1), (1, 9, 9), (3, 3, 3), (9, 9, 9)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_other_voxel_is_a_component(shape, order):
    """In rows, planes and small volumes, for which cc3d by itself makes too little room."""
    mask = np.zeros(shape, dtype=bool, order=order)
    mask[::2, ::2, ::2] = True
    found, voxels = components(mask)
    assert found.shape == shape
    assert voxels.tolist() == [1] * int(mask.sum())
    assert ((found > 0) == mask).all()
