"""Phantoms: repeatable, complete, and right about where the patient's right is."""

import json

import numpy as np
import pytest

from attnseg.datasets import find_dataset, find_problems, inspect_dataset, make_phantoms
from attnseg.datasets.anatomy import LABELS, ellipsoid, smooth_noise, tube
from attnseg.datasets.phantoms import make_phantom
from attnseg.images import Geometry, read_image, read_labels

SMALL = (28, 24, 18)
VALUES = {name: value for value, name in LABELS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    make_phantoms(folder, num_train=8, num_test=2, seed=5, shape=SMALL)
    return folder


def center_mm(labels: np.ndarray, geometry: Geometry, name: str) -> np.ndarray:
    """Middle of an organ in RAS+ mm."""
    middle = np.argwhere(labels == VALUES[name]).mean(axis=0)
    return geometry.affine[:3, :3] @ middle + geometry.affine[:3, 3]


def test_it_is_a_sound_decathlon_data_set(folder):
    dataset = find_dataset(folder)
    assert dataset.layout == "msd"
    assert dataset.channel_names == ("CT",)
    assert dataset.label_names == LABELS
    facts = inspect_dataset(dataset)
    assert find_problems(dataset, facts) == []
    assert len(facts) == 8
    assert all(set(case.label_counts) == {0, *LABELS} for case in facts)
    assert {case.orientation for case in facts} == {"RAS", "LPS", "LAS", "PIR"}
    assert {case.ras_shape for case in facts} == {SMALL}
    assert len({case.spacing_mm for case in facts}) == 8


def test_the_test_part_has_masks_too(folder):
    names = ["phantom_008.nii.gz", "phantom_009.nii.gz"]
    metadata = json.loads((folder / "dataset.json").read_text())
    assert metadata["test"] == [f"./imagesTs/{name}" for name in names]
    for name in names:
        labels = read_labels(folder / "labelsTs" / name)
        assert labels.geometry.matches(read_image(folder / "imagesTs" / name).geometry)
        assert set(np.unique(labels.array)) == {0, *LABELS}


def test_the_same_seed_gives_the_same_voxels(folder, tmp_path):
    image, labels = make_phantom(3, seed=5, shape=SMALL)
    stored = read_image(folder / "imagesTr" / "phantom_003.nii.gz")
    np.testing.assert_array_equal(stored.array, image.array)
    np.testing.assert_allclose(stored.geometry.affine, image.geometry.affine, atol=1e-4)
    stored_labels = read_labels(folder / "labelsTr" / "phantom_003.nii.gz")
    np.testing.assert_array_equal(stored_labels.array[0], labels)
    other, _ = make_phantom(3, seed=6, shape=SMALL)
    assert (other.array != image.array).mean() > 0.3


@pytest.mark.parametrize("index", range(4))
def test_organs_lie_where_they_belong_in_the_patient(index: int):
    image, labels = make_phantom(index, seed=0, shape=SMALL)
    liver, spleen, kidneys, pancreas = (
        center_mm(labels, image.geometry, name)
        for name in ("liver", "spleen", "kidneys", "pancreas")
    )
    assert liver[0] > spleen[0] + 50, "the liver is on the patient's right"
    assert spleen[0] < kidneys[0] - 20 < liver[0], "the kidneys are on both sides"
    assert kidneys[1] < pancreas[1] - 10, "the pancreas lies before the kidneys"
    assert kidneys[2] < liver[2] - 20, "the liver lies above the kidneys"


@pytest.mark.parametrize("index", range(4))
def test_grids_are_oblique_and_bodies_whole(index: int):
    image, labels = make_phantom(index, seed=1, shape=SMALL)
    directions = np.abs(image.geometry.affine[:3, :3] / image.geometry.spacing_mm)
    lean = np.degrees(np.arccos(directions.max(axis=0)))
    assert (lean > 1.5).all()
    assert (lean < 15).all()
    # No organ is cut by the border of the scan.
    for axis in range(3):
        for end in (0, -1):
            assert not np.take(labels, end, axis=axis).any()


def test_intensities_are_those_of_ct():
    image, labels = make_phantom(0, seed=0, shape=(56, 50, 34))
    scan = image.array[0]
    assert image.array.dtype == np.int16
    assert np.percentile(scan, 20) < -950  # air around the patient
    expected = {"liver": 106, "spleen": 124, "kidneys": 150, "pancreas": 88}
    for name, hounsfield in expected.items():
        assert np.median(scan[labels == VALUES[name]]) == pytest.approx(hounsfield, abs=20), name
    assert (scan > 250).mean() > 0.005  # bone


def test_depths_are_millimetres():
    points = np.array([[0, 10, 12, 0], [0, 0, 0, 0], [0, 0, 0, 25]], np.float32)
    sphere = ellipsoid(points, (0, 0, 0), (10, 10, 10))
    np.testing.assert_allclose(sphere[1:], [0, -2, -15], atol=0.05)
    cylinder = ellipsoid(points, (0, 0, 0), (10, 10, np.inf))
    assert cylinder[3] > 0
    line = np.array([[0.0, 0, 0], [0, 0, 20]])
    depths = tube(points, line, np.array([3.0, 4.0]))
    np.testing.assert_allclose(depths, [3, -7, -9, -1], atol=1e-5)


def test_smooth_noise_has_unit_variance():
    rng = np.random.default_rng(0)
    points = rng.uniform(-100, 100, (3, 4000)).astype(np.float32)
    fields = np.stack([smooth_noise(points, rng, wavelength_mm=20) for _ in range(10)])
    assert fields.std() == pytest.approx(1, abs=0.05)
    assert fields.mean() == pytest.approx(0, abs=0.05)
