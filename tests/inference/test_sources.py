"""What the user typed → scans and model."""

import os

import pytest

from attnseg.errors import DataError, RunError, UsageError
from attnseg.inference import find_model, find_scans


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


def test_a_missing_channel_is_named(tmp_path):
    touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "y_0001.nii.gz")
    with pytest.raises(DataError, match=r"y_0000 missing where the model needs 2"):
        find_scans([tmp_path], num_channels=2)


def test_two_scans_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "a", "x.nii.gz")
    touch(tmp_path / "b", "x.nii")
    with pytest.raises(UsageError, match="x come twice"):
        find_scans([tmp_path / "a", tmp_path / "b"], num_channels=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "no such file or folder"),
        (lambda folder: folder / "*.nii", "no .nii or .nii.gz file matches"),
        (lambda folder: touch(folder / "e") or folder / "e", "it is empty"),
        (lambda folder: touch(folder, "a.png") or folder / "a.png", "not a scan"),
        (
            lambda folder: touch(folder / "p", "a.png", "b.png") or folder / "p",
            "it holds 2 .png: this model segments 3D NIfTI",
        ),
    ],
)
def test_nothing_to_predict_is_one_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        find_scans([make(tmp_path)], num_channels=1)
    assert len(str(caught.value).splitlines()) == 1


def test_the_newest_finished_run_is_taken(tmp_path):
    for age, run in enumerate(("new/fold0", "old/fold0", "old/fold1")):
        touch(tmp_path / run, "model.safetensors")
        os.utime(tmp_path / run / "model.safetensors", (1e9 - age, 1e9 - age))
    touch(tmp_path / "unfinished" / "fold0", "last.ckpt")
    newest = tmp_path / "new" / "fold0" / "model.safetensors"
    assert find_model(None, runs=tmp_path) == newest
    assert find_model(tmp_path / "old").parent.name == "fold0"
    assert find_model(tmp_path / "old" / "fold1").parent.name == "fold1"
    assert find_model(newest) == newest
    with pytest.raises(RunError, match="no finished run"):
        find_model(tmp_path / "unfinished")
    with pytest.raises(RunError, match="attnseg train"):
        find_model(None, runs=tmp_path / "nowhere")
