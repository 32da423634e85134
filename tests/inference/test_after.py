"""After-processing of whole masks and volumes of labels: closed forms, and rules that must hold."""

from itertools import permutations

import numpy as np
import pytest
from scipy import ndimage

from attnseg.images import Geometry
from attnseg.inference.after import apply, shared_rules, volumes_ml
from attnseg.spec import AfterProcessing

SHEARED = np.array([[1.0, 0.5, 0, 9], [0, 2.0, 0, 9], [0, 0.3, 2.5, 9], [0, 0, 0, 1]])


def geometry(labels, affine=SHEARED):
    return Geometry(labels.shape, affine)


def blobs(shape=(24, 20, 16), *, values=(0, 1, 7, 205), seed=0, dtype=np.uint8):
    """Smooth random regions with specks and holes in them."""
    generator = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(generator.normal(size=shape), 1.5) for _ in values]
    labels = np.array(values)[np.argmax(noise, axis=0)]
    labels[generator.random(shape) < 0.03] = 0
    return labels.astype(dtype)


def test_the_largest_component_in_a_scan():
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    labels[1:5, 1:5, 1:5] = 9
    labels[8:10, 8:10, 8:10] = 9
    labels[0, 11, 0] = 4
    after = apply(labels, [AfterProcessing(value=9, largest_component=True)],
                  geometry=geometry(labels))  # fmt: skip
    expected = labels.copy()
    expected[8:10, 8:10, 8:10] = 0
    assert (after == expected).all()
    assert after.dtype == labels.dtype
    assert labels[8, 8, 8] == 9, "the mask that was given is not changed"


@pytest.mark.parametrize(("bound", "left"), [(39.0, 72), (40.0, 72), (40.1, 64), (321.0, 0)])
def test_small_components_are_measured_in_mm3(bound, left):
    labels = np.zeros((12, 12, 12), dtype=np.int16)
    labels[1:5, 1:5, 1:5] = -9  # 64 voxels of 5 mm³, shear and all
    labels[8:10, 8:10, 8:10] = -9  # 8
    after = apply(labels, [AfterProcessing(value=-9, min_volume_mm3=bound)],
                  geometry=geometry(labels))  # fmt: skip
    assert (after == -9).sum() == left


def test_holes_are_filled_in_one_label_only():
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    labels[1:10, 1:10, 1:10] = 1
    labels[3, 3, 3] = 0  # a hole
    labels[6:8, 6:8, 6:8] = 2  # another organ, itself with a hole of its own
    labels[6, 6, 6] = 0
    rule = AfterProcessing(value=1, fill_holes=True)
    after = apply(labels, [rule], geometry=geometry(labels))
    expected = labels.copy()
    expected[3, 3, 3] = 1
    assert (after == expected).all()


def test_a_fragment_inside_another_organ_leaves_a_place_that_is_filled():
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    labels[1:8, 1:8, 1:8] = 1
    labels[4, 4, 4] = 2
    labels[9:11, 9:11, 9:11] = 2
    rules = [
        AfterProcessing(value=1, fill_holes=True),
        AfterProcessing(value=2, largest_component=True),
    ]
    for order in (rules, rules[::-1]):
        after = apply(labels, order, geometry=geometry(labels))
        assert after[4, 4, 4] == 1
        assert (after == 2).sum() == 8


def test_in_a_picture_rings_are_filled():
    labels = np.zeros((9, 9, 1), dtype=np.uint8)
    labels[2:7, 2:7] = 1
    labels[4, 4] = 0
    rule = AfterProcessing(value=1, fill_holes=True)
    assert (apply(labels, [rule], geometry=geometry(labels)) == 1).sum() == 25
    volume = np.repeat(labels, 3, axis=2)
    assert (apply(volume, [rule], geometry=geometry(volume)) == 1).sum() == 24 * 3


def test_no_rules_and_labels_that_are_not_there():
    labels = blobs()
    assert apply(labels, [], geometry=geometry(labels)) is labels
    rule = AfterProcessing(value=99, largest_component=True, min_volume_mm3=5, fill_holes=True)
    assert (apply(labels, [rule], geometry=geometry(labels)) == labels).all()


@pytest.mark.parametrize("shape", [(24, 20, 16), (40, 30, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_rules_is_no_matter_and_no_label_takes_from_another(shape, seed):
    labels = blobs(shape, seed=seed)
    rules = [
        AfterProcessing(value=1, largest_component=True, fill_holes=True),
        AfterProcessing(value=7, min_volume_mm3=60, fill_holes=True),
        AfterProcessing(value=205, fill_holes=True),
    ]
    first, *others = [
        apply(labels, order, geometry=geometry(labels)) for order in permutations(rules)
    ]
    assert all((other == first).all() for other in others)
    changed = first != labels
    assert changed.any()
    lost, gained = changed & (first == 0), changed & (first != 0)
    assert (lost | gained == changed).all()
    # A voxel that changed hands was background, or had first been dropped as a fragment.
    taken = gained & (labels != 0)
    dropped = apply(
        labels,
        [rule.model_copy(update={"fill_holes": False}) for rule in rules],
        geometry=geometry(labels),
    )
    assert (dropped[taken] == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_one_label_by_scipy(seed):
    labels = blobs(values=(0, 3), seed=seed)
    mask = labels == 3
    numbered, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = numbered == 1 + np.bincount(numbered.ravel())[1:].argmax()
    rule = AfterProcessing(value=3, largest_component=True, fill_holes=True)
    after = apply(labels, [rule], geometry=geometry(labels))
    assert ((after == 3) == ndimage.binary_fill_holes(largest)).all()


def test_what_several_models_have_in_common():
    a = [
        AfterProcessing(value=1, largest_component=True, fill_holes=True),
        AfterProcessing(value=2, min_volume_mm3=30),
        AfterProcessing(value=3, fill_holes=True),
    ]
    b = [
        AfterProcessing(value=3, largest_component=True),
        AfterProcessing(value=2, min_volume_mm3=20, fill_holes=True),
        AfterProcessing(value=1, largest_component=True),
    ]
    assert shared_rules([a, b]) == (
        AfterProcessing(value=1, largest_component=True),
        AfterProcessing(value=2, min_volume_mm3=20),
    )
    assert shared_rules([a]) == tuple(a)
    assert shared_rules([a, []]) == ()
    assert shared_rules([[]]) == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_volumes(dtype):
    values = (0, 1, 7, 205) if dtype == np.uint8 else (0, -4, 1, 300)
    labels = blobs(values=values, dtype=dtype)
    names = {value: "organ" for value in values if value} | {100: "not there"}
    found = volumes_ml(labels, names, geometry(labels))
    assert set(found) == set(names)
    for value, volume in found.items():
        assert volume == pytest.approx(5e-3 * (labels == value).sum())
    assert volumes_ml(labels, {}, geometry(labels)) == {}
    one = values[2]
    assert volumes_ml(labels, {one: "alone"}, geometry(labels)) == {one: found[one]}


def test_volumes_of_huge_values():
    labels = np.zeros((3, 4, 5), dtype=np.int64)
    labels[0] = 2**40
    assert volumes_ml(labels, {2**40: "x"}, Geometry(labels.shape, np.eye(4))) == {2**40: 0.02}
