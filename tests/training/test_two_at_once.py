"""Two trainings in one run folder: the second ends in one line, or trains another fold."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from boxes import make_config, write_toy
from claiming import claimed, end

from attnseg.config import dump_config
from attnseg.errors import RunError
from attnseg.locks import LOCK_FILE
from attnseg.training import Run, train

QUICK = {"training__epochs": 1, "training__validation_cases": 0}


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def steps(run: Run) -> list[int]:
    if not run.metrics.exists():
        return []
    return [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}, {"fold": "all"}])
def test_a_fold_that_is_trained_elsewhere_is_refused(small_config, tmp_path, how):
    run = Run(tmp_path / "run", "0")
    run.fold_folder.mkdir(parents=True)
    run.checkpoint.write_bytes(b"state")
    before = content(run.folder)
    with claimed(run.folder, "fold0") as other, pytest.raises(RunError) as caught:
        train(small_config(**QUICK), run.folder, **how)
    text = str(caught.value)
    assert text.startswith(
        f"{run.fold_folder}: is being trained by process {other.pid} (attnseg test, since "
    )
    assert text.endswith("wait for it or end it, or give another folder with -o")
    assert "\n" not in text
    assert content(run.folder) == before


@pytest.mark.slow
def test_another_fold_is_trained_meanwhile(small_config, tmp_path):
    folder = tmp_path / "run"
    train(small_config(**QUICK), folder)
    plan = Run(folder, "0").plan.read_bytes()
    first = content(Run(folder, "0").fold_folder)
    with claimed(folder, "fold0") as other:
        assert train(small_config(**QUICK), folder, fold="1") is not None
        with pytest.raises(RunError, match="fold0: is being trained by"):
            train(small_config(**QUICK), folder, fold="all", overwrite=True)
        assert content(Run(folder, "0").fold_folder) == first
        assert Run(folder, "0").plan.read_bytes() == plan
        end(other)
    assert not list(folder.rglob(LOCK_FILE))


@pytest.mark.slow
def test_two_folds_that_begin_at_once_have_one_plan(small_config, tmp_path, capsys):
    """The second waits until the first has written it, and says so."""
    folder = tmp_path / "run"
    with claimed(folder, "preparation", "fold1") as other:
        soon = threading.Timer(0.5, end, [other])
        soon.start()
        assert train(small_config(**QUICK), folder) is not None
        soon.join()
    said = capsys.readouterr()
    assert f"waiting for process {other.pid} (attnseg test, since " in said.out + said.err
    assert Run(folder, "0").model.exists()


def command(config: Path, run: Run, *more: str) -> list[str]:
    start = [sys.executable, "-m", "attnseg", "train", "--config", str(config)]
    return [*start, "-o", str(run.folder), "--resume", "--device", "cpu", *more]


def started(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def long_run(tmp_path) -> tuple[Path, Run]:
    """The configuration of a run that does not end by itself, and its place."""
    config = make_config(
        write_toy(tmp_path / "toy"),
        training__epochs=100_000,
        training__validation_cases=0,
        training__workers=1,
    )
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    return path, Run(tmp_path / "run", "0")


def wait_for_steps(run: Run, process: subprocess.Popen, more_than: int = 0) -> None:
    until = time.monotonic() + 120
    while not (found := steps(run)) or found[-1] <= more_than:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def kill(process: subprocess.Popen) -> None:
    """The process alone: its data loaders end when they see that it is gone."""
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


@pytest.mark.slow
def test_the_second_of_two_resumed_runs_ends_in_one_line(long_run, full):
    config, run = long_run
    first = started(command(config, run))
    try:
        wait_for_steps(run, first)
        second = subprocess.run(
            command(config, run), capture_output=True, text=True, timeout=120, check=False
        )
        assert second.returncode == 1
        (line,) = second.stderr.splitlines()[-1:]
        assert line.startswith(
            f"attnseg: {run.fold_folder}: is being trained by process {first.pid} "
            "(attnseg train, since "
        )
        assert "Traceback" not in second.stderr
        generator = random.Random(0)
        for _ in range(max(1, full(20))):  # killed at any moment, it is in nobody's way
            time.sleep(generator.uniform(0, 2))
            kill(first)
            first = started(command(config, run))
            wait_for_steps(run, first, more_than=steps(run)[-1])
        os.kill(first.pid, signal.SIGTERM)
        _, said = first.communicate(timeout=120)
        assert first.returncode == 130, said
    finally:
        first.kill()
        first.communicate()
    found = steps(run)
    assert found == sorted(set(found)), "each line once"
    assert not list(run.folder.rglob(LOCK_FILE))
