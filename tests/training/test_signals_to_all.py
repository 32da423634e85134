"""Signals as launchers send them, and a stop while training waits for a batch: all is saved."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stuck import leftovers

SETTINGS = [
    "model.patch=[16,16,8]", "model.channels=[4,8]", "data.num_folds=3", "training.batch_size=1",
    "training.steps_per_epoch=1000", "training.validation_cases=1",
]  # fmt: skip
OPTIONS = [text for setting in SETTINGS for text in ("--set", setting)]
SLOW = """
import hashlib, sys, time
from pathlib import Path
from attnseg.__main__ import start
from attnseg.training import loop, pipeline

crop, update, marks = pipeline.PatchDataset.crop, loop.update_average, Path(sys.argv.pop(1))

def stuck_later(self, number):
    if number == 3 and "wait" in marks.name:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    return crop(self, number)

def told(average, network, *, decay, step):
    update(average, network, decay=decay, step=step)
    if step == 2:
        marks.touch()
    if "long" in marks.name:
        time.sleep(2.5)

pipeline.PatchDataset.crop, loop.update_average = stuck_later, told
start()
"""


def struck(toy, folder: Path, kind: str, workers: int, send) -> tuple[int, str]:
    """Train until step 3 is done or nearly, then `send` signals: exit code, and what was said."""
    marks = folder / kind
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, marks, "train", toy, "-o", folder / "run", "--epochs", "1",
         "--device", "cpu", "--workers", str(workers), *OPTIONS],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while not marks.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        time.sleep(0.5)
        send(process.pid)
        _, said = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said
    assert not leftovers(folder)
    return process.returncode, said


def stopped(toy, folder: Path, kind: str, workers: int, send, *, saved: bool = True) -> None:
    """The signals end it, and all is saved."""
    code, said = struck(toy, folder, kind, workers, send)
    assert code == 130, said
    if not saved:
        return
    step = re.search(r"stopped after step (\d+); --resume", said)
    assert step is not None, said
    assert int(step[1]) >= 3 if kind != "long" else int(step[1]) == 3
    assert (folder / "run" / "fold0" / "last.ckpt").exists()


def twice(process: int) -> None:
    os.kill(process, signal.SIGINT)
    time.sleep(0.02)
    os.kill(process, signal.SIGINT)
    os.kill(process, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_that_is_handed_on_is_the_same_signal(toy, tmp_path, workers):
    """To the group by the terminal, and from the parent: the step at hand is ended and saved."""
    stopped(toy, tmp_path, "long", workers, twice)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_leaves_the_step_its_batch(toy, tmp_path, kind):
    stopped(toy, tmp_path, "all", 2, lambda process: os.killpg(process, kind))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_does_not_come_is_not_waited_for(toy, tmp_path, workers):
    """All is saved; but where the training itself is stuck in making it, nobody can save."""
    stopped(
        toy, tmp_path, "wait", workers, lambda process: os.kill(process, signal.SIGTERM),
        saved=bool(workers),
    )  # fmt: skip


def kill_worker(process: int) -> None:
    (child,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_that_is_killed_during_a_step_is_told_in_one_line(toy, tmp_path):
    code, said = struck(toy, tmp_path, "long", 1, kill_worker)
    assert code == 1
    assert said.splitlines()[-1].startswith("attnseg: a loader process ended (")
