"""The commands of the README on real scans, short: what comes out must lie where it belongs."""

import shutil
import sys

import nibabel as nib
import numpy as np
import pytest

from attnseg.cli.app import main

SMALL = ["training.epochs=1", "training.steps_per_epoch=2", "data.num_folds=4",
         "model.base_channels=4"]  # fmt: skip


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["attnseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code


def copy_cases(source, target, *, folders, count):
    """The first cases of a data set, as symbolic links."""
    for folder in folders:
        (target / folder).mkdir(parents=True)
        for file in sorted((source / folder).glob("*.nii.gz"))[:count]:
            (target / folder / file.name).symlink_to(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folders", "count", "settings"),
    [
        # Watching a case while training and predicting it once more at the end is the same here.
        ("head_neck_ct", ("imagesTr", "labelsTr"), 4, ["training.validation_cases=0"]),
        (
            "ventricle",
            ("images", "labels"),
            8,
            ["training.validation_cases=1", r"data.patient_pattern=(.*)_ph\d+"],
        ),
    ],
    ids=["head_neck_ct", "ventricle"],
)
def test_train_predict_evaluate(real_data, tmp_path, monkeypatch, name, folders, count, settings):
    monkeypatch.chdir(tmp_path)
    copy_cases(real_data / name, tmp_path / "data", folders=folders, count=count)
    if (real_data / name / "dataset.json").exists():
        shutil.copy(real_data / name / "dataset.json", tmp_path / "data")
    options = [f"--set={setting}" for setting in (*SMALL, *settings)]
    run(monkeypatch, "train", "data", "-o", "runs/short", *options)
    run(monkeypatch, "predict", f"data/{folders[0]}")
    masks = sorted((tmp_path / "predictions").glob("*.nii.gz"))
    assert len(masks) == count
    for mask in masks:
        written = nib.load(mask)
        (scan,) = (tmp_path / "data" / folders[0]).glob(mask.name.removesuffix(".nii.gz") + "*")
        source = nib.load(scan)
        assert written.shape == source.shape
        assert written.affine.tobytes() == source.affine.tobytes()
        assert written.get_data_dtype() == np.uint8
        for field in ("qform_code", "sform_code", "xyzt_units"):
            assert written.header[field] == source.header[field]
    run(monkeypatch, "evaluate", "predictions", f"data/{folders[1]}", "--json", "scores.json")
