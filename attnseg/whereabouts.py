"""Paths in written files: whoever gets such a file learns nothing of the machine it was made on.

A file that is read again holds paths relative to its own folder (`recorded`, `recalled`), so that a
folder that is moved together with its data is as good as before. Pages and messages in files hold
what people need (`shown`, `told`).
"""

import os
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

# Pictures within a page: no text, and most of it.
_DATA = re.compile(r"(base64,[A-Za-z0-9+/=]+)")
_BEFORE = r"(?<![\w/.+])"
# An absolute path in a text: folders, then a name. Behind these signs a slash is none of a path: of
# an address, a fraction, an element of HTML.
_POSIX = re.compile(r"(?:file://|(?<![\w:/.~+<-]))/(?:[^\s/:;,'\"<>()&]+/)+(?=[^\s/])")
# At the head of a message, before the colon, blanks are part of the path too.
_LEADING = re.compile(r"^(?:/|\\\\|[A-Za-z]:[\\/])[^:\n<>]*[\\/](?=[^\\/:\n]+:)", re.MULTILINE)
# A folder that a server shares: `\\server\share\…`.
_SHARED = re.compile(r"(?<![\w\\])\\\\(?:[^\s\\/:;,'\"<>()&]+\\)+(?=[^\s\\])")
_WINDOWS = re.compile(r"(?<![\w/])[A-Za-z]:[\\/](?:[^\s\\/:;,'\"<>()&]+[\\/])+(?=[^\s\\/])")


def recorded(path: Path | str, folder: Path) -> str:
    """A path as a file in `folder` holds it: relative to `folder`, with slashes.

    Absolute where no relative path leads there: on another drive of Windows.
    """
    absolute = Path(path).absolute()
    if ".." in absolute.parts:  # behind a link it leads up from where the link leads to
        absolute = absolute.parent.resolve() / absolute.name
    try:
        return Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:
        return str(absolute)


def recalled(text: str, folder: Path) -> Path:
    """The absolute path that `recorded` wrote into a file of `folder`, wherever that is now.

    An absolute one, as older versions wrote, stays as it is.
    """
    if Path(text).is_absolute():
        return Path(text)
    return Path(os.path.normpath(folder.resolve() / text))


def from_here(path: Path) -> Path:
    """Relative to the current folder where it lies in it, as people name it; else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def shown(path: Path | str, folder: Path) -> str:
    """A path as a page in `folder` names it.

    A relative one as it was typed; an absolute one that lies in `folder` or beside it relative to
    it; of any other, and of `folder` itself, the name alone.
    """
    path = Path(path)
    if not path.is_absolute():
        return str(path)
    top = folder.resolve()
    for place in (path, path.resolve()):
        if place == top:
            return place.name
        if place.is_relative_to(top.parent) and top.parent != Path(top.anchor):
            return recorded(place, top)
    return path.name


def told(text: str, folder: Path, places: Iterable[Path] = ()) -> str:
    """A text for a file in `folder`, the absolute paths in it as `shown`.

    Args:
        text: plain, or HTML.
        folder: where the file lies.
        places: files and folders that the text may name, whatever signs their names hold. Of other
            absolute paths, those without blanks or at the head of a message, the name is kept.
    """
    known: dict[str, str] = {}
    top = folder.resolve()
    for place in (*places, folder, top.parent):
        for form in (place, place.absolute(), place.resolve()):
            if form.is_absolute() and form != Path(form.anchor):
                known[str(form)] = shown(form, folder)
                known[escape(str(form))] = escape(shown(form, folder))
    # The longest first: of two folders the inner one.
    forms = "|".join(re.escape(form) for form in sorted(known, key=len, reverse=True))
    places_in = re.compile(rf"{_BEFORE}(?:{forms})(?![\w-])")
    here = re.compile(rf"{_BEFORE}{re.escape(str(Path.cwd()))}[\\/]")
    pieces = _DATA.split(text)
    for number in range(0, len(pieces), 2):
        piece = places_in.sub(lambda found: known[found[0]], pieces[number])
        # What lies in the current folder goes by the name that it has there.
        for pattern in (here, _LEADING, _POSIX, _SHARED, _WINDOWS):
            piece = pattern.sub("", piece)
        pieces[number] = piece
    return "".join(pieces)


def all_told(value: Any, folder: Path, places: Iterable[Path] = ()) -> Any:
    """The same of every text in plain data as JSON holds it; keys stay."""
    if isinstance(value, str):
        return told(value, folder, places) if "/" in value or "\\" in value else value
    if isinstance(value, dict):
        return {key: all_told(each, folder, places) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [all_told(each, folder, places) for each in value]
    return value
