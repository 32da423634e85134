"""A run that is killed, or spread over processes, ends where the undisturbed one does."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from attnseg.models import load_model
from attnseg.training import train as train_here
from attnseg.training.state import TrainingState, new_state

SETTINGS = {
    "model.patch": "[16,16,8]",
    "model.channels": "[4,8]",
    "data.num_folds": "3",
    "training.steps_per_epoch": "4",
    "training.batch_size": "2",
    "training.validation_cases": "1",
    "training.validation_every_epochs": "2",
}


def command(data, run, *options):
    changes = [text for key, value in SETTINGS.items() for text in ("--set", f"{key}={value}")]
    return ["-m", "attnseg", "train", str(data), "-o", str(run), *options, *changes]


def train(data, run, *options):
    arguments = command(data, run, *options)
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=True
    )


@pytest.fixture
def four_steps(small_config):
    """`SETTINGS` for a run in this process, which need not load everything anew."""

    def make(**changes):
        plan = {"steps_per_epoch": 4, "batch_size": 2, "validation_every_epochs": 2}
        return small_config(**{f"training__{key}": n for key, n in plan.items()} | changes)

    return make


def weights(run):
    return load_model(run / "fold0" / "model.safetensors")[0].state_dict()


def lines(run):
    text = (run / "fold0" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_the_weights_are_the_same_bits(
    toy, tmp_path, full, record_property
):
    wanted = max(2, full(20))
    epochs = 8 * wanted + 4
    exact = ("--deterministic", "--epochs", str(epochs))
    train(toy, tmp_path / "unbroken", *exact)
    broken = tmp_path / "broken"
    generator = random.Random(0)
    kills = 0
    for _ in range(wanted):
        process = subprocess.Popen(
            [sys.executable, *command(toy, broken, *exact, "--resume")],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # From before the first file to the middle of validation and checkpoints.
        checkpoint = broken / "fold0" / "last.ckpt"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                time.sleep(generator.uniform(0, 0.3))
                break
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        if checkpoint.exists():  # whatever the moment, the checkpoint can be read
            network, spec = load_plan_network(broken)
            state: TrainingState = new_state(network, spec)
            state.load(checkpoint)
            assert state.step % 4 == 0
    record_property("kills", kills)
    assert kills == wanted
    train(toy, broken, *exact, "--resume")
    ours, theirs = weights(broken), weights(tmp_path / "unbroken")
    assert theirs.keys() == ours.keys() != set()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [line["step"] for line in lines(broken)] == [4 * n for n in range(1, epochs + 1)]
    assert not list(broken.rglob(".partial-*model*"))


def load_plan_network(run):
    from attnseg.config import load_config
    from attnseg.models import build_network
    from attnseg.training import load_plan

    plan = load_plan(run / "plan.json")
    return build_network(plan.spec.architecture), load_config(run / "config.yaml").training


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(toy, four_steps, tmp_path):
    options = ("--epochs", "5", "--device", "cpu")
    train_here(four_steps(training__epochs=5), tmp_path / "one", device="cpu")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, *command(toy, tmp_path / "two", *options)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["step"] for line in two] == [4, 8, 12, 16, 20]
    for mine, theirs in zip(one, two, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=2e-3)
        assert theirs["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=2e-2)
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    difference = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    assert difference < 2e-3
    assert (tmp_path / "two" / "fold0" / "validation.json").exists()


@pytest.mark.slow
def test_parts_of_a_batch_give_its_gradient(four_steps, tmp_path):
    """Cross-entropy adds up over parts; Dice is one of each part, so the curves only resemble."""
    train_here(four_steps(training__epochs=4), tmp_path / "whole")
    train_here(four_steps(training__epochs=4, training__accumulate=2), tmp_path / "parts")
    whole, parts = lines(tmp_path / "whole"), lines(tmp_path / "parts")
    assert len(whole) == 4
    for mine, theirs in zip(whole, parts, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=0.15)
