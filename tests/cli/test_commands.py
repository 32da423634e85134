"""Commands that succeed, and what they leave and print."""

import json

import nibabel as nib
import numpy as np


def test_help_and_version(attnseg):
    result = attnseg("--help")
    assert result.code == 0
    for command in ("train", "predict", "evaluate", "demo", "model"):
        assert command in result.out
    assert attnseg("--version").out.startswith("attnseg ")


def test_train_predict_evaluate(attnseg, dataset, model, tmp_path):
    """`attnseg predict scans/` with no other flag, after a training."""
    result = attnseg("predict", dataset / "images")
    assert result.code == 0
    assert "runs/toy/fold0/model.safetensors" in result.err, "the model taken is named"
    for scan in (dataset / "images").iterdir():
        source, mask = nib.load(scan), nib.load(tmp_path / "predictions" / scan.name)
        assert mask.shape == source.shape
        assert mask.affine.tobytes() == source.affine.tobytes()
        assert mask.get_data_dtype() == np.uint8

    files = ("--json", "scores.json", "--csv", "scores.csv")
    result = attnseg("evaluate", "predictions", dataset / "labels", *files, "--tolerance-mm", "2")
    assert result.code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores["cases"]) == 3
    assert scores["tolerance_mm"] == 2
    assert all(name in result.out for name in ("NSD at 2 mm", "HD95", "ASSD"))
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(len(case["labels"]) for case in scores["cases"])
    prediction = nib.load(tmp_path / "predictions" / "c0.nii.gz").get_fdata() > 0
    reference = nib.load(dataset / "labels" / "c0.nii.gz").get_fdata() > 0
    expected = 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())
    found = next(case for case in scores["cases"] if case["name"] == "c0")
    assert abs(found["labels"]["1"]["dice"] - expected) < 1e-12


def test_saved_probabilities_are_scored(attnseg, dataset, model, tmp_path):
    scans = dataset / "images"
    assert attnseg("predict", scans, "-m", model, "-o", "sure", "--save-probabilities").code == 0
    result = attnseg("evaluate", "sure", dataset / "labels", "--json", "scores.json")
    assert result.code == 0
    assert "calibration of 3 case(s): ECE" in result.out
    found = json.loads((tmp_path / "scores.json").read_text())["calibration"]
    volumes = nib.load(tmp_path / "sure" / "c0_probabilities.nii.gz").get_fdata()
    reference = nib.load(dataset / "labels" / "c0.nii.gz").get_fdata()
    true = np.stack([reference == value for value in range(volumes.shape[-1])], axis=-1)
    brier = ((volumes - true) ** 2).sum(axis=-1).mean()
    assert abs(found["cases"]["c0"]["brier"] - brier) < 1e-6


def test_the_run_folder_can_stand_for_the_model(attnseg, dataset, model):
    assert attnseg("predict", dataset / "images" / "c0.nii.gz", "-m", "runs/toy").code == 0
    assert attnseg("predict", dataset / "images" / "c1.nii.gz", "-m", model).code == 0


def test_model_show_and_verify(attnseg, model):
    shown = attnseg("model", "show", model)
    assert shown.code == 0
    assert json.loads(shown.out)["labels"][1] == {"value": 1, "name": "label 1"}
    verified = attnseg("model", "verify", model)
    assert verified.code == 0
    assert verified.out.count("ok  ") == 4


def test_attnseg_yaml_of_the_folder_is_read(attnseg, dataset, tmp_path, small):
    (tmp_path / "attnseg.yaml").write_text(f"data: {{root: {dataset}}}\nmodel: {{gate: none}}\n")
    assert attnseg("train", "-o", "runs/x", *small).code == 0
    shown = json.loads(attnseg("model", "show", "runs/x/fold0/model.safetensors").out)
    assert shown["architecture"]["gate"] == "none"


def test_resume_lengthens_a_finished_run(attnseg, model, tmp_path):
    result = attnseg("train", "-o", "runs/toy", "--resume", "--epochs", 2)
    assert result.code == 0, result.err
    assert json.loads(attnseg("model", "show", model).out)["provenance"]["steps"] == 4


def test_some_scans_failing_gives_exit_3_and_the_other_masks(attnseg, dataset, model, tmp_path):
    scan = dataset / "images" / "c1.nii.gz"
    scan.write_bytes(scan.read_bytes()[:400])
    result = attnseg("predict", dataset / "images")
    assert result.code == 3
    assert "cut short" in result.err
    masks = sorted(path.name for path in (tmp_path / "predictions").glob("*.nii.gz"))
    assert masks == ["c0.nii.gz", "c2.nii.gz"]
