"""Reading against nibabel, bit for bit; labels as integers or not at all."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from attnseg.errors import DataError
from attnseg.images import read_image, read_labels

STORED = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def voxels(dtype: str, shape: tuple[int, ...] = (7, 5, 3)) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype[0] == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    return rng.integers(-100 if dtype[0] == "i" else 0, 120, shape).astype(dtype)


def assert_reads_as_nibabel(path: Path, *, num_channels: int | None = None) -> None:
    image, oracle = read_image(path, num_channels=num_channels), nib.load(path)
    expected = oracle.get_fdata().astype(np.float32)
    expected = expected.reshape(*expected.shape, *[1] * (3 - expected.ndim))
    expected = np.moveaxis(expected.reshape(*expected.shape[:3], -1), 3, 0)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array, expected)
    assert np.array_equal(image.geometry.affine, oracle.affine)
    assert image.geometry.shape == expected.shape[1:]
    assert image.path == path


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize(("version", "endian"), [(1, "<"), (1, ">"), (2, "<"), (2, ">")])
def test_voxels_and_affine_equal_nibabels(
    tmp_path: Path, nifti: Any, dtype: str, name: str, version: int, endian: str
) -> None:
    path = nifti(tmp_path / name, voxels(dtype), version=version, endian=endian)
    assert_reads_as_nibabel(path)
    assert read_image(path).name == "scan"


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize(
    ("slope", "inter"), [(2.5, -1024.0), (0.1, 0.0), (1.0, 7.0), (0.0, 5.0), (np.nan, 3.0)]
)
def test_intensity_scaling(
    tmp_path: Path, nifti: Any, endian: str, dtype: str, slope: float, inter: float
) -> None:
    stored = voxels(dtype)
    path = nifti(tmp_path / "a.nii.gz", stored, endian=endian, scl_slope=slope, scl_inter=inter)
    assert_reads_as_nibabel(path)
    if slope > 0:  # a slope of 0 or NaN means: no scaling
        stored = stored.astype(np.float64) * np.float32(slope) + inter
    np.testing.assert_array_equal(read_image(path).array[0], stored.astype(np.float32))


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1), (1, 4, 3), (6, 4, 3, 1), (6, 4, 3, 1, 1, 1)])
def test_flat_volumes_and_trailing_axes_of_one(
    tmp_path: Path, nifti: Any, shape: tuple[int, ...]
) -> None:
    path = nifti(tmp_path / "a.nii", voxels("i2", shape))
    assert_reads_as_nibabel(path)
    assert read_image(path).array.shape == (1, *shape, 1)[:4]


@pytest.mark.parametrize("shape", [(6, 4, 3, 2), (6, 4, 3, 2, 1)])
def test_a_fourth_axis_is_channels_where_they_are_expected(
    tmp_path: Path, nifti: Any, shape: tuple[int, ...]
) -> None:
    path = nifti(tmp_path / "a.nii.gz", voxels("i2", shape))
    assert_reads_as_nibabel(path, num_channels=2)
    np.testing.assert_array_equal(
        read_image(path, num_channels=2).array[1], voxels("i2", (6, 4, 3, 2))[..., 1]
    )


@pytest.mark.parametrize(
    ("shape", "num_channels"),
    [((6, 4, 3, 2), None), ((6, 4, 3, 2), 1), ((6, 4, 3, 2), 3), ((6, 4, 3, 2, 2), 2)],
)
def test_any_other_4d_file_is_refused(
    tmp_path: Path, nifti: Any, shape: tuple[int, ...], num_channels: int | None
) -> None:
    path = nifti(tmp_path / "a.nii", voxels("i2", shape))
    with pytest.raises(DataError, match=r"a\.nii: shape \(6, 4, 3, 2.*expected") as error:
        read_image(path, num_channels=num_channels)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1), (0, 0), (4, 4)])
@pytest.mark.parametrize("version", [1, 2])
def test_the_affine_is_the_one_that_nibabel_chooses(
    tmp_path: Path, nifti: Any, codes: tuple[int, int], version: int
) -> None:
    other = np.diag([-2.0, 3.0, 4.0, 1.0])
    path = nifti(tmp_path / "a.nii", voxels("u1"), codes=codes, qform=other, version=version)
    assert_reads_as_nibabel(path)


@pytest.mark.parametrize("first", [0.0, 2.0, -1.0])
def test_sloppy_pixdim_is_read_as_nibabel_reads_it(
    tmp_path: Path, nifti: Any, first: float
) -> None:
    """Many writers leave qfac at 0, some write negative spacings."""
    pixdim = [first, 1.0, -2.0, 3.0, 1, 1, 1, 1]
    path = nifti(tmp_path / "a.nii", voxels("u1"), codes=(0, 1), pixdim=pixdim)
    assert_reads_as_nibabel(path)
    sign = -1.0 if first == -1.0 else 1.0
    assert np.sign(np.linalg.det(read_image(path).geometry.affine)) == sign


def test_header_extensions_are_skipped(tmp_path: Path, nifti: Any) -> None:
    path = nifti(tmp_path / "a.nii.gz", voxels("i2"), extension=b"x" * 700)
    assert_reads_as_nibabel(path)


def test_nan_and_infinity_come_through(tmp_path: Path, nifti: Any) -> None:
    array = voxels("f8")
    array[0, 0, 0], array[1, 0, 0], array[2, 0, 0] = np.nan, -np.inf, 1e300
    image = read_image(nifti(tmp_path / "a.nii", array)).array[0]
    assert np.isnan(image[0, 0, 0])
    assert image[1, 0, 0] == -np.inf
    assert image[2, 0, 0] == np.inf  # beyond float32; normalisation refuses it by name


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "i8", "u8"])
@pytest.mark.parametrize("endian", "<>")
def test_integer_labels(tmp_path: Path, nifti: Any, dtype: str, endian: str) -> None:
    stored = voxels(dtype)
    labels = read_labels(nifti(tmp_path / "a.nii.gz", stored, endian=endian)).array
    assert labels.dtype == np.dtype(dtype)
    assert labels.dtype.isnative
    np.testing.assert_array_equal(labels[0], stored)


def test_large_labels_keep_every_bit(tmp_path: Path, nifti: Any) -> None:
    for dtype, value in (("i8", 2**62 + 1), ("u8", 2**64 - 1)):
        stored = np.full((2, 2, 2), value, dtype=dtype)
        assert (read_labels(nifti(tmp_path / "a.nii", stored)).array == value).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_whole_numbers_stored_as_floats_are_labels(tmp_path: Path, nifti: Any, dtype: str) -> None:
    stored = np.array([-1.0, 0.0, 205.0, 500.0]).astype(dtype).reshape(2, 2, 1)
    labels = read_labels(nifti(tmp_path / "a.nii", stored)).array
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels[0], [[[-1], [0]], [[205], [500]]])


def test_labels_with_scaling(tmp_path: Path, nifti: Any) -> None:
    stored = np.arange(8, dtype="u1").reshape(2, 2, 2)
    labels = read_labels(nifti(tmp_path / "a.nii", stored, scl_slope=2, scl_inter=-3)).array
    np.testing.assert_array_equal(labels[0], 2 * stored.astype(int) - 3)
    with pytest.raises(DataError, match=r"label value 0\.5 is not a whole number"):
        read_labels(nifti(tmp_path / "b.nii", stored, scl_slope=0.5))


@pytest.mark.parametrize("value", [0.5, 0.02, np.nan, np.inf, 1e30])
def test_labels_that_are_no_whole_numbers_are_refused(
    tmp_path: Path, nifti: Any, value: float
) -> None:
    path = nifti(tmp_path / "a.nii", np.full((2, 2, 2), value, dtype="f8"))
    with pytest.raises(DataError, match=r"label value .* is not a whole number") as error:
        read_labels(path)
    assert f"{path}: label value {value} " in str(error.value)
    assert "\n" not in str(error.value)
