"""Every awkward file of the edge set: read as its oracle reads it, or refused with a reason."""

import contextlib
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attnseg.errors import DataError
from attnseg.images import Image, read_case, read_image, read_labels, read_outline

OTHER = "not a format attnseg reads; convert it to NIfTI"
# File → the number of channels with which it is read, or the reason why it is not.
OUTCOMES: dict[str, int | str] = {
    "bad/empty.nii.gz": "the file is empty",
    "bad/git_lfs_pointer.nii.gz": "this is a git-LFS pointer",
    "bad/label_from_other_dataset_hippocampus_281.nii.gz": 1,
    "bad/truncated_gzip.nii.gz": "cut short or damaged",
    "bad/truncated_plain.nii": "cut short: the header promises 62475 bytes",
    "nibabel/analyze.hdr": "an Analyze 7.5 header, which does not say which side is left",
    "nibabel/anatomical.nii": 1,
    "nibabel/bad_attribute+orig.HEAD": OTHER,
    "nibabel/bad_datatype+orig.HEAD": OTHER,
    "nibabel/example4d+orig.BRIK.gz": OTHER,
    "nibabel/example4d+orig.HEAD": OTHER,
    "nibabel/example4d.nii.gz": 2,
    "nibabel/example_nifti2.nii.gz": 2,
    "nibabel/functional.nii": 20,
    "nibabel/minc1-no-att.mnc": OTHER,
    "nibabel/minc1_1_scale.mnc": OTHER,
    "nibabel/minc1_4d.mnc": OTHER,
    "nibabel/minc2-4d-d.mnc": OTHER,
    "nibabel/minc2-no-att.mnc": OTHER,
    "nibabel/minc2_1_scale.mnc": OTHER,
    "nibabel/minc2_4d.mnc": OTHER,
    "nibabel/minc2_baddim.mnc": OTHER,
    "nibabel/nifti1.hdr": r"its voxels are not there \(nifti1\.img\)",
    "nibabel/nifti2.hdr": r"its voxels are not there \(nifti2\.img\)",
    "nibabel/phantom_EPI_asc_CLEAR_2_1.PAR": OTHER,
    "nibabel/phantom_EPI_asc_CLEAR_2_1.REC": OTHER,
    "nibabel/phantom_truncated.PAR": OTHER,
    "nibabel/phantom_truncated.REC": OTHER,
    "nibabel/phantom_varscale.PAR": OTHER,
    "nibabel/phantom_varscale.REC": OTHER,
    "nibabel/reoriented_anat_moved.nii": 1,
    "nibabel/resampled_anat_moved.nii": 1,
    "nibabel/row_major.dconn.nii": r"shape \(1, 1, 1, 1, 10, 10\) where a 3D image",
    "nibabel/scaled+tlrc.BRIK": OTHER,
    "nibabel/scaled+tlrc.HEAD": OTHER,
    "nibabel/small.mnc": OTHER,
    "nibabel/standard.nii.gz": 1,
    "nibabel/test.mgz": "its axes are 51.8° off right angles",
    "nibabel/tiny.mnc": OTHER,
    "pyradiomics/brain1_image.nrrd": 1,
    "pyradiomics/brain1_label.nrrd": 1,
    "pyradiomics/brain2_image.nrrd": 1,
    "pyradiomics/brain2_label.nrrd": 1,
    "pyradiomics/breast1_image.nrrd": 1,
    "pyradiomics/breast1_label.nrrd": 1,
    "pyradiomics/prostate_phantom_subvolume-label.nrrd": 1,
    "pyradiomics/prostate_phantom_subvolume.nrrd": 1,
    "sct/LICENSE": OTHER,
    "sct/dmri_dmri.nii.gz": 7,
    "sct/fmri_fmri_tsnr.nii.gz": 1,
    "sct/mt_mt0.nii.gz": 1,
    "sct/mt_mt1.nii.gz": 1,
    "sct/mt_mt1_gmseg_goldstandard.nii.gz": 1,
    "sct/mt_mt1_seg.nii.gz": 1,
    "sct/mt_t1w.nii.gz": 1,
    "sct/t1_t1w.nii.gz": 1,
    "sct/t1_t1w_seg-manual.nii.gz": 1,
    "sct/t2_t2.nii.gz": 1,
    "sct/t2_t2_seg-manual.nii.gz": 1,
    "sct/t2s_t2s.nii.gz": 1,
    "sct/t2s_t2s_gmseg_manual.nii.gz": 1,
    "sct/t2s_t2s_uncropped.nii.gz": 1,
    "sct/t2s_t2s_uncropped_gmseg_manual.nii.gz": 1,
}
# 25 million voxels, whose values alone would take the time of all the others.
LARGE = "bad/label_from_other_dataset_hippocampus_281.nii.gz"


def test_the_table_names_every_file(real_data: Path) -> None:
    folder = real_data / "edge/images"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(real_data: Path, name: str) -> None:
    path, outcome = real_data / "edge/images" / name, OUTCOMES[name]
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome) as error:
            read_case((path,), num_channels=2)
        assert_one_line(error.value, path)
        with contextlib.suppress(DataError):  # what lies behind the header it does not know
            read_outline((path,), num_channels=2)
        with pytest.raises(DataError) as error:
            read_labels(path)
        assert_one_line(error.value, path)
        return
    outline = read_outline((path,), num_channels=outcome)
    if name == LARGE:
        assert np.array_equal(outline.geometry.affine, nib.load(path).affine)
        return
    image = read_image(path, num_channels=outcome)
    assert image.array.shape == (outcome, *outline.geometry.shape)
    assert np.array_equal(outline.geometry.affine, image.geometry.affine)
    assert image.notes == ()  # nothing had to be settled in any of these
    (assert_equals_sitk if name.endswith(".nrrd") else assert_equals_nibabel)(image, path)


@pytest.mark.parametrize("name", [name for name in OUTCOMES if re.search(r"label|seg", name)])
def test_masks_are_read_as_integers(real_data: Path, name: str) -> None:
    path = real_data / "edge/images" / name
    if name == LARGE:
        return
    labels = read_labels(path)
    assert labels.array.dtype.kind in "iu"
    np.testing.assert_array_equal(labels.array, read_image(path).array)


def assert_one_line(error: DataError, path: Path) -> None:
    assert str(error).startswith(str(path))
    assert "\n" not in str(error)


def assert_equals_nibabel(image: Image, path: Path) -> None:
    oracle = nib.load(path)
    expected = np.asarray(oracle.get_fdata(), dtype=np.float32)
    expected = np.moveaxis(expected.reshape(*expected.shape[:3], -1), 3, 0)
    np.testing.assert_array_equal(image.array, expected)
    assert np.array_equal(image.geometry.affine, oracle.affine)


def assert_equals_sitk(image: Image, path: Path) -> None:
    oracle = sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(oracle).transpose(2, 1, 0)
    np.testing.assert_array_equal(image.array[0], expected.astype(np.float32))
    last = [n - 1 for n in image.geometry.shape]
    for voxel in ([0, 0, 0], [last[0], 0, 0], [0, last[1], 0], last):
        place = image.geometry.affine @ [*voxel, 1]
        place_lps = oracle.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(place[:3] * (-1, -1, 1), place_lps, atol=1e-9)
