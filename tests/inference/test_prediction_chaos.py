"""Predictions into one folder that are stopped, killed and held at random moments."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from chaos import Chaos

from attnseg.locks import LOCK_FILE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_every_scan_is_predicted_once_and_whole(make_model, make_scan, tmp_path, full):
    names = [f"scan{number}" for number in range(8)]
    for seed, name in enumerate(names):
        make_scan(name, seed=seed)
    made = ["--save-probabilities", "--statistics", "--device", "cpu"]
    asked = ["predict", tmp_path / "scans", "-m", make_model(), *made]

    def files(out):
        return {path.name: path.read_bytes() for path in out.glob("*.nii.gz")}

    def run_alone(out):
        command = [sys.executable, "-m", "attnseg", *asked, "-o", out]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr

    run_alone(tmp_path / "alone")
    for seed in range(max(1, full(30))):
        generator = random.Random(seed)
        folder = tmp_path / f"chaos{seed}"
        folder.mkdir()
        out = folder / "out"
        chaos = Chaos([*asked, "-o", out], folder, generator)
        for _ in range(generator.randint(2, 3)):
            chaos.start()
        for _ in range(4):
            chaos.strike(3)
        chaos.end()
        for code, said in chaos.said:
            assert code in (0, 130, -9), (seed, said)
            assert "Traceback" not in said, seed
        run_alone(out)
        assert files(out) == files(tmp_path / "alone"), seed
        lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
        assert Counter((line["name"], line["state"]) for line in lines) == Counter(
            (name, "done") for name in names
        ), seed
        assert not list(out.rglob(".partial-*")), seed
        assert not (out / LOCK_FILE).exists(), seed
