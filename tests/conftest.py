"""Shared by all tests: real data beside the checkout, one thread for torch, full counts, GPU."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Property tests marked slow take their number of examples from here: 10,000, or a twentieth.
settings.register_profile("soak", max_examples=10_000, derandomize=True, deadline=None)
settings.register_profile("twentieth", max_examples=500, derandomize=True, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="the full counts, as `make soak` runs them"
    )


def pytest_configure(config: pytest.Config) -> None:
    soak = config.getoption("--soak")
    settings.load_profile("soak" if soak else "twentieth")
    if not soak:
        # Of processes that tests start, as `one_thread` of this one: two threads that wait for each
        # other at every layer of a tiny network take up to four times as long as one.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """A count as it is under `--soak`, a twentieth of it otherwise."""
    soak = request.config.getoption("--soak")
    return lambda count: count if soak else count // 20


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans; see its README.md."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder


@pytest.fixture
def all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the test starts have the threads that users have: for bounds of memory."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Volumes are tiny; threads only get in each other's way. Imports nothing."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
