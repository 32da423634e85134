"""Files are written whole or not at all, and text is read as people's programs save it."""

import codecs
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attnseg.disk import PARTIAL, ROWS, full_disk_told

# UTF-32 goes first: its mark begins as that of UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


# What this process has under temporary names at this moment.
_temporary: set[Path] = set()
_ending = False


def why_no_file(path: Path) -> str:
    """Why no file can be written here, or replaced; "" where one can, as far as can be told.

    A file is written by renaming it, which would put it in the place of a device or a pipe.
    """
    return _irreplaceable(path) or _in_the_way(path, path.parent)


def _irreplaceable(path: Path) -> str:
    """Why no file can take the place of what is there; "" for a file, or nothing."""
    if not path.name or path.name == ".." or path.is_dir():
        return "is a folder, and a file is to be written; give the name of a file"
    if (path.exists() and not path.is_file()) or _of_the_system(path):
        return "is a pipe or a device, which no file can replace; give the name of a file"
    return ""


def why_no_folder(path: Path) -> str:
    """Why no folder can be here; "" where one is, or can be made, as far as can be told."""
    return _in_the_way(path, path)


def _in_the_way(path: Path, folder: Path) -> str:
    """What lies where `folder`, which is `path` or above it, is to be; "" for nothing."""
    there = (each for each in (folder, *folder.parents) if each.exists() or each.is_symlink())
    place = next(there, None)
    if place is None or place.is_dir():
        return ""
    what = "is a file" if place.exists() else "is a link that leads nowhere"
    it = "" if place == path else f"{place} above it "
    return f"{it}{what}, and a folder is to be there; give another"


def _of_the_system(path: Path) -> bool:
    """Whether a file is one of `/dev` or `/proc`, such as `/dev/stdout`: a link to what is open."""
    folder = os.path.realpath(path.parent)
    return folder == "/dev" or f"{folder}/".startswith(("/dev/fd/", "/proc/"))


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
    """Yield a hidden name beside `path`, of this call alone; what lies there goes in the end.

    Raises:
        FileExistsError: no file can take the place of what is there.
        DiskFullError: the disk has no room for what is written there.
    """
    if why := _irreplaceable(path):
        raise FileExistsError(f"{path}: {why}")
    # Outside of the removal: what is told to be free is without what could not be finished.
    with full_disk_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _passing(_hidden(path)) as temporary:
            yield temporary


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path`; rename it to `path` if the block succeeds.

    A folder of that name that is there before is replaced. If the block raises, the hidden folder
    is removed and `path` is left as it was.

    Raises:
        DiskFullError: the disk has no room for what is written there.
    """
    with full_disk_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _passing(_hidden(path)) as temporary:
            temporary.mkdir()
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder where the system keeps such; it is gone when the block has ended."""
    with _passing(Path(tempfile.mkdtemp(prefix="attnseg-"))) as folder:
        yield folder


def remove_temporaries() -> None:
    """Remove what this process has under temporary names: for one that is about to end.

    From then on a thread that begins another one gets a KeyboardInterrupt.
    """
    global _ending
    _ending = True
    for path in list(_temporary):
        with suppress(OSError):  # on Windows, what is open cannot be removed
            _remove(path)


@contextmanager
def _passing(path: Path) -> Iterator[Path]:
    if _ending:
        raise KeyboardInterrupt
    _temporary.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _temporary.discard(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    """Beside `path`, and no other's: two machines of one share may have processes of one number."""
    return path.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{path.name}")


def remove_leftovers(path: Path) -> None:
    """Remove what a process that was killed left behind while it wrote `path`.

    Only for whoever has claimed `path` (`attnseg.locks`): another process that writes it at this
    moment would lose what it writes.
    """
    leftovers = re.compile(rf"{re.escape(PARTIAL)}[0-9a-f]+-{re.escape(path.name)}({ROWS})?")
    for leftover in path.parent.glob(f"{PARTIAL}*"):
        if not leftovers.fullmatch(leftover.name):
            continue
        _remove(leftover)


def remove_leftovers_in(folder: Path) -> None:
    """`remove_leftovers` of all that is written to a folder, for whoever alone writes there."""
    for leftover in folder.glob(f"{PARTIAL}*"):
        _remove(leftover)


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


def read_text(path: Path) -> str:
    r"""Text of a file that people write or export, its lines ended by `\n`.

    UTF-8, UTF-16 and UTF-32, with or without a byte order mark; what is none of them is taken for
    Windows-1252, which has the letters of Latin-1 in the same places.

    Raises:
        OSError: it cannot be read, or is a device or a pipe that others wait at.
        ValueError: it is no text.
    """
    refuse_endless(path)
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    text = content.decode(encoding or _encoding_without_mark(content))
    if "\0" in text:
        raise ValueError("it holds NUL characters, which text does not")
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")


def refuse_endless(path: Path) -> None:
    """Stop before a device, a socket or a named pipe is read: it may never end, or never begin.

    What a shell hands over as /dev/fd/63 or /dev/stdin is read.

    Raises:
        OSError: it is one of these, or is not there.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # whoever opens a folder says that it is one
        return
    if not (stat.S_ISFIFO(mode) and path.is_relative_to("/dev")):
        raise OSError("it is a device, a socket or a named pipe, not a file")


def load_json(path: Path) -> Any:
    """What a JSON file holds, its text read by `read_text`.

    Raises:
        OSError: it cannot be read.
        ValueError: as of `parse_json`.
    """
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is no JSON, an object has a key twice, a number has thousands of digits, it
            is nested thousands deep; where, and what is wrong.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        raise ValueError(_json_fault(text, error)) from None
    except RecursionError:
        raise ValueError("it is nested thousands deep") from None
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's words for it name its own settings
            raise ValueError("it holds a number of thousands of digits") from None
        raise


def _encoding_without_mark(content: bytes) -> str:
    """By the zeros that UTF-16 and UTF-32 put between plain letters, or by what can be decoded."""
    zeros = [content[place::4].count(0) > len(content) // 8 for place in range(4)]
    kinds = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    if any(zeros):
        return kinds.get((zeros[0], zeros[1], zeros[2], zeros[3]), "utf-8")
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            was, now = (
                each if len(each) < 60 else f"{each[:60]}…"
                for each in map(repr, (found[key], value))
            )
            raise ValueError(f"{key!r:.60} is there twice, as {was} and as {now}")
        found[key] = value
    return found


def _json_fault(text: str, error: json.JSONDecodeError) -> str:
    """Where JSON ends to be JSON; the commas that other languages allow at the end of a list."""
    if not text.strip():
        return "the file is empty"
    before, behind = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    if behind.startswith(","):  # where Python 3.13 and later point to
        before, behind = before + ",", behind[1:].lstrip()
    if before.endswith(",") and behind[:1] in ("}", "]"):
        line = before.count("\n") + 1
        return f"line {line}: a comma with nothing but {behind[0]!r} behind it"
    return f"line {error.lineno}, column {error.colno}: {error.msg}"
