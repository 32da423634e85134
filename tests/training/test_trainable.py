"""What can be trained on is decided before every training, by the same rules as `attnseg check`."""

import json
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from boxes import make_config

from attnseg.check import check as check_command
from attnseg.config import Config
from attnseg.datasets import facts as facts_module
from attnseg.datasets import find_dataset, inspect_dataset
from attnseg.errors import ConfigError, DataError
from attnseg.locks import FolderLock
from attnseg.training import plan_dataset, train
from attnseg.training.cache import cache_cases
from attnseg.training.console import Display
from attnseg.training.prepare import check_again, prepare
from attnseg.training.prepared import Prepared
from attnseg.training.run import Run

QUICK = {"data__num_folds": 3, "training__validation_cases": 0}


@pytest.fixture
def config(toy) -> Config:
    return make_config(toy, **QUICK)


@pytest.fixture
def run(config, tmp_path) -> Run:
    """A run whose fold 0 was begun."""
    prepare_fold(config, tmp_path / "run")
    return Run(tmp_path / "run", "0")


def prepare_fold(
    config: Config, folder: Path, fold: str = "0", *, resume: bool = False
) -> Prepared:
    """All that is decided and written before the first step of a training."""
    with FolderLock(folder, command="attnseg test") as lock:
        return prepare(
            config,
            folder,
            fold,
            resume=resume,
            overwrite=False,
            device=torch.device("cpu"),
            display=Display(),
            lock=lock,
        )


def rewrite(path: Path, *, array=None, affine=None) -> None:
    """The same file with other voxels or another place."""
    file = nib.load(path)
    voxels = np.asarray(file.dataobj) if array is None else array
    place = file.affine if affine is None else affine
    nib.save(nib.Nifti1Image(voxels, place), path)


def shorter(path: Path) -> None:
    rewrite(path, array=np.asarray(nib.load(path).dataobj)[..., :-2])


def left_posterior(path: Path) -> None:
    rewrite(path, affine=np.diag([-1.0, -1, 1, 1]) @ nib.load(path).affine)


def moved(path: Path) -> None:
    affine = nib.load(path).affine.copy()
    affine[2, 3] += 200
    rewrite(path, affine=affine)


def other_label(path: Path) -> None:
    voxels = np.asarray(nib.load(path).dataobj).copy()
    voxels[0, 0, 0] = 9
    rewrite(path, array=voxels)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


CHANGES = {
    shorter: r"case3: label has shape \(20, 18, 10\), the image \(20, 18, 12\)",
    left_posterior: "case3: label lies up to .* mm off the image",
    moved: "case3: label lies up to 200 mm off the image .*, and in another place",
    other_label: r"case3: label value\(s\) 9 occur in this case only",
    cut_short: r"case3: .*case3\.nii\.gz",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("resume", [False, True], ids=["further fold", "resume"])
def test_masks_that_changed_since_the_first_fold_are_refused(config, run, toy, change, resume):
    before = sorted(run.folder.rglob("*"))
    change(toy / "labels" / "case3.nii.gz")
    with pytest.raises(DataError, match=CHANGES[change]):
        prepare_fold(config, run.folder, "0" if resume else "1", resume=resume)
    assert sorted(run.folder.rglob("*")) == before, "nothing is written"


def test_an_image_that_changed_is_refused_as_its_mask_is(config, run, toy):
    shorter(toy / "images" / "case3.nii.gz")
    with pytest.raises(DataError, match=r"case3: label has shape .*, the image \(20, 18, 10\)"):
        prepare_fold(config, run.folder, "none")
    voxels = np.asarray(nib.load(toy / "images" / "case0.nii.gz").dataobj)
    rewrite(toy / "images" / "case3.nii.gz", array=np.full_like(voxels, np.nan))
    told = r"case3: channel 0 \(image, case3\.nii\.gz\) has 4320 voxel"
    with pytest.raises(DataError, match=told):
        prepare_fold(config, run.folder, "2")


def test_only_files_that_are_new_or_changed_are_opened_again(config, run, toy, monkeypatch):
    opened = []
    inspect = facts_module.inspect_case
    monkeypatch.setattr(
        facts_module,
        "inspect_case",
        lambda case, **settings: opened.append(case.name) or inspect(case, **settings),
    )
    prepare_fold(config, run.folder, "1")
    assert opened == []
    mask = toy / "labels" / "case2.nii.gz"
    voxels = np.asarray(nib.load(mask).dataobj).copy()
    voxels[voxels == 7] = 0  # a correction, and a sound one
    rewrite(mask, array=voxels)
    prepare_fold(config, run.folder, "2")
    assert opened == ["case2"]
    prepare_fold(config, run.folder, "2", resume=True)
    assert opened == ["case2"], "what is found is kept"
    (toy / "images" / "case4.nii.gz").touch()
    os.utime(toy / "images" / "case4.nii.gz", ns=(1, 1))
    prepare_fold(config, run.folder, "2", resume=True)
    assert opened == ["case2", "case4"]


def test_what_was_found_comes_back_as_it_was(config, run, toy, monkeypatch):
    """So that the rules across cases see the same cases, opened again or not."""
    dataset = find_dataset(toy)
    fresh = inspect_dataset(dataset)
    kept = {}
    plain = facts_module.inspect_dataset
    monkeypatch.setattr(
        "attnseg.training.prepare.inspect_dataset",
        lambda data, known, **more: kept.update(known) or plain(data, known=known, **more),
    )
    prepare_fold(config, run.folder, "1")
    assert list(kept) == [case.name for case in fresh]
    for case in fresh:
        none = case.foreground_sample  # serves planning alone, which is over
        assert vars(replace(kept[case.name], foreground_sample=none)) == vars(case)


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"version": 1}', "gone"])
def test_a_damaged_memory_means_that_all_is_opened_again(config, run, toy, damage):
    run.checked.write_text(damage) if damage != "gone" else run.checked.unlink()
    prepare_fold(config, run.folder, "1")
    assert len(json.loads(run.checked.read_text())["cases"]) == 6
    moved(toy / "labels" / "case3.nii.gz")
    run.checked.unlink()
    with pytest.raises(DataError, match="case3: label lies up to 200 mm off"):
        prepare_fold(config, run.folder, "2")


