"""What nothing on the command line may be, checked before anything is read or imported.

`Path("")` is the current folder, a pipe is read for ever, and a file renamed onto `/dev/null` takes
the place of the device: what a variable that is not set leaves behind, or a device in the place of
a file, is refused in one line, for every command and option at once.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import typer

from attnseg.errors import UsageError
from attnseg.files import why_no_file, why_no_folder

# Of a message: longer values are cut.
_SHOWN = 60
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Bytes that file systems take for a name, and Linux for a path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4096


def refuse_unusable(arguments: Sequence[str]) -> None:
    """Stop at a value that can mean nothing, whatever it stands for.

    Raises:
        UsageError: nothing but blanks, control characters, what no file system can hold, `~` that
            the shell has not expanded, links in a circle, a pipe or a device.
    """
    for option, value in _values(arguments):
        if why := _why_unusable(value):
            raise UsageError(f"{option} {_cut(value)}: {why}".lstrip())


def file_to_write(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Callback of an option: the file can be written, or replaced.

    Raises:
        UsageError: a folder or a device is there; a file is where a folder above it must be.
    """
    return _writable(parameter, value, why_no_file(value) if value is not None else "")


def folder_to_write(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Callback of an option: the folder is there, or can be made.

    Raises:
        UsageError: a file, or a link that leads nowhere, is there or where a folder above must be.
    """
    return _writable(parameter, value, why_no_folder(value) if value is not None else "")


def _writable(parameter: typer.CallbackParam, value: Path | None, why: str) -> Path | None:
    if why:
        raise UsageError(f"{_name_of(parameter)} {_cut(str(value))}: {why}")
    return value


def _name_of(parameter: typer.CallbackParam) -> str:
    """`--html` or `-o` of an option; of an argument its name as help shows it."""
    name = parameter.opts[0]
    return name if name.startswith("-") else name.upper()


def _values(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each value with the option in front of it, or "" where it may stand for itself."""
    for before, text in pairwise(["", *arguments]):
        option, equals, value = text.partition("=")
        if text.startswith("--") and equals:
            yield option, value
        elif not text.startswith("-"):
            yield (before if before.startswith("-") and "=" not in before else ""), text


def _why_unusable(value: str) -> str:
    if not value.strip():
        return "is empty, as a variable leaves it that is not set; give a value, or leave it out"
    if _CONTROL.search(value):
        return "holds a control character, such as the end of a line; rename it, or type it anew"
    names = value.replace(os.sep, "/").split("/")
    if len(os.fsencode(value)) >= _LONGEST_PATH or max(map(_bytes, names)) > _LONGEST_NAME:
        return (
            f"is longer than file systems take, {_LONGEST_NAME} bytes a name and {_LONGEST_PATH} a "
            "path; give a shorter one"
        )
    try:
        mode = os.stat(value).st_mode  # noqa: PTH116 (most values are no paths)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself; make it anew, or give what it should mean"
        if value.startswith("~"):
            return "the shell has not put a folder in the place of ~; write the whole path"
        return ""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return "is a pipe or a device, and no file; give a file or a folder"


def _bytes(name: str) -> int:
    return len(os.fsencode(name))


def _cut(value: str) -> str:
    """A value as it is, in quotes where it would not be seen, and cut where it is long."""
    plain = value.strip() and value.isprintable()
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    return shown if plain else repr(shown)
