"""Masks with rounding through every command that reads masks: the numbers they mean, and a word."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def blob(seed: int) -> np.ndarray:
    labels = np.zeros((16, 18, 12), np.uint8)
    labels[3:9, 4 + seed % 3 : 11, 3:8] = 1
    labels[10:14, 5:12, 4:9] = 3
    return labels


@pytest.fixture
def made(tmp_path):
    """Four cases: integers with a scale factor as nibabel writes them, floats, NaN outside."""
    affine = np.diag([1.5, 1.5, 2.0, 1.0])
    whole = nib.Nifti1Header()
    whole.set_data_dtype(np.uint16)
    for folder in ("data/images", "data/labels", "exact"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(4):
        labels = blob(number)
        scan = np.random.default_rng(number).normal(0, 20, labels.shape) + 100 * labels
        name = f"c{number}.nii.gz"
        nib.save(nib.Nifti1Image(scan.astype(np.int16), affine), tmp_path / "data/images" / name)
        nib.save(nib.Nifti1Image(labels, affine), tmp_path / "exact" / name)
        mask = nib.Nifti1Image(labels.astype(float), affine, header=whole)
        if number == 1:
            mask = nib.Nifti1Image((labels + 1e-7 * labels).astype(np.float32), affine)
        if number == 2:
            mask = nib.Nifti1Image(np.where(labels == 0, np.nan, labels), affine)
        nib.save(mask, tmp_path / "data/labels" / name)
    return tmp_path / "data"


def test_check_says_what_it_made_of_them(attnseg, made):
    result = attnseg("check", made, "--json", "found.json", "--fix", "mended")
    assert result.code == 0
    assert "4 case(s): 0 fatal, 0 fixable" in result.out
    content = json.loads(Path("found.json").read_text())
    notes = {case["name"]: case["notes"] for case in content["cases"]}
    assert "label: label values lie up to" in notes["c0"][0]
    background = int((blob(2) == 0).sum())
    assert notes["c2"] == [f"label: {background} voxel(s) are NaN; taken as background, 0"]
    for case in content["cases"]:
        counts = dict(zip(*np.unique(blob(int(case["name"][1])), return_counts=True), strict=True))
        assert case["label_voxels"] == {str(value): int(n) for value, n in counts.items()}


def test_evaluate_and_compare_score_them(attnseg, made):
    assert attnseg("evaluate", made / "labels", "exact", "--json", "e.json").code == 0
    content = json.loads(Path("e.json").read_text())
    assert [set(case["labels"]) for case in content["cases"]] == [{"1", "3"}] * 4
    assert content["mean_dice"] == 1
    assert attnseg("compare", "exact", made / "labels", "--ref", "exact").code == 0


def test_view_and_convert_take_them(attnseg, made):
    scan, mask = made / "images/c2.nii.gz", made / "labels/c2.nii.gz"
    assert attnseg("view", scan, mask, "-o", "page.html", "--no-open").code == 0
    result = attnseg("convert", made, "out", "--layout", "nnunet")
    assert result.code == 0
    assert "c2: " in result.out
    for number in range(4):
        written = nib.load(f"out/labelsTr/c{number}.nii.gz")
        assert written.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(written.dataobj), blob(number))


def test_real_fractions_stop_with_values_and_remedy(attnseg, made):
    path = made / "labels/c3.nii.gz"
    mask = nib.load(path)
    soft = mask.get_fdata() / 2
    nib.save(nib.Nifti1Image(soft.astype(np.float32), mask.affine), path)
    result = attnseg("evaluate", path, "exact/c3.nii.gz")
    assert result.code == 1
    assert "label value 0.5 is not a whole number (nor are 1.5)" in result.err
    assert "nearest neighbour" in result.err
