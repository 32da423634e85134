"""Channels of one value are trained on and predicted; a scan that cannot be costs its own score."""

import json
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from boxes import make_config
from PIL import Image as Picture

from attnseg.check import check
from attnseg.datasets import make_splits
from attnseg.errors import DataError
from attnseg.images import read_case
from attnseg.inference import Predictor, find_scans, predict_cohort
from attnseg.models import load_model
from attnseg.report import report
from attnseg.training import plan_dataset, train
from attnseg.training.run import Run

QUICK = {"training__epochs": 1, "training__steps_per_epoch": 2, "training__validation_cases": 6}


@pytest.fixture
def two_channels(toy) -> Path:
    """The toy data in the layout of nnU-Net with T1 and T2; case3 has no T2."""
    root = toy.parent / "two"
    for number in range(6):
        scan = nib.load(toy / "images" / f"case{number}.nii.gz")
        voxels = np.asarray(scan.dataobj)
        t2 = np.zeros_like(voxels) if number == 3 else 200 - voxels
        mask = (toy / "labels" / f"case{number}.nii.gz").read_bytes()
        for folder in ("imagesTr", "labelsTr"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for channel, array in enumerate((voxels, t2)):
            image = nib.Nifti1Image(array, scan.affine)
            nib.save(image, root / "imagesTr" / f"case{number}_000{channel}.nii.gz")
        (root / "labelsTr" / f"case{number}.nii.gz").write_bytes(mask)
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "a": 1, "b": 7},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.mark.slow
def test_a_channel_that_was_not_acquired(two_channels, tmp_path, capsys):
    blank = "channel 1 (T2, case3_0001.nii.gz) is 0 everywhere"
    (warned,) = check([two_channels]).findings
    assert (warned.case, warned.severity, warned.problem) == ("case3", "warning", blank)
    config = make_config(two_channels, **QUICK)
    plan_dataset(config, tmp_path / "plan.json", measure=False)
    assert f"warning: case3: {blank}" in capsys.readouterr().err

    # Once it is trained on, once it is held out; the runs differ in nothing but that.
    names = [f"case{number}" for number in range(6)]
    splits = make_splits(names, num_folds=3)
    held_out = next(fold for fold, cases in enumerate(splits) if "case3" in cases)
    for fold in (held_out, (held_out + 1) % 3):
        scores = train(config, tmp_path / "run", fold=str(fold))
        assert f"warning: case3: {blank}" in capsys.readouterr().err
        assert not scores.failed
        assert [case.name for case in scores.cases] == splits[fold]

    scans = find_scans([two_channels / "imagesTr"], num_channels=2)
    model = Run(tmp_path / "run", str(held_out)).model
    predictor = Predictor.load([model], device="cpu", backend="torch")
    outcomes = predict_cohort(scans, predictor, tmp_path / "masks", model_id="m")
    assert [outcome.state for outcome in outcomes] == ["done"] * 6
    lines = (tmp_path / "masks" / "manifest.jsonl").read_text().splitlines()
    told = {line["name"]: line["warnings"] for line in map(json.loads, lines)}
    assert told.pop("case3") == [f"{blank}: nothing can be seen in it"]
    assert not any(told.values())


def test_the_file_of_the_channel_at_fault_is_named(two_channels, tmp_path):
    path = two_channels / "imagesTr" / "case2_0001.nii.gz"
    voxels = np.asarray(nib.load(path).dataobj).copy()
    voxels[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(voxels, nib.load(path).affine), path)
    pair = (two_channels / "imagesTr" / "case2_0000.nii.gz", path)
    image = read_case(pair, num_channels=2)
    assert [image.source_of(channel) for channel in range(2)] == list(map(str, pair))
    predictor = Predictor(*load_tiny(two_channels, tmp_path), device="cpu", backend="torch")
    with pytest.raises(DataError, match=r"case2_0001\.nii\.gz: 1 of 4320 voxels are NaN"):
        predictor.predict(image)


def load_tiny(root: Path, tmp_path: Path):
    """The network and spec of a run of two steps without held-out cases."""
    for path in sorted(root.rglob("case[2-5]*")):
        path.rename(tmp_path / path.name)
    train(make_config(root, **QUICK), tmp_path / "tiny", fold="none")
    return load_model(Run(tmp_path / "tiny", "none").model)


