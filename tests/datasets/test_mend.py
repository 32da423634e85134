"""Corrected copies: every mend puts each voxel where it belongs, and the source stays as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets import find_dataset, find_problems, inspect_dataset
from attnseg.datasets.mend import Mended, mend_dataset
from attnseg.errors import DataError, UsageError
from attnseg.images import read_image, read_labels

SHAPE = (14, 12, 9)
PLACED = np.array([[0.9, 0, 0, -31], [0, 0.9, 0, 12.5], [0, 0, 2.0, 40], [0, 0, 0, 1]])


def volume(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, SHAPE).astype(np.float32)


def mask(seed: int) -> np.ndarray:
    """A box whose place differs from case to case, with one corner of another label."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[3 + seed : 8 + seed, 3:8, 2:6] = 1
    labels[3 + seed, 3, 2] = 2
    return labels


@pytest.fixture
def root(tmp_path, save) -> Path:
    for seed, name in enumerate("abcd"):
        save(tmp_path / "data" / "images" / f"{name}.nii.gz", volume(seed), PLACED)
        save(tmp_path / "data" / "labels" / f"{name}.nii.gz", mask(seed), PLACED)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def folders(tmp_path) -> None:
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)


def content(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def mend(root: Path, *, layout: str = "auto") -> tuple[Path, Mended, list[tuple[str, str]]]:
    """The copy, what was done, and what a check finds in the copy."""
    before = content(root)
    dataset = find_dataset(root, layout=layout)
    out = root.parent / "out"
    mended = mend_dataset(dataset, find_problems(dataset, inspect_dataset(dataset)), out)
    assert content(root) == before
    again = find_dataset(out, layout=layout)
    found = find_problems(again, inspect_dataset(again))
    assert all(each.severity != "fixable" for each in found if each.case not in mended.failed)
    listed = json.loads((out / "fixes.json").read_text())
    assert [each["case"] for each in listed["fixes"]] == [each.case for each in mended.fixes]
    untouched = before.keys() - {each.file for each in mended.fixes}
    after = content(out)
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    assert mended.copied == len(untouched)
    return out, mended, [(each.case, each.severity) for each in found]


def label_of(out: Path, name: str = "b"):
    return read_labels(out / "labels" / f"{name}.nii.gz")


def done(mended: Mended) -> list[tuple[str, str, str]]:
    return [(each.case, each.file, each.what) for each in mended.fixes]


def test_a_sound_data_set_is_copied(root):
    out, mended, found = mend(root)
    assert (mended.fixes, mended.failed, found) == ([], {}, [])
    assert json.loads((out / "fixes.json").read_text())["fixes"] == []


def test_a_slip_of_the_header(root, save):
    save(root / "labels" / "b.nii.gz", mask(1), np.eye(4))
    out, mended, found = mend(root)
    assert done(mended) == [("b", "labels/b.nii.gz", "copy header")]
    assert mended.fixes[0].old == {"shape": list(SHAPE), "affine": np.eye(4).tolist()}
    np.testing.assert_allclose(mended.fixes[0].new["affine"], PLACED, atol=1e-6)
    assert found == []
    np.testing.assert_array_equal(label_of(out).array[0], mask(1))
    np.testing.assert_allclose(label_of(out).geometry.affine, PLACED, atol=1e-6)


def test_axes_in_another_order(root, save):
    place = PLACED[:, [2, 0, 1, 3]]
    place[:, 3] += (SHAPE[2] - 1) * place[:, 0]
    place[:, 0] *= -1
    save(root / "labels" / "b.nii.gz", mask(1).transpose(2, 0, 1)[::-1], place)
    out, mended, found = mend(root)
    assert done(mended) == [("b", "labels/b.nii.gz", "reorient")]
    assert (mended.fixes[0].old, mended.fixes[0].new) == ("IRA", "RAS")
    assert found == []
    np.testing.assert_array_equal(label_of(out).array[0], mask(1))


def test_a_mask_on_a_grid_beside_its_image(root, save):
    place = PLACED.copy()
    place[:3, 3] += 2 * PLACED[:3, 0]  # two voxels along I: the vote moves whole voxels
    save(root / "labels" / "b.nii.gz", np.roll(mask(1), -2, axis=0), place)
    out, mended, found = mend(root)
    assert done(mended) == [("b", "labels/b.nii.gz", "resample")]
    assert found == []
    np.testing.assert_array_equal(label_of(out).array[0], mask(1))


def test_voxels_that_are_no_numbers(root, save):
    image = volume(1)
    image[2, 3, 4:6] = np.nan
    image[0, 0, 0] = np.inf
    save(root / "images" / "b.nii.gz", image, PLACED)
    out, mended, found = mend(root)
    assert done(mended) == [("b", "images/b.nii.gz", "fill")]
    lowest = float(image[np.isfinite(image)].min())
    assert (mended.fixes[0].old, mended.fixes[0].new) == ("channel 0: 3 not finite", lowest)
    assert found == []
    new = read_image(out / "images" / "b.nii.gz")
    np.testing.assert_array_equal(new.array[0], np.where(np.isfinite(image), image, lowest))
    np.testing.assert_allclose(new.geometry.affine, PLACED, atol=1e-6)


def test_sheared_axes_with_a_nan_and_a_slip_at_once(root, save):
    sheared = PLACED.copy()
    sheared[1, 2] = 0.4  # 11 degrees
    image = (100 + 400 * (mask(1) > 0)).astype(np.float32)
    image[0, 0, 0] = np.nan
    save(root / "images" / "b.nii.gz", image, sheared)
    save(root / "labels" / "b.nii.gz", mask(1), np.eye(4))
    out, mended, found = mend(root)
    assert [each[2] for each in done(mended)] == ["copy header", "fill", "straighten", "straighten"]
    assert found == []
    new, labels = read_image(out / "images" / "b.nii.gz"), label_of(out)
    assert new.geometry.shear_degrees < 0.01
    assert np.isfinite(new.array).all()
    # Inside the box the image is bright still, wherever the mask says so, but for its rim.
    inside = new.array[0][labels.array[0] > 0]
    assert np.median(inside) == pytest.approx(500)
    places = [geometry_centre(each, array) for each, array in (
        (new.geometry, labels.array[0] > 0), (type(new.geometry)(SHAPE, sheared), mask(1) > 0)
    )]  # fmt: skip
    assert np.linalg.norm(places[0] - places[1]) < 0.3


def geometry_centre(geometry, where: np.ndarray) -> np.ndarray:
    """Centre in mm of the voxels that are true."""
    return (geometry.affine @ [*np.array(np.nonzero(where)).mean(axis=1), 1])[:3]


def test_files_without_a_partner_are_set_aside(root):
    (root / "labels" / "b.nii.gz").unlink()
    (root / "images" / "c.nii.gz").unlink()
    out, mended, found = mend(root)
    assert sorted(done(mended)) == [
        ("b", "images/b.nii.gz", "leave out"),
        ("c", "labels/c.nii.gz", "leave out"),
    ]
    assert found == []
    assert not (out / "images" / "b.nii.gz").exists()
    kept = out / "left_out" / "images" / "b.nii.gz"
    assert kept.read_bytes() == (root / "images" / "b.nii.gz").read_bytes()


def test_all_channels_of_a_lone_case_are_set_aside(tmp_path, save, write_metadata):
    root = tmp_path / "nnunet"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate("abc"):
        for channel in range(2):
            image = volume(seed + 10 * channel)
            if name == "a" and channel == 1:
                image[1, 1, 1] = np.nan
            save(root / "imagesTr" / f"{name}_000{channel}.nii.gz", image, PLACED)
        save(root / "labelsTr" / f"{name}.nii.gz", mask(seed), PLACED)
    (root / "labelsTr" / "c.nii.gz").unlink()
    write_metadata(
        root, channel_names={"0": "T1", "1": "T2"}, labels={"background": 0, "x": 1, "y": 2}
    )
    _, mended, found = mend(root)
    assert found == []
    # Of the channels only the one with the fault is written anew.
    assert done(mended) == [
        ("c", "imagesTr/c_0000.nii.gz", "leave out"),
        ("c", "imagesTr/c_0001.nii.gz", "leave out"),
        ("a", "imagesTr/a_0001.nii.gz", "fill"),
    ]


def test_what_cannot_be_mended_is_copied_and_told(root, save):
    image = volume(1)
    image[1, 1, 1] = np.nan
    save(root / "images" / "b.nii.gz", image, PLACED)
    (root / "labels" / "b.nii.gz").write_bytes(b"")
    out, mended, found = mend(root)
    assert mended.fixes == []
    assert mended.failed == {
        "b": f"{root / 'labels' / 'b.nii.gz'}: the file is empty; copy it again from its source"
    }
    assert sorted(found) == [("b", "fatal"), ("b", "fixable")]
    why = json.loads((out / "fixes.json").read_text())["not_mended"]
    assert [each["case"] for each in why] == ["b"]


def test_a_table_is_copied_with_the_files_that_it_lists(root, save):
    save(root / "labels" / "b.nii.gz", mask(1), np.eye(4))
    table = root / "cases.csv"
    lines = [f"{name},images/{name}.nii.gz,labels/{name}.nii.gz" for name in "abc"]
    table.write_text("\n".join(["case,MR,label", *lines]) + "\n")
    dataset = find_dataset(table)
    out = root.parent / "out"
    mended = mend_dataset(dataset, find_problems(dataset, inspect_dataset(dataset)), out)
    assert done(mended) == [("b", "labels/b.nii.gz", "copy header")]
    assert len(content(out)) == 3 + 3 + 2  # the fourth case is not in the table
    again = find_dataset(out / "cases.csv")
    assert find_problems(again, inspect_dataset(again)) == []


def test_a_table_of_files_elsewhere_is_refused(root):
    table = root / "sub" / "cases.csv"
    table.parent.mkdir()
    table.write_text("case,MR,label\na,../images/a.nii.gz,../labels/a.nii.gz\n")
    with pytest.raises(DataError, match=r"a\.nii\.gz: lies outside .*sub"):
        mend_dataset(find_dataset(table), [], root.parent / "out")


def test_folders_that_are_refused(root, tmp_path):
    dataset = find_dataset(root)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for folder, match in ((tmp_path / "full", "is there already"), (root / "new", "lies in")):
        with pytest.raises(UsageError, match=match):
            mend_dataset(dataset, [], folder)
    assert not (root / "new").exists()
