"""The command line in process: a process of its own would pay for every import again."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from attnseg.cli.app import main
from attnseg.images import Geometry, Image, write_image, write_labels


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def attnseg(monkeypatch, capsys, tmp_path) -> Callable[..., Result]:
    """Run `attnseg …` in an empty folder; returns exit code and output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["attnseg", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def dataset(tmp_path):
    """Three cases in paired folders: a bright box on noise."""
    for number in range(3):
        generator = np.random.default_rng(number)
        labels = np.zeros((18, 16, 10), dtype=np.uint8)
        labels[4:12, 3 + number : 11 + number, 2:8] = 1
        array = (labels * 50 + generator.normal(10, 5, labels.shape)).astype(np.float32)
        image = Image(array[None], Geometry(labels.shape, np.diag([-1.0, -1.0, 1.5, 1.0])))
        write_image(tmp_path / "data" / "images" / f"c{number}.nii.gz", image)
        write_labels(
            tmp_path / "data" / "labels" / f"c{number}.nii.gz",
            labels,
            like=image,
            dtype=np.dtype(np.uint8),
        )
    return tmp_path / "data"


SMALL = [
    f"--set={setting}"
    for setting in (
        "model.patch=[16,16,8]",
        "model.channels=[4,8]",
        "data.num_folds=3",
        "training.epochs=1",
        "training.steps_per_epoch=2",
        "training.batch_size=1",
        "training.validation_cases=0",
    )
]


@pytest.fixture
def model(dataset, attnseg, tmp_path):
    """The model file of a run of two steps under runs/."""
    result = attnseg("train", dataset, "-o", "runs/toy", *SMALL)
    assert result.code == 0, result.err
    return tmp_path / "runs" / "toy" / "fold0" / "model.safetensors"


@pytest.fixture
def small():
    return SMALL
