"""Notebooks run from top to bottom, and are stored without outputs."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

# What is checked is that a lesson runs and shows something, not how well a network does.
MINUTES = re.compile(r'"training.max_minutes": [0-9.]+')
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# The kernel is a process of its own, whose sockets nbclient closes when the client is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_runs_on_the_demos_data(path, tmp_path):
    from nbclient import NotebookClient

    shutil.copy(path, tmp_path / path.name)
    notebook = nbformat.read(tmp_path / path.name, as_version=4)
    shortened = 0
    for cell in notebook.cells:
        cell.source, count = MINUTES.subn('"training.max_minutes": 0.1', cell.source)
        shortened += count
    assert shortened == 1, "each lesson trains for a time that is set in one place"
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    last = notebook.cells[-1]
    assert last.cell_type == "markdown" or last.outputs, "the last cell shows something"
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures, "a lesson shows pictures"