def test_masks_that_change_while_folds_are_trained_are_refused(config, run, toy, capsys):
    """As `--fold all` asks before each fold; of what is unchanged nothing is said twice."""
    prepared = prepare_fold(config, run.folder, "1")
    capsys.readouterr()
    check_again(config, run, prepared, Display(), begun=True)
    assert capsys.readouterr().err == ""
    shorter(toy / "labels" / "case5.nii.gz")
    with pytest.raises(DataError, match="case5: label has shape"):
        check_again(config, run, prepared, Display(), begun=True)


def test_cases_that_came_later_are_left_out_and_told(config, run, toy, capsys):
    for part in ("images", "labels"):
        source = (toy / part / "case0.nii.gz").read_bytes()
        (toy / part / "new.nii.gz").write_bytes(source)
    (toy / "images" / "lone.nii.gz").write_bytes(b"")  # its mask is still to be drawn
    before = run.splits.read_text()
    prepared = prepare_fold(config, run.folder, "none")
    assert [case.name for case in prepared.cases("none")[0]] == [f"case{n}" for n in range(6)]
    assert run.splits.read_text() == before
    told = capsys.readouterr().err
    assert "2 case(s) came after the folds of this run were made (lone, new)" in told
    assert "a new run, with -o, takes them" in told


def test_cases_that_are_gone_are_named(config, run, toy):
    for part in ("images", "labels"):
        (toy / part / "case2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 case\(s\) of this run are no longer there \(case2\)"):
        prepare_fold(config, run.folder, "0", resume=True)


def test_labels_that_the_plan_does_not_know_are_refused(config, run, toy):
    for number in range(2):
        other_label(toy / "labels" / f"case{number}.nii.gz")
    with pytest.raises(ConfigError, match=r"plan\.json: its labels are"):
        prepare_fold(config, run.folder, "1")


