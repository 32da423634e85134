"""Masks whose numbers are whole but for rounding, in every format that holds floats or scales."""

import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from attnseg.errors import DataError
from attnseg.images import read_labels
from attnseg.images.whole import whole_numbers


def of_values(values: list[float], dtype: str = "f8") -> np.ndarray:
    """A volume in which each value comes up."""
    return np.resize(np.array(values, dtype), (4, 5, 6))


def saved_by_nibabel(path: Path, values: list[float], dtype: str) -> Path:
    """As users do: loaded as float64, saved under the header of integers."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(of_values(values), np.eye(4), header=header), path)
    return path


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 1, 3], "u2"),  # the case: 3 comes back as 2.9999999993
        ([0, 1, 2, 3], "i2"),
        ([0, 1, 2, 4], "u1"),
        ([-1, 0, 7], "i4"),
        ([0, 2, 17, 1000, 2035], "u2"),  # FreeSurfer's: a step of 0.031
        ([0, 1, 60000], "u2"),  # float32 of the factor moves the largest by 0.001
        ([*range(118)], "u1"),  # TotalSegmentator's: a step of 0.46
    ],
)
def test_what_nibabel_saves_with_a_scale_factor(tmp_path, values, dtype):
    path = saved_by_nibabel(tmp_path / "a.nii.gz", values, dtype)
    stored = nib.load(path)
    assert stored.dataobj.slope != 1
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.array[0], of_values(values))
    assert labels.array.dtype == np.int64
    exact = (stored.get_fdata() == of_values(values)).all()
    assert labels.rounded != exact
    if not exact:
        off = np.abs(stored.get_fdata() - of_values(values)).max()
        assert labels.notes == (
            f"label values lie up to {off:.1e} off whole numbers, as rounding leaves them; the "
            "nearest whole number is taken",
        )


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha", "a.mgz", "a.tif"])
def test_floats_with_rounding_and_nan(tmp_path, name, dtype):
    values = of_values([0, 1 + 1e-7, 2 - 1e-6, 65535 + 0.004, -1e-9], dtype)
    values[0, 0] = np.nan
    expected = np.where(np.isnan(values), 0, np.round(np.nan_to_num(values)))
    path = tmp_path / name
    if name == "a.nii":
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    elif name == "a.mgz":
        nib.save(nib.MGHImage(values.astype("f4"), np.eye(4)), path)
    elif name == "a.tif":
        values, expected = values[:, :, :1], expected[:, :, :1]
        PIL.Image.fromarray(values[..., 0].T.astype("f4")).save(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values.T), path)
    labels = read_labels(path)
    assert labels.array.dtype == np.int64
    np.testing.assert_array_equal(labels.array[0], expected)
    settled = [note for note in labels.notes if "label" in note or "NaN" in note]
    assert settled[0].startswith("label values lie up to ")
    count = int(np.isnan(values).sum())
    assert settled[1:] == [f"{count} voxel(s) are NaN; taken as background, 0"]
    assert labels.rounded


def test_whole_floats_need_no_word(tmp_path):
    nib.save(nib.Nifti1Image(of_values([-1, 0, 205], "f4"), np.eye(4)), tmp_path / "a.nii")
    labels = read_labels(tmp_path / "a.nii")
    assert labels.notes == ()
    assert not labels.rounded


@pytest.mark.parametrize(
    ("values", "scaling", "message"),
    [
        ([0.0, 0.5, 1.0], None, r"value 0\.5 is not a whole number; labels must be integers"),
        ([0.0, 0.25, 0.75, 1], None, r"value 0\.25 is not a whole number \(nor are 0\.75\)"),
        ([0.1, 0.2, 0.3, 0.4], None, r"value 0\.1 is .* \(nor are 0\.2, 0\.3, …\)"),
        ([1, 2.006], None, r"value 2\.006 is not"),
        ([0, np.nan, 0.5], None, r"value 0\.5 is not"),
        ([0, np.inf], None, r"value inf is not a whole number of 64 bits"),
        ([np.nan, -1e30], None, r"value -1e\+30 is not a whole number of 64 bits"),
        ([np.nan, np.nan], None, "value nan is not .* no voxel is a number"),
        # A soft mask in integers with a scale factor, of whose steps some are nearly whole.
        (np.arange(256), (1 / 255, 0), r"value 0\.0\d+ is not"),
        (np.arange(11), (0.1, 0), r"value 0\.1 is not"),
        (np.array([0, 1]), (0.7, 0), r"value 0\.7 is not"),  # its largest value is not whole
        (np.array([0, 1, 2]), (2.5, 0), r"value 2\.5 is not"),
    ],
)
def test_real_fractions_are_refused_by_name(values, scaling, message):
    stored = np.asarray(values)
    with pytest.raises(DataError, match=message) as caught:
        whole_numbers(stored, source="a.nii", scaling=scaling)
    assert str(caught.value).startswith("a.nii: label value ")
    assert "\n" not in str(caught.value)


def test_integers_are_handed_back_as_they_are():
    stored = np.array([2**64 - 1, 0], dtype="u8")
    found, notes = whole_numbers(stored, source="a")
    assert found is stored
    assert notes == ()


@pytest.mark.parametrize("order", ["C", "F"])
def test_voxels_stay_where_they_are_whatever_their_order(order):
    values = np.arange(24.0).reshape(2, 3, 4).astype("f4", order=order)
    for view in (values, values[::-1, :, ::2], np.moveaxis(values, 0, 2)):
        found, _ = whole_numbers(view + 1e-4, source="a")
        np.testing.assert_array_equal(found, view)
    assert whole_numbers(np.zeros((0, 2)), source="a")[0].shape == (0, 2)


def test_memory_is_that_of_the_result_and_a_piece():
    stored = np.zeros((256, 256, 64), dtype="u1", order="F")
    stored[0, 0] = 255
    tracemalloc.start()
    found, _ = whole_numbers(stored, source="a", scaling=(3 / 255, 0.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.max() == 3
    # int64, and five float64 pieces of a million voxels.
    assert peak < found.nbytes + 48 * 2**20
