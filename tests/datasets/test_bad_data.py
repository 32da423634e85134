"""One fault at a time, planted in a sound data set of two channels: named, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets import find_dataset, find_problems, fingerprint, inspect_dataset
from attnseg.errors import DataError

RNG = np.random.default_rng(0)
SHAPE = (6, 5, 4)
NAMES = ("a", "b", "c")
VALUES = {"background": 0, "x": 1, "y": 205, "z": 420, "far": 500, "below": -1}


def volume() -> np.ndarray:
    return RNG.normal(100, 20, SHAPE).astype(np.float32)


def mask() -> np.ndarray:
    """All declared values somewhere, each mask another one."""
    return RNG.permutation(np.resize(list(VALUES.values()), 120)).reshape(SHAPE).astype(np.int16)


@pytest.fixture
def root(tmp_path, save, write_metadata) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    for name in NAMES:
        for channel in range(2):
            save(tmp_path / "imagesTr" / f"{name}_000{channel}.nii.gz", volume())
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", mask())
    write_metadata(tmp_path, channel_names={"0": "T1", "1": "T2"}, labels=VALUES)
    return tmp_path


def found(root: Path) -> list[tuple[str, str, str]]:
    data = find_dataset(root)
    problems = find_problems(data, inspect_dataset(data))
    assert not any("\n" in str(each) for each in problems)
    return [(each.case, each.severity, each.problem) for each in problems]


def the_fault_of_b(root: Path, expected: str = "fatal") -> str:
    """The problem of the one finding, which stops training."""
    ((case, severity, problem),) = found(root)
    assert (case, severity) == ("b", expected)
    return problem


def test_values_that_are_far_apart_or_negative_are_accepted(root):
    assert found(root) == []
    figures = fingerprint(inspect_dataset(find_dataset(root)))
    assert figures.label_values == (-1, 1, 205, 420, 500)


def test_labels_with_fractions(root, save):
    labels = mask().astype(np.float32)
    labels[2, 2, 2] = 0.5
    save(root / "labelsTr" / "b.nii.gz", labels)
    assert "b.nii.gz: label value 0.5 is not a whole number" in the_fault_of_b(root)


def test_a_mask_without_any_number(root, save):
    save(root / "labelsTr" / "b.nii.gz", np.full_like(mask(), np.nan, dtype=np.float32))
    assert "b.nii.gz: label value nan is not a whole number" in the_fault_of_b(root)


def test_an_infinite_label(root, save):
    labels = mask().astype(np.float32)
    labels[2, 2, 2] = -np.inf
    save(root / "labelsTr" / "b.nii.gz", labels)
    assert "b.nii.gz: label value -inf is not a whole number" in the_fault_of_b(root)


def test_a_label_of_four_dimensions(root, save):
    save(root / "labelsTr" / "b.nii.gz", np.stack([mask(), mask()]))
    assert "b.nii.gz: shape (6, 5, 4, 2) where a 3D image" in the_fault_of_b(root)


def test_voxels_that_are_not_numbers(root, save):
    image = volume()
    image[1, 1, :3] = np.nan
    save(root / "imagesTr" / "b_0001.nii.gz", image)
    assert the_fault_of_b(root, "fixable") == (
        "channel 1 (T2, b_0001.nii.gz) has 3 voxel(s) that are NaN or infinite"
    )


def test_a_case_without_one_of_its_channels(root):
    (root / "imagesTr" / "b_0001.nii.gz").unlink()
    assert "b_0000.nii.gz: 1 channel(s) where 2 are expected" in the_fault_of_b(root)


def test_a_case_without_its_first_channel(root):
    (root / "imagesTr" / "b_0000.nii.gz").unlink()
    problems = found(root)
    assert {(case, severity) for case, severity, _ in problems} == {("b", "fatal")}
    assert "its channel files _0001 are not numbered from _0000" in problems[0][2]


def test_channels_on_different_grids(root, save):
    save(root / "imagesTr" / "b_0001.nii.gz", volume(), np.diag([1.0, 1.0, 2.0, 1.0]))
    assert "b_0001.nii.gz: its grid differs from that of" in the_fault_of_b(root)
    save(root / "imagesTr" / "b_0001.nii.gz", volume()[:, :, 1:])
    assert "b_0001.nii.gz: its grid differs from that of" in the_fault_of_b(root)


@pytest.mark.parametrize("file", ["imagesTr/b_0001.nii.gz", "labelsTr/b.nii.gz"])
def test_an_empty_file(root, file: str):
    (root / file).write_bytes(b"")
    assert the_fault_of_b(root) == f"{root / file}: the file is empty"


@pytest.mark.parametrize("file", ["imagesTr/b_0001.nii.gz", "labelsTr/b.nii.gz"])
def test_a_file_cut_short(root, file: str):
    (root / file).write_bytes((root / file).read_bytes()[:-40])
    assert f"{root / file}: cut short" in the_fault_of_b(root)


def test_an_image_without_label(root):
    (root / "labelsTr" / "b.nii.gz").unlink()
    assert the_fault_of_b(root, "fixable") == "image b_0000.nii.gz has no label"


def test_a_label_without_image(root):
    for channel in range(2):
        (root / "imagesTr" / f"b_000{channel}.nii.gz").unlink()
    assert the_fault_of_b(root, "fixable") == "label b.nii.gz has no image"


def test_the_mask_of_another_case(root):
    (root / "labelsTr" / "b.nii.gz").write_bytes((root / "labelsTr" / "a.nii.gz").read_bytes())
    assert found(root) == [("b", "warning", "its label is identical to that of a")]


def test_a_stray_value(root, save):
    labels = mask()
    labels[0, 0, 0] = 421
    save(root / "labelsTr" / "b.nii.gz", labels)
    assert the_fault_of_b(root) == "label value(s) 421 occur in this case only"


def test_masks_off_their_images(root, save):
    affine = np.eye(4)
    affine[0, 3] = 0.5
    save(root / "labelsTr" / "b.nii.gz", mask(), affine)
    assert "label lies up to 0.5 mm off the image" in the_fault_of_b(root, "fixable")


def test_one_case_in_another_format(root, save_picture):
    save_picture(root / "imagesTr" / "d_0000.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(DataError, match=r"6 volume\(s\) .* beside 1 picture\(s\)"):
        find_dataset(root)
