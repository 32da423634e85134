"""A mask as a folder with a file for each label."""

from pathlib import Path

import numpy as np
import pytest

from attnseg.errors import DataError
from attnseg.images import Geometry, Image, names_of_files, read_labels, write_labels

SHAPE = (6, 5, 4)


def write(path: Path, labels: np.ndarray, *, shift: float = 0.0) -> None:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[0, 3] = shift
    like = Image(np.zeros((1, *labels.shape), np.float32), Geometry(labels.shape, affine))
    write_labels(path, labels, like=like, dtype=np.dtype(np.uint16))


def box(value: int, start: int, stop: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint16)
    labels[start:stop] = value
    return labels


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_the_files_are_one_label_map(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"whole{suffix}", box(1, 0, 2) + box(300, 3, 5))
    write(tmp_path / f"a/liver{suffix}", box(1, 0, 2))
    write(tmp_path / f"a/kidney.left{suffix}", box(300, 3, 5))
    write(tmp_path / f"a/absent{suffix}", box(0, 0, 1))
    (tmp_path / "a/notes.txt").write_text("no image")
    whole, found = read_labels(tmp_path / f"whole{suffix}"), read_labels(tmp_path / "a")
    np.testing.assert_array_equal(found.array, whole.array)
    assert found.geometry.matches(whole.geometry, tolerance_mm=0)
    assert found.header == whole.header
    assert found.name == "a"
    assert names_of_files(tmp_path / "a") == {1: "liver", 300: "kidney.left"}


def test_pictures_too(tmp_path: Path) -> None:
    flat = Image(np.zeros((1, 6, 5, 1), np.float32), Geometry((6, 5, 1), np.eye(4)))
    for name, value in (("cell", 1), ("edge", 2)):
        labels = np.zeros((6, 5, 1), np.uint8)
        labels[value] = value
        write_labels(tmp_path / f"a/{name}.png", labels, like=flat, dtype=np.dtype(np.uint8))
    found = read_labels(tmp_path / "a", label_values=(0, 1, 2))
    assert np.unique(found.array).tolist() == [0, 1, 2]


def one_value_twice(folder: Path) -> None:
    write(folder / "a.nii.gz", box(1, 0, 2))
    write(folder / "b.nii.gz", box(1, 3, 5))


def overlap(folder: Path) -> None:
    write(folder / "a.nii.gz", box(1, 0, 3))
    write(folder / "b.nii.gz", box(2, 2, 5))


def several_labels(folder: Path) -> None:
    write(folder / "a.nii.gz", box(1, 0, 2) + box(2, 3, 4))


def other_place(folder: Path) -> None:
    write(folder / "a.nii.gz", box(1, 0, 2))
    write(folder / "b.nii.gz", box(2, 3, 5), shift=3)


def other_shape(folder: Path) -> None:
    write(folder / "a.nii.gz", box(1, 0, 2))
    write(folder / "b.nii.gz", np.full((3, 3, 3), 2, np.uint16))


def nothing(folder: Path) -> None:
    folder.mkdir()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (one_value_twice, "a.nii.gz and b.nii.gz both hold label 1.*a value of its own"),
        (overlap, r"b.nii.gz: overlaps in 20 voxel\(s\) with a.nii.gz"),
        (several_labels, "a.nii.gz: holds the labels 1, 2.*give the file itself"),
        (other_place, "b.nii.gz: lies on another grid than a.nii.gz"),
        (other_shape, "b.nii.gz: lies on another grid than a.nii.gz"),
        (nothing, "no such file, but a folder; give a file in it, or a folder with a file"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(tmp_path: Path, make, why: str) -> None:
    make(tmp_path / "case")
    with pytest.raises(DataError, match=why) as caught:
        read_labels(tmp_path / "case")
    assert "\n" not in str(caught.value)
