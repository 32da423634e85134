"""The boxes as fixtures: data to change, settings, and one run that has learned them."""

from functools import partial
from pathlib import Path

import pytest
from boxes import LEARNING, make_config, write_toy

from attnseg.evaluation import Evaluation
from attnseg.training import train


@pytest.fixture
def toy(tmp_path) -> Path:
    """The data set of `write_toy`, to be changed as a test likes."""
    return write_toy(tmp_path / "toy")


@pytest.fixture
def small_config(toy):
    """`make_config` of `toy`."""
    return partial(make_config, toy)


@pytest.fixture(scope="session")
def learned(tmp_path_factory) -> tuple[Path, Evaluation]:
    """A run that has learned the boxes, and its scores: to be read, not changed."""
    folder = tmp_path_factory.mktemp("learned")
    scores = train(make_config(write_toy(folder / "toy"), **LEARNING), folder / "run")
    assert scores is not None
    return folder / "run", scores
