"""How names of files and cases are compared, and which of them other systems cannot hold."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePath

# Of files on Windows, whatever their suffix.
_DEVICES = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)
_NOT_ON_WINDOWS = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_SHOWN = 3
WINDOWS_REMEDY = "rename the scans before anything is copied there"


def composed(name: str) -> str:
    """A name as all names are compared: in Unicode's composed form (NFC).

    The ü of a name may be stored as one letter or, as by macOS and in archives packed there, as u
    and two dots. Both are one name.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def alike(name: str) -> str:
    """Equal for two names that Windows and macOS take for one: NFC, capitals or not."""
    return composed(name).casefold()


def readable(text: str) -> str:
    """Text as UTF-8 can hold it: bytes of a file's name that are none, as \\xfc, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def on_disk(path: Path) -> Path:
    """The file or folder that `path` means: itself, or the one whose name is the same in NFC.

    Where there is none, `path` as it is.
    """
    if str(path).isascii() or path.exists() or path.parent == path:
        return path
    folder = on_disk(path.parent)
    if not folder.is_dir():
        return path
    found = _by_composed_name(folder, folder.stat().st_mtime_ns).get(composed(path.name))
    return path if found is None else folder / found


@lru_cache(maxsize=16)
def _by_composed_name(folder: Path, changed_ns: int) -> dict[str, str]:
    """Name in NFC → name on disk, of a folder that last changed then."""
    return {composed(child.name): child.name for child in folder.iterdir()}


def resolved(path: Path) -> Path:
    """`Path.resolve`, which raises where links lead in a circle: such a link stands for itself."""
    return Path(os.path.realpath(path))


def how_they_differ(one: str, other: str) -> str:
    """ " (…)" with the code points of two names that look the same; "" where they do not."""
    if one == other or composed(one) != composed(other):
        return ""
    return f" (one name in two forms of Unicode: {one!a} and {other!a})"


def differing_in_case_only(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ in capitals alone, which Windows and macOS take for one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[alike(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def windows_refuses(path: str | PurePath) -> str:
    """Why Windows cannot hold a file of this path, relative to a folder; "" where it can."""
    for name in path.split("/") if isinstance(path, str) else path.parts:
        if found := _NOT_ON_WINDOWS.search(name):
            return f"{found[0]!r} in a name"
        if _DEVICES.fullmatch(name):
            return f"{name.split('.')[0].strip()} is reserved"
        if name.endswith((".", " ")):
            return f"a name ends in {name[-1]!r}"
    return ""


def windows_note(paths: Iterable[str | PurePath]) -> str:
    """What is wrong with the names that Windows cannot hold; "" where it can hold all."""
    refused = {str(path): reason for path in paths if (reason := windows_refuses(path))}
    if not refused:
        return ""
    shown = [f"{path}: {reason}" for path, reason in list(refused.items())[:_SHOWN]]
    more = "; …" if len(refused) > _SHOWN else ""
    return f"{len(refused)} file name(s) that Windows cannot hold ({'; '.join(shown)}{more})"