def test_blank_tiles(tmp_path, capsys):
    """Pictures of nothing with empty masks, as they lie among those of slides and cameras."""
    generator = np.random.default_rng(0)
    for number in range(6):
        mask = np.zeros((24, 20), np.uint8)
        tile = np.full((24, 20), 255, np.uint8)
        if number not in (1, 4):
            mask[4 + number : 12 + number, 5:14] = 1
            tile = (60 + 120 * mask + generator.integers(0, 20, mask.shape)).astype(np.uint8)
        for folder, array in (("images", tile), ("labels", mask)):
            (tmp_path / "tiles" / folder).mkdir(parents=True, exist_ok=True)
            Picture.fromarray(array).save(tmp_path / "tiles" / folder / f"t{number}.png")
    warned = [each for each in check([tmp_path / "tiles"]).findings if each.severity == "warning"]
    assert [(each.case, each.problem) for each in warned] == [
        ("t1", "channel 0 (image, t1.png) is 255 everywhere"),
        ("t4", "channel 0 (image, t4.png) is 255 everywhere"),
    ]
    config = make_config(
        tmp_path / "tiles", **QUICK, data__layout="paired", model__patch=[16, 16, 1]
    )
    splits = make_splits([f"t{number}" for number in range(6)], num_folds=3)
    held_out = next(fold for fold, cases in enumerate(splits) if "t1" in cases)
    scores = train(config, tmp_path / "run", fold=str(held_out))
    assert not scores.failed
    assert [case.name for case in scores.cases] == splits[held_out]
    assert "t4" not in splits[held_out], "which is trained on"
    run = Run(tmp_path / "run", str(held_out))
    (line,) = map(json.loads, run.metrics.read_text().splitlines())
    assert np.isfinite(line["loss"])
    assert "t1 " in run.summary.read_text()


def break_when_training(monkeypatch, change) -> None:
    """Files change once the cases are cached and the steps begin."""
    train_module = import_module("attnseg.training.train")
    make_loader = train_module.make_loader

    def loader(*args, **settings):
        change()
        return make_loader(*args, **settings)

    monkeypatch.setattr(train_module, "make_loader", loader)


def test_a_held_out_scan_that_cannot_be_read_is_a_missing_score(toy, tmp_path, monkeypatch, capsys):
    image = toy / "images" / "case2.nii.gz"  # held out by fold 0, beside case0
    whole = image.read_bytes()
    break_when_training(monkeypatch, lambda: image.write_bytes(whole[:200]))
    config = make_config(toy, **QUICK)
    scores = train(config, tmp_path / "run")
    run = Run(tmp_path / "run", "0")
    assert run.model.exists()
    assert [case.name for case in scores.cases] == ["case0"]
    assert set(scores.failed) == {"case2"}
    assert "case2.nii.gz" in scores.failed["case2"]
    told = capsys.readouterr().err
    assert "warning: validation: case2 has no score: " in told
    assert "failed: case2: " in told
    assert "failed: case2: " in " ".join(run.summary.read_text().split())
    folders = f"{image.parent}/"
    assert scores.failed["case2"].startswith(f"{folders}case2.nii.gz: ")
    short = {name: why.removeprefix(folders) for name, why in scores.failed.items()}
    assert json.loads(run.validation.read_text())["failed"] == short
    for path in (run.metrics, run.summary, *run.fold_folder.glob("tensorboard/*")):
        assert str(tmp_path).encode() not in path.read_bytes(), path
    (line,) = map(json.loads, run.metrics.read_text().splitlines())
    assert set(line["failed"]) == {"case2"}
    assert line["dice"] == pytest.approx(scores.mean_dice, abs=1e-4), "that of the other scan"
    report(run.folder, output=tmp_path / "report.html")
    assert "case2: " in (tmp_path / "report.html").read_text()

    # The next fold would train on it: that is refused until it can be read again.
    monkeypatch.undo()
    with pytest.raises(DataError, match="case2"):
        train(config, run.folder, fold="all", resume=True)
    image.write_bytes(whole)
    together = train(config, run.folder, fold="all", resume=True)
    assert set(together.failed) == {"case2"}
    assert len(together.cases) == 5


def test_a_run_ends_whole_where_no_held_out_scan_has_a_score(toy, tmp_path, monkeypatch):
    """A mask of another shape and a scan that is not finite, neither of which was so before."""

    def change():
        mask = toy / "labels" / "case0.nii.gz"
        file = nib.load(mask)
        nib.save(nib.Nifti1Image(np.asarray(file.dataobj)[:-1], file.affine), mask)
        image = toy / "images" / "case2.nii.gz"
        file = nib.load(image)
        nib.save(nib.Nifti1Image(np.asarray(file.dataobj) * np.nan, file.affine), image)

    break_when_training(monkeypatch, change)
    scores = train(make_config(toy, **QUICK), tmp_path / "run")
    run = Run(tmp_path / "run", "0")
    assert run.model.exists()
    assert scores.cases == ()
    assert "case0.nii.gz has (19, 18, 12)" in scores.failed["case0"]
    assert "NaN or infinite" in scores.failed["case2"]
    (line,) = map(json.loads, run.metrics.read_text().splitlines())
    assert set(line["failed"]) == {"case0", "case2"}
    assert "dice" not in line
    assert not run.best.exists()
    with pytest.raises(DataError, match="2 problem"):
        train(make_config(toy, **QUICK), run.folder, fold="1")
