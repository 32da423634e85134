"""NRRD and MetaImage against SimpleITK: values, millimetres, and masks bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from attnseg.errors import DataError
from attnseg.images import Image, read_case, read_image, read_labels, read_outline, write_labels

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
SUFFIXES = [".nrrd", ".nhdr", ".mha", ".mhd"]


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


GRIDS = {
    "straight": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "permuted": np.eye(3)[[2, 0, 1]],
    "permuted and flipped": np.eye(3)[[1, 2, 0]] * [1, -1, -1],
    "oblique": rotation(0),
    "oblique, mirrored": rotation(1) @ np.diag([1.0, 1.0, -1.0]),
}


def itk_image(array: np.ndarray, directions: np.ndarray = GRIDS["oblique"], **options: bool):
    """`[K, J, I]` as SimpleITK has it, anisotropic and away from the origin."""
    image = sitk.GetImageFromArray(array, **options)
    num_axes = image.GetDimension()
    image.SetDirection(directions[:num_axes, :num_axes].ravel().tolist())
    image.SetSpacing((0.7, 1.3, 3.1)[:num_axes])
    image.SetOrigin((11.1, -22.2, 33.3)[:num_axes])
    return image


def voxels(dtype: str, shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype[0] == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    return rng.integers(-100 if dtype[0] == "i" else 0, 120, shape).astype(dtype)


def assert_same_place(image: Image, oracle: sitk.Image) -> None:
    i, j, k = (n - 1 for n in image.geometry.shape)
    for voxel in ((0, 0, 0), (i, 0, 0), (0, j, 0), (0, 0, k), (i, j, k)):
        place = image.geometry.affine @ [*voxel, 1]
        expected = oracle.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(place[:3] * (-1, -1, 1), expected, rtol=0, atol=1e-11)


def place_of(path: Path) -> tuple[tuple[float, ...], ...]:
    image = sitk.ReadImage(str(path))
    return image.GetOrigin(), image.GetSpacing(), image.GetDirection(), image.GetSize()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(tmp_path: Path, suffix: str, packed: bool, dtype: str) -> None:
    path, stored = tmp_path / f"a{suffix}", voxels(dtype)
    oracle = itk_image(stored)
    sitk.WriteImage(oracle, str(path), useCompression=packed)
    image = read_image(path)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array[0], stored.transpose(2, 1, 0).astype(np.float32))
    assert_same_place(image, oracle)
    assert image.notes == ()
    outline = read_outline((path,))
    assert (outline.channels, outline.stored_bytes) == (1, stored.nbytes)
    assert np.array_equal(outline.geometry.affine, image.geometry.affine)
    if dtype[0] != "f":
        labels = read_labels(path)
        assert labels.array.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(labels.array[0], stored.transpose(2, 1, 0))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_orientation(tmp_path: Path, suffix: str, grid: str) -> None:
    oracle = itk_image(voxels("i2"), GRIDS[grid])
    sitk.WriteImage(oracle, str(tmp_path / f"a{suffix}"))
    image = read_image(tmp_path / f"a{suffix}")
    assert_same_place(image, oracle)
    np.testing.assert_allclose(image.geometry.spacing_mm, (0.7, 1.3, 3.1), rtol=1e-14)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_numbers_of_a_voxel_are_channels(tmp_path: Path, suffix: str) -> None:
    path, stored = tmp_path / f"a{suffix}", voxels("f4", (4, 5, 6, 3))
    sitk.WriteImage(itk_image(stored, isVector=True), str(path), useCompression=True)
    image = read_image(path, num_channels=3)
    np.testing.assert_array_equal(image.array, stored.transpose(3, 2, 1, 0))
    for num_channels in (None, 1, 2):
        with pytest.raises(DataError, match=r"shape \(6, 5, 4, 3\) where .* expected"):
            read_image(path, num_channels=num_channels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_last_of_four_axes_is_channels(tmp_path: Path, suffix: str) -> None:
    path, stored = tmp_path / f"a{suffix}", voxels("i2", (2, 4, 5, 6))
    oracle = sitk.JoinSeries([itk_image(each) for each in stored])
    sitk.WriteImage(oracle, str(path))
    image = read_image(path, num_channels=2)
    np.testing.assert_array_equal(image.array, stored.transpose(0, 3, 2, 1))
    place = image.geometry.affine @ [5, 4, 3, 1]
    expected = oracle.TransformIndexToPhysicalPoint((5, 4, 3, 0))[:3]
    np.testing.assert_allclose(place[:3] * (-1, -1, 1), expected, rtol=0, atol=1e-11)
    labels = np.ones(image.geometry.shape, dtype="u1")
    mask = tmp_path / f"mask{'.nrrd' if suffix in SUFFIXES[:2] else '.mha'}"
    write_labels(mask, labels, like=image, dtype=labels.dtype)
    assert np.array_equal(read_labels(mask).geometry.affine, image.geometry.affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flat_file_is_one_slice(tmp_path: Path, suffix: str) -> None:
    path, stored = tmp_path / f"a{suffix}", voxels("u2", (5, 6))
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    oracle = itk_image(stored, turn)
    sitk.WriteImage(oracle, str(path))
    image = read_image(path)
    np.testing.assert_array_equal(image.array, stored.T[None, :, :, None])
    place = image.geometry.affine @ [5, 4, 0, 1]
    expected = oracle.TransformIndexToPhysicalPoint((5, 4))
    np.testing.assert_allclose(place[:3] * (-1, -1, 1), (*expected, 0), rtol=0, atol=1e-11)
    mask = tmp_path / f"mask{'.nrrd' if suffix in SUFFIXES[:2] else '.mha'}"
    write_labels(mask, image.array[0], like=image, dtype=np.dtype("u2"))
    assert place_of(mask) == place_of(path)


@pytest.mark.parametrize("dtype", DTYPES[:8])
@pytest.mark.parametrize(("scan", "mask"), [("a.nrrd", "m.nrrd"), ("a.mhd", "m.mha")])
def test_a_mask_of_the_same_format_lies_on_its_scan_bit_for_bit(
    tmp_path: Path, scan: str, mask: str, dtype: str
) -> None:
    for seed in range(10):
        directions = rotation(seed)
        sitk.WriteImage(itk_image(voxels("i2"), directions), str(tmp_path / scan))
        like = read_case((tmp_path / scan,))
        labels = voxels(dtype).transpose(2, 1, 0)
        write_labels(tmp_path / mask, labels, like=like, dtype=np.dtype(dtype))
        assert place_of(tmp_path / mask) == place_of(tmp_path / scan)
        assert np.array_equal(read_labels(tmp_path / mask).geometry.affine, like.geometry.affine)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / mask)))
    assert written.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(written, labels.transpose(2, 1, 0))


@pytest.mark.parametrize("mask", ["m.nrrd", "m.mha"])
@pytest.mark.parametrize("value", [2**64 - 1, 2**63, -(2**63), 2**53 + 1, 500])
def test_large_labels_keep_every_bit(tmp_path: Path, mask: str, value: int) -> None:
    labels = np.zeros((4, 3, 2), dtype="i8" if value < 0 else "u8")
    labels[1, 1, 1] = value
    like = Image(np.zeros((1, 4, 3, 2), "f4"), read_itk_grid(tmp_path))
    write_labels(tmp_path / mask, labels, like=like, dtype=labels.dtype)
    np.testing.assert_array_equal(read_labels(tmp_path / mask).array[0], labels)
    oracle = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / mask)))
    np.testing.assert_array_equal(oracle, labels.transpose(2, 1, 0))


def read_itk_grid(folder: Path):
    path = folder / "grid.mha"
    sitk.WriteImage(itk_image(voxels("u1", (2, 3, 4))), str(path))
    return read_image(path).geometry


@pytest.mark.parametrize("scan", ["a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("mask", ["m.nrrd", "m.mha", "m.nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_mask_of_another_format_lies_on_its_scan(
    tmp_path: Path, scan: str, mask: str, grid: str
) -> None:
    sitk.WriteImage(itk_image(voxels("i2"), GRIDS[grid]), str(tmp_path / scan))
    like = read_image(tmp_path / scan)
    labels = like.array[0].astype("i2")
    write_labels(tmp_path / mask, labels, like=like, dtype=labels.dtype)
    back, oracle = read_labels(tmp_path / mask), sitk.ReadImage(str(tmp_path / mask))
    np.testing.assert_array_equal(back.array[0], labels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(oracle), labels.transpose(2, 1, 0))
    # NIfTI keeps float32; the others are exact to the last digits of float64.
    tolerance = 2e-5 if "nii.gz" in mask else 1e-12
    assert back.geometry.distance_mm(like.geometry) < tolerance
    corner = tuple(n - 1 for n in labels.shape)
    np.testing.assert_allclose(
        oracle.TransformIndexToPhysicalPoint(corner),
        (like.geometry.affine @ [*corner, 1])[:3] * (-1, -1, 1),
        rtol=0,
        atol=1e-4 if "nii.gz" in mask else 1e-11,
    )


def test_same_mask_same_bytes_and_small(tmp_path: Path) -> None:
    labels = np.zeros((60, 60, 60), dtype="u1")
    labels[20:40, 20:40, 20:40] = 3
    sitk.WriteImage(itk_image(labels.transpose(2, 1, 0)), str(tmp_path / "a.mha"))
    like = read_image(tmp_path / "a.mha")
    for suffix in (".nrrd", ".mha"):
        paths = [tmp_path / f"{name}{suffix}" for name in "bc"]
        for path in paths:
            write_labels(path, labels, like=like, dtype=labels.dtype)
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert paths[0].stat().st_size < labels.nbytes // 20


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_in_capitals(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(itk_image(voxels("i2")), str(tmp_path / f"a{suffix}"))
    path = (tmp_path / f"a{suffix}").rename(tmp_path / f"A{suffix.upper()}")
    np.testing.assert_array_equal(read_image(path).array[0], voxels("i2").transpose(2, 1, 0))
    assert read_image(path).name == "A"


def test_a_mask_has_no_detached_header(tmp_path: Path) -> None:
    labels = np.zeros((4, 3, 2), dtype="u1")
    like = Image(np.zeros((1, 4, 3, 2), "f4"), read_itk_grid(tmp_path))
    with pytest.raises(DataError, match=r"m\.mhd: masks and scans are written as \.nrrd or \.mha"):
        write_labels(tmp_path / "m.mhd", labels, like=like, dtype=labels.dtype)


def test_reading_and_writing_loads_no_simpleitk(tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(voxels("i2")), str(tmp_path / "a.nrrd"))
    script = (
        "import json, sys; from pathlib import Path; from attnseg.images import *\n"
        "folder = Path(sys.argv[1]); like = read_image(folder / 'a.nrrd')\n"
        "labels = like.array[0].astype('u1')\n"
        "write_labels(folder / 'm.mha', labels, like=like, dtype=labels.dtype)\n"
        "print(json.dumps([name for name in ('SimpleITK', 'pydicom') if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
