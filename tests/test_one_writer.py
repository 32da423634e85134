"""Commands that write many files: a second one on the same folder ends in one line."""

from pathlib import Path

import numpy as np
import pytest
from claiming import claimed, end

from attnseg.datasets import convert_dataset, convert_scans, find_dataset
from attnseg.datasets.checks import find_problems
from attnseg.datasets.facts import inspect_dataset
from attnseg.datasets.mend import LEFT_OUT, mend_dataset
from attnseg.demo import run_demo
from attnseg.errors import RunError
from attnseg.images import Geometry, Image, write_image, write_labels
from attnseg.locks import LOCK_FILE


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases in paired folders."""
    for number in range(2):
        labels = np.zeros((6, 5, 4), np.uint8)
        labels[1:3, 1:3, 1:3] = 1
        image = Image(labels[None] * np.float32(number + 1.5), Geometry(labels.shape, np.eye(4)))
        write_image(tmp_path / "data" / "images" / f"c{number}.nii.gz", image)
        path = tmp_path / "data" / "labels" / f"c{number}.nii.gz"
        write_labels(path, labels, like=image, dtype=np.dtype(np.uint8))
    return tmp_path / "data"


def mend(data: Path, out: Path) -> None:
    dataset = find_dataset(data)
    mend_dataset(dataset, find_problems(dataset, inspect_dataset(dataset)), out)


def convert(data: Path, out: Path) -> None:
    convert_dataset(find_dataset(data), out, suffix=".nrrd")


def convert_two(data: Path, out: Path) -> None:
    found = sorted((data / "images").iterdir())
    convert_scans({out / f"{number}.nrrd": (path,) for number, path in enumerate(found)})


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (mend, LEFT_OUT),
        (convert, "data set"),
        (convert_two, "1.nrrd"),
        (lambda data, out: run_demo(out), "demo"),
    ],
)
def test_the_second_writer_is_told_who_the_first_is(
    data: Path, tmp_path: Path, write, name
) -> None:
    out = tmp_path / "out"
    with claimed(out, name) as other:
        with pytest.raises(RunError) as caught:
            write(data, out)
        assert [path.name for path in out.iterdir()] == [LOCK_FILE]
        end(other)
    text = str(caught.value)
    assert text.startswith(f"{out}: is being written to by process {other.pid} (attnseg test, ")
    assert text.endswith("; wait for it or end it, or give another folder")
    assert not out.exists(), "it was made for nothing"


@pytest.mark.parametrize("write", [mend, convert, convert_two])
def test_what_a_killed_writer_left_is_in_nobodys_way(data: Path, tmp_path: Path, write) -> None:
    with claimed(tmp_path / "out", "data set", LEFT_OUT, "1.nrrd"):
        pass
    assert (tmp_path / "out" / LOCK_FILE).exists()
    write(data, tmp_path / "out")
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_scans_are_converted_into_one_folder_side_by_side(data: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "out", "5.nrrd"):
        convert_two(data, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.nrrd"))) == 2


def test_the_lock_file_of_a_data_set_is_not_copied(data: Path, tmp_path: Path) -> None:
    """It would replace the one of the copy, which is held at that moment."""
    (data / LOCK_FILE).write_text("")
    mend(data, tmp_path / "out")
    assert not (tmp_path / "out" / LOCK_FILE).exists()
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 4
