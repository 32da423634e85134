"""Whole runs on a toy data set: folder, learning, resuming, stopping."""

import json
import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import pytest
import torch

from attnseg.errors import ConfigError, DataError, RunError, UsageError
from attnseg.inference import Predictor
from attnseg.models import load_model
from attnseg.training import Run, loop, resumed_config, train


def weights(run):
    return load_model(run / "fold0" / "model.safetensors")[0].state_dict()


def same(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_a_run_leaves_what_it_promises(small_config, tmp_path):
    run = tmp_path / "run"
    scores = train(small_config(), run)
    assert {path.name for path in run.iterdir()} == {
        "cache", "checked.json", "config.yaml", "fold0", "plan.json", "splits.json"
    }  # fmt: skip
    assert {path.name for path in (run / "fold0").iterdir()} == {
        "best.safetensors", "cases.json", "last.ckpt", "metrics.jsonl", "model.safetensors",
        "summary.txt", "tensorboard", "validation", "validation.json",
    }  # fmt: skip
    lines = [
        json.loads(line) for line in (run / "fold0" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 3), (2, 6)]
    assert all(
        {"loss", "dice", "learning_rate", "samples_per_second"} <= set(line) for line in lines
    )
    held_out = json.loads((run / "splits.json").read_text())["folds"][0]["validation"]
    assert [case.name for case in scores.cases] == held_out
    assert json.loads((run / "fold0" / "validation.json").read_text()) == (
        scores.to_json(run / "fold0")
    )
    spec = load_model(run / "fold0" / "model.safetensors")[1]
    assert spec.label_values == (0, 1, 7)
    assert spec.provenance["steps"] == 6
    events = list((run / "fold0" / "tensorboard").iterdir())
    content = b"".join(file.read_bytes() for file in events)
    for tag in (b"loss", b"learning_rate", b"gradient_norm", b"samples_per_second"):
        assert tag in content
    assert b"validation" in content, "the image panel"
    assert b"hparams" in content
    text = (run / "fold0" / "summary.txt").read_text()
    assert "6 steps" in text
    assert f"{scores.mean_dice:.4f}" in text


@pytest.mark.slow
def test_it_learns_the_boxes(learned):
    run, scores = learned
    assert scores.mean_dice > 0.95
    # Users get the very same masks from the model file.
    case = scores.cases[0]
    scan = str(case.reference).replace("labels", "images")
    predicted = Predictor.load(run / "fold0" / "model.safetensors").predict(scan)
    assert (nib.load(case.prediction).get_fdata() == predicted.labels).all()


@pytest.mark.slow
def test_a_resumed_run_equals_an_unbroken_one(small_config, tmp_path, monkeypatch):
    train(small_config(training__epochs=3), tmp_path / "unbroken")

    # The same run, thrown out of its second epoch by an error, then continued.
    run = Run(tmp_path / "broken", "0")
    plain, calls = loop.update_average, []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            raise OSError("power cut")
        return plain(*args, **kwargs)

    monkeypatch.setattr(loop, "update_average", failing)
    with pytest.raises(OSError, match="power cut"):
        train(small_config(training__epochs=3), run.folder)
    monkeypatch.undo()
    assert run.checkpoint.exists()
    assert not run.model.exists()
    config = resumed_config(run.folder, epochs=None, max_minutes=None)
    assert config == small_config(training__epochs=3)
    train(config, run.folder, resume=True)
    assert same(weights(tmp_path / "unbroken"), weights(run.folder))


@pytest.mark.slow
def test_the_seed_decides(small_config, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(small_config(training__seed=seed, training__epochs=1), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.slow
def test_existing_runs_are_safe(small_config, tmp_path):
    config, run = small_config(training__epochs=1), tmp_path / "run"
    assert resumed_config(run, epochs=None, max_minutes=None) is None, "nothing there yet"
    train(config, run, resume=True)
    before = (run / "fold0" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match=r"--resume.*--overwrite"):
        train(config, run)
    assert train(config, run, resume=True) is None, "finished: left as it is"
    assert (run / "fold0" / "model.safetensors").read_bytes() == before
    with pytest.raises(RunError, match="fold0 was trained with another configuration"):
        train(small_config(training__epochs=1, training__seed=9), run, fold="1")
    train(config, run, fold="1")
    assert (run / "fold1" / "model.safetensors").exists()
    assert train(config, run, fold="none") is None
    assert (run / "fold_none" / "model.safetensors").exists()
    longer = resumed_config(run, epochs=2, max_minutes=None)
    train(longer, run, resume=True)
    assert load_model(run / "fold0" / "model.safetensors")[1].provenance["steps"] == 6


def test_bad_data_stops_before_anything_is_written(small_config, toy, tmp_path):
    (toy / "labels" / "case1.nii.gz").unlink()
    broken = toy / "images" / "case2.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        train(small_config(), tmp_path / "run")
    assert "case1" in str(caught.value)
    assert "case2" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_fold_that_is_not_there_writes_nothing(small_config, tmp_path):
    with pytest.raises(ConfigError, match="fold 7 does not exist"):
        train(small_config(), tmp_path / "run", fold="7")
    assert not (tmp_path / "run").exists()


def test_usage_errors(small_config, tmp_path):
    with pytest.raises(UsageError, match="--fold x"):
        train(small_config(), tmp_path / "run", fold="x")
    with pytest.raises(UsageError, match="bound to the clock"):
        train(
            small_config(training__deterministic=True, training__max_minutes=1.0),
            tmp_path / "run",
        )
    with pytest.raises(UsageError, match="batch of 1: must be a multiple of 2"):
        train(small_config(training__accumulate=2), tmp_path / "run")
    with pytest.raises(UsageError, match="no data set"):
        train(small_config(data__root=None), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resume_continues(toy, tmp_path, kind):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "attnseg", "train"]
    settings = ["model.patch=[16,16,8]", "model.channels=[4,8]", "data.num_folds=3"]
    settings += ["training.steps_per_epoch=2", "training.validation_cases=0"]
    options = [text for setting in settings for text in ("--set", setting)]
    process = subprocess.Popen(
        [*command, str(toy), "-o", str(run), "--epochs", "100000", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = run / "fold0" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, kind)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in text
    assert "Traceback" not in text
    steps = json.loads(metrics.read_text().splitlines()[-1])["step"]
    again = subprocess.run(
        [*command, "-o", str(run), "--resume", "--epochs", str(steps // 2 + 2)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 0, again.stderr
    assert f"resuming after step {steps}" in again.stderr
    assert (run / "fold0" / "model.safetensors").exists()
