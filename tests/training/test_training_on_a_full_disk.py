"""A training on a full disk: one line, the last checkpoint kept, and on from there later."""

import json
from pathlib import Path

import pytest
from small_disk import Usage, largest_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attnseg import disk
from attnseg.errors import DiskFullError
from attnseg.training import train
from attnseg.training.cache import cache_cases
from attnseg.training.prepare import find
from attnseg.training.tensorboard import Board


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_last_checkpoint_stays_and_a_resumed_run_goes_on(small_config, tmp_path) -> None:
    run = tmp_path / "run"
    train(small_config(training__epochs=1), run, fold="none")
    fold = run / "fold_none"
    before = files(fold)
    longer = small_config(training__epochs=2)
    size = len(before["last.ckpt"])
    with (
        largest_file(size - 1),
        pytest.raises(
            DiskFullError,
            match=rf"last\.ckpt: larger than a file.*attnseg train --resume -o {run}$",
        ),
    ):
        train(longer, run, fold="none", resume=True)
    after = files(fold)
    assert after["last.ckpt"] == before["last.ckpt"]
    assert not [path for path in run.rglob("*") if path.name.startswith(".partial-")]
    # The line of the epoch that was not saved, and half of another.
    with (fold / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 9, "ep')
    train(longer, run, fold="none", resume=True)
    lines = [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]


def test_room_for_cases_and_checkpoints_is_asked_for_first(
    small_config, tmp_path, monkeypatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 0, 20_000))
    with pytest.raises(DiskFullError, match=r"fold_none: checkpoints and models need .* 20\.0 kB"):
        train(small_config(), run, fold="none")
    assert not (run / "cache").exists()
    monkeypatch.undo()
    train(small_config(), run, fold="none", resume=True)
    assert (run / "fold_none" / "model.safetensors").exists()


def test_room_for_the_cases_is_their_bytes(small_config, tmp_path, monkeypatch) -> None:
    run = tmp_path / "run"
    train(small_config(training__epochs=1), run, fold="none")
    arrays = [*(run / "cache").glob("*_image.npy"), *(run / "cache").glob("*_label.npy")]
    needed = sum(path.stat().st_size - 128 for path in arrays)  # without NumPy's headers
    from attnseg.training.plan import load_plan

    class Quiet:
        def __getattr__(self, name):
            return lambda *_, **__: None

    cases, spec = find(small_config(), Quiet()).cases, load_plan(run / "plan.json").spec
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 0, needed - 1))
    with pytest.raises(DiskFullError, match=r"6 preprocessed cases need .*data\.cache=FOLDER"):
        cache_cases(cases, spec, tmp_path / "other")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 0, needed))
    assert len(cache_cases(cases, spec, tmp_path / "other")) == 6


def test_events_without_room_are_told_once_and_nothing_ends(tmp_path: Path) -> None:
    told: list[str] = []
    board = Board(tmp_path, say=told.append)
    board.scalars({"loss": 1.0}, step=1)
    with largest_file(200):
        for step in range(2, 9):
            board.scalars({"loss": float(step)}, step=step)
    board.scalars({"loss": 9.0}, step=9)
    assert len(told) == 1
    assert told[0].startswith(f"warning: {tmp_path}/events.out.tfevents.")
    reader = EventAccumulator(str(tmp_path))
    reader.Reload()
    steps = [each.step for each in reader.Scalars("loss")]
    assert steps[0] == 1
    assert steps[-1] == 9
    assert len(steps) < 9
