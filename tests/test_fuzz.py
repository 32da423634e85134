"""Model files and run folders with one thing changed, by `benchmarks/fuzz.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is watched by Linux's own files"
)


@pytest.mark.slow
def test_each_ends_in_one_line_or_the_right_mask(tmp_path, full):
    script = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
    output = tmp_path / "fuzz.json"
    done = subprocess.run(
        [
            sys.executable, script, "--count", str(full(2000)), "--seed", "0",
            "--work", tmp_path / "work", "--output", output,
        ],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())["results"]
    assert found["cases"] == full(2000)
    assert found["failed"] == []
    # Damage is seen, and what is still right is still taken.
    assert found["exit_codes"]["1"] > 0.3 * found["cases"]
    assert found["exit_codes"]["0"] > 0.2 * found["cases"]
