"""Trainings of one fold that are stopped, killed and held at random moments, and go on."""

import json
import random
import subprocess
import sys

import pytest
from chaos import Chaos

SETTINGS = [
    "model.patch=[16,16,8]", "model.channels=[4,8]", "data.num_folds=3", "training.batch_size=1",
    "training.steps_per_epoch=12", "training.validation_cases=1",
    "training.validation_every_epochs=1",
]  # fmt: skip
OPTIONS = [text for setting in SETTINGS for text in ("--set", setting)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_step_is_lost_or_told_twice(toy, tmp_path, full):
    for seed in range(max(1, full(20))):
        generator = random.Random(seed)
        folder = tmp_path / f"chaos{seed}"
        folder.mkdir()
        run = folder / "run"
        workers = ["--workers", str(generator.randint(0, 1))]
        asked = ["train", toy, "-o", run, "--epochs", "6", "--device", "cpu", *workers, *OPTIONS]
        chaos = Chaos([*asked, "--resume"], folder, generator)
        chaos.start()
        for _ in range(4):
            chaos.strike(7)
        chaos.end()
        for code, said in chaos.said:
            refused = code == 1 and "is being trained by process" in said.splitlines()[-1]
            assert refused or code in (0, 130, -9), (seed, code, said)
            assert "Traceback" not in said, seed
        done = subprocess.run(
            [sys.executable, "-m", "attnseg", *map(str, asked), "--resume"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, (seed, done.stderr)
        assert "Traceback" not in done.stderr
        lines = (run / "fold0" / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps)), seed
        assert steps[-1] == 72, seed
        assert set(range(12, 73, 12)) <= set(steps), seed
        assert (run / "fold0" / "model.safetensors").exists()
        assert not list(run.rglob(".partial-*")), seed