def test_a_case_whose_mask_lies_elsewhere_is_never_cached(config, run, toy, tmp_path):
    spec = prepare_fold(config, run.folder, "1").plan.spec
    dataset = find_dataset(toy)
    for change in (shorter, moved, left_posterior):
        mask = toy / "labels" / "case3.nii.gz"
        former = mask.read_bytes()
        change(mask)
        with pytest.raises(DataError, match=r"labels/case3\.nii\.gz: label ") as caught:
            cache_cases(dataset.cases[3:4], spec, tmp_path / "cache")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache").glob("*"))
        mask.write_bytes(former)
    cache_cases(dataset.cases[3:4], spec, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*"))) == 3


def few(toy: Path, number: int) -> Config:
    """The toy data with so many cases, and as many folds as are usual."""
    for path in toy.rglob("case*.nii.gz"):
        if int(path.name[4]) >= number:
            path.unlink()
    return make_config(toy, **QUICK | {"data__num_folds": 5})


@pytest.mark.parametrize("number", [2, 3, 4])
def test_two_to_four_cases_are_held_out_one_by_one(toy, tmp_path, capsys, number):
    config = few(toy, number)
    check_command([toy])
    lines = plan_dataset(config, tmp_path / "plan.json", measure=False)
    assert "--fold" not in lines[-1]
    prepared = prepare_fold(config, tmp_path / "run", "all")
    assert f"folds: {number} and not 5" in capsys.readouterr().err
    assert sorted(map(len, prepared.splits)) == [1] * number
    for fold in range(number):
        training, held_out = prepared.cases(str(fold))
        assert (len(training), len(held_out)) == (number - 1, 1)
    with pytest.raises(
        ConfigError, match=f"fold 4 does not exist; choose one of 0 to {number - 1}"
    ):
        prepare_fold(config, tmp_path / "other", "4")
    assert len(prepare_fold(config, tmp_path / "none", "none").cases("none")[0]) == number


def test_a_single_case_is_trained_on_without_a_score(toy, tmp_path, capsys):
    config = few(toy, 1)
    found = check_command([toy])
    assert [each.severity for each in found.findings] == ["warning"]
    assert "none can be held out" in found.findings[0].problem
    assert plan_dataset(config, tmp_path / "p.json", measure=False)[-1].endswith("--fold none")
    for fold in ("0", "all"):
        with pytest.raises(DataError, match="none is left to train on; train with --fold none"):
            prepare_fold(config, tmp_path / "run", fold)
    assert not (tmp_path / "run").exists()
    prepared = prepare_fold(config, tmp_path / "run", "none")
    assert [case.name for case in prepared.cases("none")[0]] == ["case0"]


def test_files_that_make_no_case_at_all_are_told_one_by_one(toy, tmp_path):
    """Before there is anything that folds could be made of."""
    (toy / "images").rename(toy / "imagesTr")  # without numbers of channels in their names
    (toy / "labels").rename(toy / "labelsTr")
    content = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "a": 1}}
    (toy / "dataset.json").write_text(json.dumps(content | {"file_ending": ".nii.gz"}))
    config = make_config(toy, **QUICK, data__layout="nnunet")
    for ask in (
        lambda: prepare_fold(config, tmp_path / "run"),
        lambda: plan_dataset(config, tmp_path / "p.json", measure=False),
    ):
        with pytest.raises(DataError) as caught:
            ask()
        assert "case5: image file case5.nii.gz does not end in a channel" in str(caught.value)
        assert "cannot fill" not in str(caught.value)


def test_scans_of_one_patient_are_trained_on_without_a_score(toy, tmp_path):
    config = make_config(toy, **QUICK, data__patient_pattern="(case)")
    with pytest.raises(DataError, match=r"6 case.s. of one patient, and fold 0 holds them out"):
        prepare_fold(config, tmp_path / "run")
    assert len(prepare_fold(config, tmp_path / "run", "none").cases("none")[0]) == 6


def test_a_label_that_a_fold_never_sees_is_told_of(toy, tmp_path, capsys):
    (toy / "dataset.json").write_text(json.dumps({"labels": {"box": 1, "rare": 7}}))
    for number in (0, 1, 2, 4, 5):
        mask = toy / "labels" / f"case{number}.nii.gz"
        voxels = np.asarray(nib.load(mask).dataobj).copy()
        voxels[voxels == 7] = 0
        rewrite(mask, array=voxels)
    config = make_config(toy, **QUICK)
    prepared = prepare_fold(config, tmp_path / "run")
    fold = next(number for number, names in enumerate(prepared.splits) if "case3" in names)
    sentence = (
        f"fold {fold} of 3 holds out every case that has the label 7 (rare) in case3: its model "
        "never sees it"
    )
    assert f"warning: dataset: {sentence}" in capsys.readouterr().err
    plan_dataset(config, tmp_path / "plan.json", measure=False)
    assert sentence in capsys.readouterr().err
    (warned,) = [each for each in check_command([toy]).findings if each.severity == "warning"]
    assert "7 (rare) in case3: its model never sees it" in warned.problem


@pytest.mark.slow
def test_all_folds_stop_before_the_one_whose_masks_have_changed(toy, tmp_path, monkeypatch):
    """Hours after the first fold began: what it has trained is kept, nothing else is started."""
    train_module = import_module("attnseg.training.train")
    make_loader = train_module.make_loader

    def loader(*args, **settings):
        moved(toy / "labels" / "case3.nii.gz")
        return make_loader(*args, **settings)

    monkeypatch.setattr(train_module, "make_loader", loader)
    config = make_config(toy, **QUICK, training__epochs=1, training__steps_per_epoch=1)
    with pytest.raises(DataError, match="case3: label lies up to 200 mm off"):
        train(config, tmp_path / "run", fold="all")
    assert Run(tmp_path / "run", "0").model.exists()
    assert not Run(tmp_path / "run", "1").metrics.exists()


@pytest.mark.slow
def test_two_cases_are_trained_on_from_end_to_end(toy, tmp_path):
    few(toy, 2)
    settings = {"training__epochs": 1, "training__steps_per_epoch": 1}
    config = make_config(toy, **QUICK | settings | {"data__num_folds": 5})
    scores = train(config, tmp_path / "run", fold="all")
    assert [case.name for case in scores.cases] == ["case0", "case1"]
    train(config, tmp_path / "none", fold="none")
    assert Run(tmp_path / "none", "none").model.exists()
