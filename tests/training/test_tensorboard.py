"""Event files: read back by TensorBoard's own reader, and named after nothing but the time."""

import re
import socket
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attnseg.training.tensorboard import Board


def read_back(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return reader


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard")
    board.scalars({"loss": 0.5, "dice": 0.25}, step=3)
    board.scalars({"loss": 0.125}, step=6)
    picture = np.random.default_rng(0).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    board.panel("validation", picture, step=6)
    board.settings({"optimizer": "adamw", "seed": 3, "deterministic": True}, {"final/dice": 0.75})
    board.text("summary", "fold 0\nDice 0.75")
    found = read_back(tmp_path / "tensorboard")
    assert [(each.step, each.value) for each in found.Scalars("loss")] == [(3, 0.5), (6, 0.125)]
    assert [each.value for each in found.Scalars("final/dice")] == [0.75]
    (image,) = found.Images("validation")
    assert (image.step, image.width, image.height) == (6, 9, 7)
    (text,) = found.Tensors("summary/text_summary")
    assert text.tensor_proto.string_val == [b"    fold 0\n    Dice 0.75"]
    assert (
        b"optimizer" in found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    )


def test_a_resumed_run_hides_what_was_written_beyond_it(tmp_path: Path) -> None:
    first = Board(tmp_path)
    for step in (1, 2, 3, 4):
        first.scalars({"loss": float(step)}, step=step)
    second = Board(tmp_path, first_step=3)
    second.scalars({"loss": 30.0}, step=3)
    assert len(list(tmp_path.iterdir())) == 2, "also within one second"
    steps = [(each.step, each.value) for each in read_back(tmp_path).Scalars("loss")]
    assert steps == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_no_file_is_named_after_the_host(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "quarrystone")
    board = Board(tmp_path)
    board.settings({"seed": 1}, {"final/dice": 0.5})
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"events\.out\.tfevents\.\d{10}\.0", path.name)
    assert b"quarrystone" not in path.read_bytes()
