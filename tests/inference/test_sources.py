"""What the user typed → scans and model."""

import os
from pathlib import Path

import pytest

from attnseg.errors import DataError, RunError, UsageError
from attnseg.inference import Scan, find_models, find_scans


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def names(*inputs, num_channels=1):
    return [scan.name for scan in find_scans(inputs, num_channels=num_channels)]


def test_folder_file_and_glob(tmp_path, monkeypatch):
    touch(tmp_path / "scans", "b.nii.gz", "a.nii", ".hidden.nii", "notes.txt")
    assert names(tmp_path / "scans") == ["a", "b"]
    assert names(tmp_path / "scans" / "b.nii.gz") == ["b"]
    assert names(f"{tmp_path}/scans/*.gz") == ["b"]
    monkeypatch.chdir(tmp_path)
    assert names("scans/?.nii*") == ["a", "b"]
    assert names("scans/a.nii", "scans") == ["a", "b"], "the same file twice is one scan"


def test_channels_are_grouped_by_nnunets_suffix(tmp_path):
    touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "y_0000.nii.gz", "y_0001.nii.gz")
    scans = find_scans([tmp_path], num_channels=2)
    assert {scan.name: [path.name for path in scan.paths] for scan in scans} == {
        "x": ["x_0000.nii.gz", "x_0001.nii.gz"],
        "y": ["y_0000.nii.gz", "y_0001.nii.gz"],
    }


def test_a_year_is_not_a_channel(tmp_path):
    touch(tmp_path, "scan_2019.nii.gz", "case_0000.nii.gz")
    assert names(tmp_path) == ["case", "scan_2019"]


def test_pictures_are_scans_too(tmp_path):
    touch(tmp_path / "mixed", "a.png", "b.JPG", "c.tiff", "d.nii.gz", "e.gif", ".f.png")
    assert names(tmp_path / "mixed") == ["a", "b", "c", "d"]
    assert names(tmp_path / "mixed" / "b.JPG") == ["b"]
    assert names(f"{tmp_path}/mixed/*.[tp]*") == ["a", "c"]
    masks = [scan.mask_name for scan in find_scans([tmp_path / "mixed"], num_channels=1)]
    assert masks == ["a.png", "b.png", "c.png", "d.nii.gz"]


def test_channels_of_pictures(tmp_path):
    """One file a channel, or one picture that holds the three of colour."""
    touch(tmp_path, "x_0000.png", "x_0001.png", "x_0002.png", "y_0000.png")
    scans = {scan.name: len(scan.paths) for scan in find_scans([tmp_path], num_channels=3)}
    assert scans == {"x": 3, "y": 1}
    touch(tmp_path / "two", "y_0000.png")
    with pytest.raises(DataError, match=r"y_0001 missing where the model needs 2"):
        find_scans([tmp_path / "two"], num_channels=2)
    touch(tmp_path / "volumes", "y_0000.nii.gz")
    with pytest.raises(DataError, match=r"y_0001, y_0002 missing where the model needs 3"):
        find_scans([tmp_path / "volumes"], num_channels=3)


def test_a_missing_channel_is_named(tmp_path):
    touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "y_0001.nii.gz")
    with pytest.raises(DataError, match=r"y_0000 missing where the model needs 2"):
        find_scans([tmp_path], num_channels=2)


def test_two_scans_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "a", "x.nii.gz")
    touch(tmp_path / "b", "x.nii")
    with pytest.raises(UsageError, match="x come twice"):
        find_scans([tmp_path / "a", tmp_path / "b"], num_channels=1)


@pytest.mark.parametrize("other", ["x.jpg", "x.PNG", "x.nii.gz"])
def test_pictures_whose_masks_would_collide_are_refused(tmp_path, other):
    touch(tmp_path, "x.tif", other)
    with pytest.raises(UsageError, match="x come twice") as caught:
        find_scans([tmp_path], num_channels=1)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "no such file or folder"),
        (
            lambda folder: folder / "*.nii",
            r"no scan \(.nii.gz, .+, .tiff or DICOM\) matches",
        ),
        (lambda folder: touch(folder / "e") or folder / "e", "it is empty"),
        (lambda folder: touch(folder, "a.gif") or folder / "a.gif", r"not a scan .*\.png"),
        (
            lambda folder: touch(folder / "p", "a.gif", "b.gif") or folder / "p",
            r"no scans \(.nii.gz, .*it holds 2 .gif: convert",
        ),
    ],
)
def test_nothing_to_predict_is_one_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        find_scans([make(tmp_path)], num_channels=1)
    assert len(str(caught.value).splitlines()) == 1


def folds(models):
    return [path.parent.name for path in models]


def test_the_newest_finished_run_is_taken(tmp_path):
    for age, run in enumerate(("new/fold0", "old/fold0", "old/fold1")):
        touch(tmp_path / run, "model.safetensors")
        os.utime(tmp_path / run / "model.safetensors", (1e9 - age, 1e9 - age))
    touch(tmp_path / "unfinished" / "fold0", "last.ckpt")
    newest = tmp_path / "new" / "fold0" / "model.safetensors"
    assert find_models(None, runs=tmp_path) == [newest]
    assert folds(find_models(tmp_path / "old")) == ["fold0", "fold1"]
    assert folds(find_models(tmp_path / "old" / "fold1")) == ["fold1"]
    assert find_models(newest) == [newest]
    assert find_models(str(newest)) == [newest]
    with pytest.raises(RunError, match="no finished run"):
        find_models(tmp_path / "unfinished")
    with pytest.raises(RunError, match="attnseg train"):
        find_models(None, runs=tmp_path / "nowhere")


def test_all_folds_of_a_run_or_the_one_model_of_all_cases(tmp_path):
    for fold in ("fold2", "fold0", "fold1"):
        touch(tmp_path / "runs" / "x" / fold, "model.safetensors")
    touch(tmp_path / "runs" / "x" / "fold3", "last.ckpt")
    assert folds(find_models(None, runs=tmp_path / "runs")) == ["fold0", "fold1", "fold2"]
    touch(tmp_path / "runs" / "x" / "fold_none", "last.ckpt")
    assert len(find_models(tmp_path / "runs" / "x")) == 3, "not finished yet"
    touch(tmp_path / "runs" / "x" / "fold_none", "model.safetensors")
    assert folds(find_models(tmp_path / "runs" / "x")) == ["fold_none"]
    assert folds(find_models(None, runs=tmp_path / "runs")) == ["fold_none"]


def test_several_models(tmp_path):
    touch(tmp_path, "a.safetensors")
    for fold in ("fold0", "fold1"):
        touch(tmp_path / "x" / fold, "model.safetensors")
    file = tmp_path / "a.safetensors"
    found = find_models([file, tmp_path / "x", tmp_path / "x" / "fold1", str(file)])
    assert folds(found) == [tmp_path.name, "fold0", "fold1"], "none twice"
    with pytest.raises(RunError, match="no finished run"):
        find_models([file, tmp_path])


def test_the_mask_of_a_case_of_channels():
    assert Scan("x", (Path("x_0000.png"), Path("x_0001.png"))).mask_name == "x.png"
    assert Scan("x", (Path("x_0000.nii"), Path("x_0001.nii"))).mask_name == "x.nii.gz"
