"""Whole files or none, and text as programs save it."""

import json
import os
import re
from pathlib import Path

import pytest

from attnseg.files import (
    ROWS,
    atomic_path,
    load_json,
    read_text,
    remove_leftovers,
    temporary_path,
    write_text,
)


def test_a_byte_of_a_name_that_is_no_utf8_is_written_as_json_reads_it(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller")
    write_text(tmp_path / "a.json", json.dumps({"é": name}, ensure_ascii=False))
    content = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "é" in content
    assert json.loads(content) == {"é": name}


def test_the_file_appears_only_when_the_block_is_done(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("a.nii.gz")  # writers choose the format by the suffix
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    assert path.read_bytes() == b"new"


def test_a_finished_block_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("begun", [True, False])
def test_a_failing_block_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException], begun: bool
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path) as temporary:
            if begun:
                temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "deep" / "a.txt", "Größe\n")
    assert (tmp_path / "new/deep/a.txt").read_bytes() == b"Gr\xc3\xb6\xc3\x9fe\n"


def test_write_text_replaces(tmp_path: Path) -> None:
    for text in ("first, and longer", "second"):
        write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 1


def test_two_writers_of_one_file_have_a_name_each(tmp_path: Path) -> None:
    """Two machines of one share may have processes of one number, and one process threads."""
    with temporary_path(tmp_path / "a") as one, temporary_path(tmp_path / "a") as two:
        assert one != two


def test_leftovers_are_of_that_very_file(tmp_path: Path) -> None:
    """Whoever has claimed a file has claimed no other whose name begins or ends alike."""
    others = ["b-a.nii", "a.nii.gz", "a.nii2", "7-a.nii", "b-a.nii.rows", "a.nii.rows2", "A.nii"]
    for name in ["a.nii", f"a.nii{ROWS}", *others]:
        with temporary_path(tmp_path / name) as temporary:
            temporary.touch()
            temporary.rename(tmp_path / f"kept {temporary.name}")
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.removeprefix("kept "))
    (tmp_path / ".partial-4711-a.nii").mkdir()  # as older versions named them
    remove_leftovers(tmp_path / "a.nii")
    assert sorted(path.name.split("-", 2)[2] for path in tmp_path.iterdir()) == sorted(others)


TEXT = "Größe;1\nLänge;2\n"


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_text_of_any_program(tmp_path: Path, encoding: str, ends: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.replace("\n", ends).encode(encoding))
    assert read_text(path) == TEXT


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfea", b"\xef\xbb\xbf\xff", b"\0\0\0\0"])
def test_what_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"NUL|codec"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ('{"a": 1,\n "b": [1, 2],\n}', "line 2: a comma with nothing but '}' behind it"),
        ('{"a": [1,\n 2 ,\n\n]}', "line 2: a comma with nothing but ']' behind it"),
        ('{"a": 1\n "b": 2}', "line 2, column 2: Expecting ',' delimiter"),
        ("{'a': 1}", "line 1, column 2: Expecting property name"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' is there twice, as 1 and as 3"),
    ],
)
def test_what_is_no_json(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="^" + re.escape(fault)):
        load_json(tmp_path / "a.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_json_of_any_program(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes('{"Leber rechts": 1,\r\n"Öhr": 2}'.encode(encoding))
    assert load_json(tmp_path / "a.json") == {"Leber rechts": 1, "Öhr": 2}
