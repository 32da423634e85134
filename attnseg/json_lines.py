"""Files of one JSON object a line, appended to by whichever process and never rewritten.

A line is there whole or not at all: it is one write, and where that fails the file is cut back to
what it was. Half a line, which only a kill can leave, goes with the next line that is added.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attnseg.disk import full_disk_told, opened_to_append, write_at_end
from attnseg.errors import DataError

_BLOCK = 1 << 16
# Nobody holds the lock for longer than one line takes.
_PATIENCE_SECONDS = 2.0


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line.

    Raises:
        DiskFullError: there is no room; the file is as it was.
        DataError: as of `read_bytes`.
    """
    _refuse_other(path)
    content = (json.dumps(line) + "\n").encode()
    with full_disk_told(path), opened_to_append(path) as stream, _alone(stream) as alone:
        begun = _unfinished(stream)
        if begun and alone and _parsed(begun) is None:
            os.ftruncate(stream, os.fstat(stream).st_size - len(begun))
        elif begun:  # whole but for its end; or perhaps another process's, at this very moment
            content = b"\n" + content
        write_at_end(stream, content)


def read_lines(
    path: Path, *, on_damage: Callable[[int], None] = lambda count: None
) -> list[dict[str, Any]]:
    """The objects of a file, in order; none of a file that is not there.

    Args:
        path: the file.
        on_damage: called with the number of lines that hold no object, where there are any.
    """
    lines, damaged = parse_lines(read_bytes(path) if path.exists() else b"")
    if damaged:
        on_damage(damaged)
    return lines


def read_bytes(path: Path) -> bytes:
    """What such a file holds.

    Raises:
        DataError: a folder, a pipe or a device lies in its place.
    """
    _refuse_other(path)
    return path.read_bytes()


def _refuse_other(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise DataError(
            f"{path}: a folder, a pipe or a device, where a file of JSON lines is to be; remove it"
        )


def parse_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The objects of lines, and how many lines hold none: cut short by a kill, or damaged."""
    texts = [text for text in content.split(b"\n") if text.strip()]
    lines = [line for text in texts if (line := _parsed(text)) is not None]
    return lines, len(texts) - len(lines)


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _unfinished(stream: int) -> bytes:
    """What stands behind the last line break."""
    end, found = os.fstat(stream).st_size, b""
    while end and b"\n" not in found:
        begin = max(0, end - _BLOCK)
        os.lseek(stream, begin, os.SEEK_SET)
        found = os.read(stream, end - begin) + found
        end = begin
    return found[found.rfind(b"\n") + 1 :]


@contextmanager
def _alone(stream: int) -> Iterator[bool]:
    """Whether no other process adds a line meanwhile; False where there are no such locks."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    until, alone = time.monotonic() + _PATIENCE_SECONDS, False
    while not alone and time.monotonic() < until:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            time.sleep(0.002)
        except OSError:  # a file system without locks
            break
    yield alone  # closing the file ends the lock
