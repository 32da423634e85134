"""Tables and patterns on the command line: what is planned, trained and predicted from them."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def table(dataset) -> Path:
    rows = [f"c{n},p{n // 2},images/c{n}.nii.gz,labels/c{n}.nii.gz" for n in range(3)]
    path = dataset / "cases.csv"
    path.write_text("\n".join(["case,patient,CT,label", *rows]))
    return path


@pytest.mark.slow
def test_a_plan_tells_what_a_table_and_patterns_matched(attnseg, table, dataset):
    told = attnseg("plan", table, "--no-probe", "--set", "model.patch=[16,16,8]")
    assert told.code == 0, told.err
    assert f"{table}: table of files layout\ncases: 3\nchannels: 1 (CT)" in told.err
    assert "patients: 2, each in one fold" in told.err
    assert "first case: c0 (images/c0.nii.gz, labels/c0.nii.gz)" in told.err
    images = ["--set", "data.images=['images/{case}.nii.gz']"]
    chosen = [*images, "--set", "data.labels=labels/{case}.nii.gz"]
    told = attnseg("plan", dataset, "--no-probe", "--set", "model.patch=[16,16,8]", *chosen)
    assert told.code == 0, told.err
    assert f"{dataset}: file name pattern layout\ncases: 3\n" in told.err
    failed = attnseg(
        "plan", dataset, "--no-probe", *images, "--set=data.labels='{case}_seg.nii.gz'"
    )
    assert failed.code == 1
    assert "c0: no file c0_seg.nii.gz" in failed.err


@pytest.mark.slow
def test_a_table_is_trained_and_predicted(attnseg, table, dataset, small):
    setting = [each for each in small if "num_folds" not in each]
    run = attnseg("train", table, "-o", "runs/x", "--set", "data.num_folds=2", *setting)
    assert run.code == 0, run.err
    folds = json.loads(Path("runs/x/splits.json").read_text())["folds"]
    assert sorted(fold["validation"] for fold in folds) == [["c0", "c1"], ["c2"]]
    predicted = attnseg("predict", table, "-m", "runs/x", "-o", "out")
    assert predicted.code == 0, predicted.err
    assert sorted(path.name for path in Path("out").glob("*.nii.gz")) == [
        "c0.nii.gz",
        "c1.nii.gz",
        "c2.nii.gz",
    ]
    # Whatever column is called CT is the scan, here that of the masks.
    table.write_text(table.read_text().replace("CT,label", "T1,CT"))
    kept = "--save-probabilities"
    predicted = attnseg("predict", table, "-m", "runs/x", "-o", "by_table", kept)
    assert predicted.code == 0, predicted.err
    for folder, same in (("labels", True), ("images", False)):
        assert attnseg("predict", dataset / folder, "-m", "runs/x", "-o", folder, kept).code == 0
        for case in ("c0", "c1", "c2"):
            one, other = (
                nib.load(f"{place}/{case}_probabilities.nii.gz").get_fdata()
                for place in ("by_table", folder)
            )
            assert np.array_equal(one, other) == same
