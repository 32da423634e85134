"""Whole files or none: everything attnseg writes goes through a temporary name and a rename."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds.

    The temporary name keeps the suffixes of `path` (writers choose the format by it) and starts
    with a dot, so that a reader of the folder never takes it for a result. If the block raises,
    the temporary file is removed and `path` is left as it was.
    """
    path = Path(path)
    with temporary_path(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside `path`, of this process alone; what lies there goes in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path`; rename it to `path` if the block succeeds.

    A folder of that name that is there before is replaced. If the block raises, the hidden folder
    is removed and `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what a process that was killed left behind while it wrote `path`."""
    for leftover in path.parent.glob(f"{_PARTIAL}*-{glob.escape(path.name)}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all.

    A byte of a file's name that is no UTF-8, which Python holds as a lone surrogate, is written as
    its escape `\\udcfc`: JSON reads the same name from it.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
