"""`attnseg check`: what it prints, writes and returns, on small sets and on the real ones."""

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attnseg.images import Geometry, Image, read_image, read_labels, write_image, write_labels

CLEAN = {
    "hippocampus": (195, 0),
    "head_neck_ct": (30, 0),
    "ventricle": (60, 1),  # two phases of each patient, and no pattern that says so
    "nuclei": (400, 0),
}


def test_a_sound_data_set(attnseg, dataset):
    result = attnseg("check", dataset)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"{dataset}: paired folders layout"
    assert lines[-1] == "3 case(s): 0 fatal, 0 fixable, 0 warning, 0 harmless"


def test_findings_stop_with_one_line(attnseg, dataset):
    (dataset / "images" / "c1.nii.gz").write_bytes(b"")
    (dataset / "labels" / "c2.nii.gz").unlink()
    result = attnseg("check", dataset)
    assert result.code == 1
    assert result.err == (
        f"attnseg: {dataset}: 2 problem(s) stop training; --fix OUT mends 1 of them\n"
    )
    assert result.out.splitlines()[-1] == "3 case(s): 1 fatal, 1 fixable, 1 warning, 0 harmless"
    # The gravest first; the table is as wide as the terminal, so words may be on several lines.
    severities = [
        line.split()[0] for line in result.out.splitlines() if line.startswith((" f", " w"))
    ]
    assert severities == ["fatal", "fixable", "warning"]


def test_training_names_the_same_and_the_command(attnseg, dataset):
    (dataset / "labels" / "c2.nii.gz").unlink()
    result = attnseg("train", dataset, "-o", "runs/toy")
    assert result.code == 1
    first, second = result.err.splitlines()[-2:]
    assert "1 problem(s) that stop training" in first
    assert "`attnseg check DATA --fix OUT` mends" in first
    assert second.startswith("c2: image c2.nii.gz has no label")


def test_a_corrected_copy_is_sound(attnseg, dataset, tmp_path):
    labels = read_labels(dataset / "labels" / "c1.nii.gz")
    slipped = Image(labels.array, Geometry(labels.geometry.shape, np.eye(4)))
    write_labels(
        dataset / "labels" / "c1.nii.gz", labels.array[0], like=slipped, dtype=np.dtype(np.uint8)
    )
    result = attnseg("check", dataset, "--fix", tmp_path / "out")
    assert (result.code, result.err) == (0, "")
    assert "1 fix(es), listed in fixes.json; 5 file(s) copied as they are" in result.out
    again = attnseg("check", tmp_path / "out")
    assert again.code == 0
    assert again.out.splitlines()[-1] == "3 case(s): 0 fatal, 0 fixable, 0 warning, 0 harmless"
    twice = attnseg("check", dataset, "--fix", tmp_path / "out")
    assert twice.code == 2
    assert "is there already; give a folder that is new or empty" in twice.err


def test_what_a_copy_cannot_mend_is_an_error(attnseg, dataset, tmp_path):
    (dataset / "images" / "c1.nii.gz").write_bytes(b"")
    result = attnseg("check", dataset, "--fix", tmp_path / "out")
    assert result.code == 1
    assert result.err == (
        f"attnseg: {dataset}: 1 problem(s) that --fix cannot mend; see the table above\n"
    )


def test_json_has_findings_and_facts(attnseg, dataset, tmp_path):
    image = read_image(dataset / "images" / "c1.nii.gz")
    image.array[0, 0, 0, 0] = np.nan
    write_image(dataset / "images" / "c1.nii.gz", image)
    (dataset / "images" / "c2.nii.gz").write_bytes(b"")
    assert attnseg("check", dataset, "--json", tmp_path / "check.json").code == 1
    content = json.loads((tmp_path / "check.json").read_text())
    assert content["version"] == 1
    assert content["versions"].keys() == {"python", "attnseg", "numpy", "nibabel"}
    assert content["counts"] == {"fatal": 1, "fixable": 1, "warning": 0, "harmless": 0}
    assert content["findings"][1] == {
        "case": "c1",
        "severity": "fixable",
        "problem": "channel 0 (image, c1.nii.gz) has 1 voxel(s) that are NaN or infinite",
        "remedy": "replace them, for example by the background's value",
        "mend": "fill",
    }
    first, _, unread = content["cases"]
    assert (first["name"], first["shape"], first["orientation"]) == ("c0", [18, 16, 10], "LPS")
    assert first["spacing_mm"] == [1.0, 1.0, 1.5]
    assert first["label_voxels"] == {"0": 18 * 16 * 10 - 8 * 8 * 6, "1": 8 * 8 * 6}
    assert first["label_volumes_ml"] == {"1": pytest.approx(8 * 8 * 6 * 1.5 / 1000)}
    assert first["label_centres_mm"] == {"1": [-7.5, -6.5, 6.75]}
    assert unread["intensity"] == []


