"""Lines are there whole or not at all, whatever cut the ones before."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from attnseg import disk
from attnseg.errors import DataError, DiskFullError
from attnseg.json_lines import append_line, parse_lines, read_lines


def write_many(path: Path, who: int) -> None:
    for number in range(100):
        append_line(path, {"who": who, "number": number, "text": "x" * (who * 700)})


@pytest.mark.parametrize("cut", range(1, 21, 3))
def test_half_a_line_goes_with_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "manifest.jsonl"
    append_line(path, {"name": "a"})
    whole = path.read_bytes()
    append_line(path, {"name": "bbbbbbbb"})
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    damaged: list[int] = []
    assert read_lines(path, on_damage=damaged.append)[0] == {"name": "a"}
    append_line(path, {"name": "c"})
    kept = [{"name": "bbbbbbbb"}] if cut > 19 else []
    # As other programs read it: every line.
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"name": "a"}, *kept, {"name": "c"}]


def test_half_a_line_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 200_000)
    append_line(path, {"c": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


def test_a_whole_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}')
    append_line(path, {"c": 3})
    assert read_lines(path) == [{"a": 1}, {"c": 3}]


def test_damage_is_counted_and_left_out() -> None:
    content = b'{"a": 1}\n{"b": \n\n[1]\n\xff\xfe\n{"c": 2}\n' + b"[" * 100_000
    assert parse_lines(content) == ([{"a": 1}, {"c": 2}], 4)


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == []


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, {"a": 1})
    before, write = path.read_bytes(), disk.os.write

    def short(stream: int, content: bytes) -> int:
        if len(content) < 10:
            raise OSError(28, "No space left on device")
        return write(stream, content[:-5])

    monkeypatch.setattr(disk.os, "write", short)
    with pytest.raises(DiskFullError, match=r"a\.jsonl: no space left on the disk"):
        append_line(path, {"b": "x" * 50})
    assert path.read_bytes() == before
    monkeypatch.undo()
    append_line(path, {"b": 2})
    assert read_lines(path) == [{"a": 1}, {"b": 2}]


def test_several_processes_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"half": ')
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, who)) for who in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 400
    for who in range(4):
        assert [line["number"] for line in lines if line["who"] == who] == list(range(100))


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_neither_read_nor_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "manifest.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    for call in (lambda: read_lines(path), lambda: append_line(path, {"a": 1})):
        with pytest.raises(DataError, match=r"manifest\.jsonl: a folder, a pipe or a device"):
            call()
