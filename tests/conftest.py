"""Shared by all tests: the real data beside the checkout, and one thread for torch."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans; see its README.md."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Volumes are tiny; threads only get in each other's way. Imports nothing."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
