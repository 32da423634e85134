"""FreeSurfer's volumes against nibabel, bit for bit."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_files import OBLIQUE

from attnseg.errors import DataError
from attnseg.images import read_image, read_labels, read_outline, write_labels

GRIDS = {
    "oblique": OBLIQUE,
    "flipped": np.diag([-1.0, 2.0, -3.0, 1.0]),
    "permuted": np.array([[0, 0, 3, 1], [-1, 0, 0, 2], [0, 2, 0, 3], [0, 0, 0, 1.0]]),
}


def save(path: Path, array: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    nib.save(nib.MGHImage(array, affine), path)
    return path


def nibabels(path: Path) -> nib.MGHImage:
    """Read from memory: from a file that is not packed nibabel leaves it open."""
    content = path.read_bytes()
    return nib.MGHImage.from_bytes(gzip.decompress(content) if path.suffix == ".mgz" else content)


def voxels(dtype: str, shape: tuple[int, ...] = (6, 5, 4)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 120, shape).astype(dtype)


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("grid", GRIDS)
def test_voxels_and_affine_equal_nibabels(tmp_path: Path, name: str, dtype: str, grid: str) -> None:
    stored = voxels(dtype)
    path = save(tmp_path / name, stored, GRIDS[grid])
    image, labels = read_image(path), read_labels(path)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array[0], stored)
    np.testing.assert_array_equal(labels.array[0], stored)
    assert labels.array.dtype == np.dtype("i8" if dtype == "f4" else dtype)
    for geometry in (image.geometry, labels.geometry, read_outline((path,)).geometry):
        assert np.array_equal(geometry.affine, nibabels(path).affine)
    assert image.notes == ()
    assert read_outline((path,)).stored_bytes == stored.nbytes


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_frames_are_channels(tmp_path: Path, name: str) -> None:
    stored = voxels("f4", (6, 5, 4, 2))
    path = save(tmp_path / name, stored)
    np.testing.assert_array_equal(read_image(path, num_channels=2).array, np.moveaxis(stored, 3, 0))
    with pytest.raises(DataError, match=r"shape \(6, 5, 4, 2\) where a 3D image"):
        read_image(path)


def test_a_file_without_a_place_is_refused(tmp_path: Path) -> None:
    """nibabel makes LSP of it, FreeSurfer LIA."""
    path = save(tmp_path / "a.mgh", voxels("u1"))
    content = bytearray(path.read_bytes())
    struct.pack_into(">h", content, 28, 0)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mgh: its header says no place .*mri_convert"):
        read_image(path)


def test_the_edge_set_has_one_askew(real_data: Path) -> None:
    """Read as nibabel reads it; `read_case` refuses it for its axes."""
    path = real_data / "edge/images/nibabel/test.mgz"
    image, oracle = read_image(path, num_channels=2), nibabels(path)
    np.testing.assert_array_equal(image.array, np.moveaxis(oracle.get_fdata(), 3, 0))
    assert np.array_equal(image.geometry.affine, oracle.affine)


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd", "m.mha"])
def test_a_mask_lies_on_its_scan(tmp_path: Path, name: str) -> None:
    like = read_image(save(tmp_path / "a.mgz", voxels("u1")))
    labels = voxels("u2")
    write_labels(tmp_path / name, labels, like=like, dtype=labels.dtype)
    mask = read_labels(tmp_path / name)
    np.testing.assert_array_equal(mask.array[0], labels)
    assert mask.geometry.distance_mm(like.geometry) < 1e-5