def test_single_scans(attnseg, dataset, tmp_path):
    folder = dataset / "images"
    result = attnseg("check", folder, "--html", tmp_path / "page.html")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "3 scan(s), no data set: readability, geometry, copies",
        "3 case(s): 0 fatal, 0 fixable, 0 warning, 0 harmless",
    ]
    assert "None." in (tmp_path / "page.html").read_text()
    shutil.copy(folder / "c0.nii.gz", folder / "copy.nii.gz")
    (folder / "c1.nii.gz").write_bytes((folder / "c1.nii.gz").read_bytes()[:300])
    result = attnseg("check", folder / "c0.nii.gz", folder / "copy.nii.gz", folder / "c1.nii.gz")
    assert result.code == 1
    assert result.out.splitlines()[-1] == "3 case(s): 1 fatal, 0 fixable, 0 warning, 1 harmless"
    assert result.err.count("\n") == 1
    assert "1 of 3 scan(s) cannot be used as they are; see the table above" in result.err


def test_what_cannot_be_checked_together(attnseg, dataset, tmp_path):
    assert attnseg("check", dataset / "images", "--fix", tmp_path / "out").code == 2
    result = attnseg("check", dataset, dataset)
    assert result.code == 2
    assert "check one data set at a time" in result.err
    assert attnseg("check", tmp_path / "nothing").code == 1
    assert not (tmp_path / "out").exists()


def test_names_with_brackets_are_no_markup(attnseg, dataset):
    for folder in ("images", "labels"):
        (dataset / folder / "c0.nii.gz").rename(dataset / folder / "[red]c0[x].nii.gz")
    (dataset / "labels" / "[red]c0[x].nii.gz").unlink()
    assert "[red]c0[x]" in attnseg("check", dataset).out.replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLEAN)
def test_the_clean_sets(attnseg, real_data, tmp_path, name: str):
    cases, warnings = CLEAN[name]
    start = time.perf_counter()
    result = attnseg("check", real_data / name, "--html", tmp_path / "page.html")
    seconds = time.perf_counter() - start
    assert (result.code, result.err) == (0, "")
    last = f"{cases} case(s): 0 fatal, 0 fixable, {warnings} warning, 0 harmless"
    assert result.out.splitlines()[-1] == last
    if name == "hippocampus":
        assert seconds < 10  # 1.5 s where nothing else runs


@pytest.fixture
def planted(real_data, tmp_path) -> Path:
    """A copy of the hippocampus set with the three faults of `edge/dataset`."""
    source, faults, root = real_data / "hippocampus", real_data / "edge" / "dataset", tmp_path / "h"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        for file in (source / folder).glob("*.nii.gz"):
            shutil.copyfile(file, root / folder / file.name)
    shutil.copyfile(source / "dataset.json", root / "dataset.json")
    shutil.copyfile(faults / "image_without_label.nii.gz", root / "imagesTr" / "lone.nii.gz")
    # Each in the place of another case's own label.
    for name, label in (
        ("003", "label_duplicate_of_011.nii.gz"),
        ("004", "label_from_another_task.nii.gz"),
    ):
        shutil.copyfile(faults / label, root / "labelsTr" / f"hippocampus_{name}.nii.gz")
    return root


@pytest.mark.slow
def test_every_fault_planted_in_hippocampus_is_found(attnseg, planted, tmp_path):
    result = attnseg("check", planted, "--json", tmp_path / "check.json", "--fix", tmp_path / "out")
    assert result.code == 1
    found = json.loads((tmp_path / "check.json").read_text())["findings"]
    by_case = {each["case"]: (each["severity"], each["problem"]) for each in found}
    assert by_case["lone"] == ("fixable", "image lone.nii.gz has no label")
    assert by_case["hippocampus_004"][0] == "fatal"
    assert by_case["hippocampus_004"][1].startswith("label has shape (512, 512, 94), the image ")
    # The label of 011 on the grid of 003, whose shape is another.
    assert {"hippocampus_003", "hippocampus_011"} <= by_case.keys()
    copies = [each["problem"] for each in found if each["severity"] == "warning"]
    assert copies == ["its label is identical to that of hippocampus_003"]
    again = json.loads(_checked(attnseg, tmp_path / "out", tmp_path / "again.json"))
    assert Counter(each["severity"] for each in again["findings"])["fixable"] == 0
    assert "lone" not in {each["case"] for each in again["findings"]}


def _checked(attnseg, root: Path, json_file: Path) -> str:
    attnseg("check", root, "--json", json_file)
    return json_file.read_text()


def test_a_folder_of_several_series(attnseg, real_data, tmp_path):
    edge = real_data / "edge" / "dicom"
    alone = attnseg("check", edge / "hippocampus_series" / "11_HCropVolume")
    assert alone.out.splitlines()[-1] == "1 case(s): 0 fatal, 0 fixable, 0 warning, 0 harmless"
    shutil.copytree(edge / "hippocampus_series", tmp_path / "in" / "patient")
    for folder in (tmp_path / "in" / "patient").iterdir():
        for file in folder.iterdir():
            file.rename(folder.parent / f"{folder.name}_{file.name}")
    together = attnseg("check", tmp_path / "in", "--json", tmp_path / "check.json")
    assert together.code == 0
    (found,) = json.loads((tmp_path / "check.json").read_text())["findings"]
    assert (found["case"], found["severity"]) == ("patient", "harmless")
    assert found["problem"].startswith("3 series: ")
    assert found["remedy"].startswith("took the largest, MR, 40 images, HippoCrop: --series")
    chosen = attnseg("check", tmp_path / "in", "--series", "2", "--json", tmp_path / "check.json")
    assert chosen.code == 0
    (case,) = json.loads((tmp_path / "check.json").read_text())["cases"]
    assert 35 in case["shape"]
