"""Files that have no content of their own: empty ones, pointers, and links that lead nowhere."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError
from attnseg.names import resolved

# As far as a pointer of git-annex or git-lfs tells what it is.
_POINTER_BYTES = 128
_START_BYTES = 24
# So many names of files stand in a message.
_SHOWN = 3


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be read.

    Args:
        what: what the file is, as "empty".
        remedy: what helps, with `{it}` for the file, or for each of several.
    """

    what: str
    remedy: str

    def told(self, path: Path | str) -> str:
        """The error for one file, in one line."""
        subject = "the file" if self == EMPTY else "this"
        return f"{path}: {subject} is {self.what}; {self.remedy.format(it='it')}"


EMPTY = Fault("empty", "copy {it} again from its source")
ANNEX = Fault(
    "a link or pointer of git-annex whose content is not here", "fetch {it} with `git annex get`"
)
LFS = Fault("a git-LFS pointer, not the image itself", "fetch {it} with `git lfs pull`")
NOWHERE = Fault("a link that leads nowhere", "copy what {it} should lead to")
FORBIDDEN = Fault("not open to this user", "ask for permission to read {it}")


def first_bytes(path: Path) -> bytes:
    """The first 24 bytes of a file, by which its format is known.

    Raises:
        DataError: no such file, an empty one, a pointer of git-annex or git-lfs in its place.
    """
    if not path.is_file():
        raise DataError(absence(path))
    with path.open("rb") as stream:
        start = stream.read(_POINTER_BYTES)
    if fault := hollow(start):
        raise DataError(fault.told(path))
    return start[:_START_BYTES]


def hollow(start: bytes) -> Fault | None:
    """Whether a file that starts so has no content of its own; its first 128 bytes tell."""
    if not start:
        return EMPTY
    if start.startswith(b"version https://git-lfs"):
        return LFS
    # A link into the annex is a text file where links cannot be: on FAT, on Windows, in archives.
    if start.startswith(b"/annex/objects/") or (
        start.startswith((b"../", b".git/")) and b".git/annex/objects/" in start
    ):
        return ANNEX
    return None


def dead_link(path: Path) -> Fault | None:
    """What a link leads to that leads nowhere; None for all else."""
    if not path.is_symlink() or path.exists():
        return None
    return ANNEX if "annex/objects/" in str(path.readlink()).replace("\\", "/") else NOWHERE


def absence(path: Path) -> str:
    """The error for a path where no file is, in one line."""
    if fault := dead_link(path):
        return fault.told(path)
    if path.is_dir():
        return f"{path}: no such file, but a folder; give a file in it"
    return f"{path}: no such file or folder; check the path"


def shown(names: Sequence[object], *, most: int = _SHOWN) -> str:
    """The first names, and whether there are more."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder and of the folders in it, in order of their names.

    Hidden files and folders are left out. A link to a folder is followed, but no folder is visited
    twice, nor one that holds `folder` itself. A link that leads nowhere counts as a file, and so
    does a folder that may not be opened: reading them says what is wrong.
    """
    return _below(folder, {_identity(above) for above in resolved(folder).parents})


def leads_up(folder: Path) -> bool:
    """Whether a folder is a link to one in which it lies."""
    place = resolved(folder.parent)
    return folder.is_symlink() and resolved(folder) in (place, *place.parents)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _below(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        identity = _identity(folder)
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError:
        yield folder
        return
    if identity in visited:
        return
    visited.add(identity)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # A link in a circle is no folder, and `entry.is_dir` would raise.
        if Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _below(Path(entry.path), visited)
        elif entry.is_symlink() or entry.is_file():
            yield Path(entry.path)
