"""What a path or a pattern that was typed stands for: DICOM places, and files of scans."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError
from attnseg.images import (
    SCAN_SUFFIXES,
    UNREAD_SUFFIXES,
    LeftOut,
    absence,
    half_of_a_pair,
    has_suffix,
    holds_dicom,
    is_dicom,
    is_scan,
    leads_up,
    left_out,
    scan_suffix,
    shown,
)

_READ = f"{', '.join(SCAN_SUFFIXES)} or DICOM"


@dataclass(frozen=True)
class Place:
    """What a path stands for.

    Args:
        dicom: folders, archives and files of DICOM, a scan each.
        files: of scans, or of channels of scans.
        notes: what lies there and is not taken, in sentences.
    """

    dicom: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def look_at(path: Path) -> Place:
    """What a file or a folder stands for.

    A folder in which DICOM files lie is one scan, all below it included. If other scans lie in it
    too, those are taken that are more files. A folder with neither stands for the folders in it
    that hold DICOM.

    Raises:
        DataError: nothing there can be read.
    """
    if path.is_dir():
        return _folder(path)
    if _is_dicom_file(path):
        return Place(dicom=(path,))
    # A link that leads nowhere is one bad scan among others: reading says what it is.
    if not path.exists() and not (path.is_symlink() and is_scan(path)):
        raise DataError(absence(path))
    if has_suffix(path.name, (".img", ".img.gz")):
        raise DataError(half_of_a_pair(path))
    if not is_scan(path):
        raise DataError(
            f"{path}: not a scan that attnseg reads ({_READ}); convert it to NIfTI or PNG"
        )
    return Place(files=(path,))


def matches(text: str) -> tuple[list[Path], list[str]]:
    """A path, or what a pattern matches: scans, and folders that hold DICOM.

    Returns:
        The paths, and what matches the pattern too and is not taken, in sentences.

    Raises:
        DataError: no scan matches.
    """
    path = Path(text)
    if path.exists() or path.is_symlink() or not any(sign in text for sign in "*?["):
        return [path], []
    base = Path(path.anchor) if path.is_absolute() else Path()
    pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else text
    every = [child for child in sorted(base.glob(pattern)) if not child.name.startswith(".")]
    found = [
        child
        for child in every
        if (holds_dicom(child) if child.is_dir() else is_scan(child) or _is_dicom_file(child))
    ]
    others = [child for child in every if child not in set(found)]
    folders = [each for each in others if each.is_dir() and any(map(is_scan, each.iterdir()))]
    notes = []
    if folders:
        notes.append(
            f"{text}: {len(folders)} folder(s) that it matches hold scans, which are not taken "
            f"({shown([each.name for each in folders])}); give '{text}/*' for them"
        )
    unread = [each.name for each in others if has_suffix(each.name, UNREAD_SUFFIXES)]
    if unread:
        notes.append(_unread(text, unread))
    if not found:
        more = f"; {notes[0].removeprefix(f'{text}: ')}" if notes else "; check it"
        raise DataError(f"{text}: no scan ({_READ}) matches this pattern{more}")
    return found, notes


def _is_dicom_file(path: Path) -> bool:
    if has_suffix(path.name, ".zip"):
        return path.is_file()
    return not is_scan(path) and (path.is_file() or path.is_symlink()) and is_dicom(path)


def _folder(folder: Path) -> Place:
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    own = [child for child in children if is_scan(child)]
    rest = [child for child in children if not is_scan(child)]
    # The directory of a disc (PS3.10, 8.6) lies above its studies and is no image.
    files = [each for each in rest if not each.is_dir() and each.name.upper() != "DICOMDIR"]
    if not own and any(map(is_dicom, files)):
        return Place(dicom=(folder,))
    folders = (
        []
        if own
        else [each for each in rest if each.is_dir() and not leads_up(each) and holds_dicom(each)]
    )
    out = left_out(folder, taken=folders)
    if len(out.dicom) > len(own):
        return Place(dicom=(folder,))
    notes = _told(folder, out)
    if out.dicom:
        notes.append(
            f"{folder}: {len(out.dicom)} DICOM file(s) beside {len(own)} other scan(s) are not "
            f"taken ({shown(out.dicom)}); give them by their own names, or move them to a folder"
        )
    if not own and not folders:
        plain = not out.below and not any(has_suffix(name, ".zip") for name in out.unread)
        inside = _contents(folder) if plain else notes[0].removeprefix(f"{folder}: ")
        raise DataError(f"{folder}: no scans ({_READ}) in this folder; {inside}")
    return Place(tuple(folders), tuple(own), tuple(notes))


def _told(folder: Path, rest: LeftOut) -> list[str]:
    """What lies in a folder of scans and is not taken, in sentences."""
    notes = []
    if rest.below:
        first = rest.below[0]
        ending = scan_suffix(first.name)
        steps = ["*"] * (len(first.parts) - 1)
        glob = folder.joinpath(*steps, f"*{ending}") if ending else folder / first.parent
        notes.append(
            f"{folder}: {len(rest.below)} scan(s) lie in folders within and are not taken "
            f"({shown([each.as_posix() for each in rest.below])}); give '{glob}' for them"
        )
    if rest.unread:
        notes.append(_unread(str(folder), rest.unread))
    return notes


def _unread(where: str, names: Sequence[str]) -> str:
    archives = [name for name in names if has_suffix(name, ".zip")]
    remedy = (
        "give archives of DICOM by their own names" if archives else "convert them to NIfTI or PNG"
    )
    return f"{where}: {len(names)} file(s) are not read ({shown(names)}); {remedy}"


def _contents(folder: Path) -> str:
    files = [child for child in folder.iterdir() if not child.is_dir()]
    if files and not any(child.stat().st_size for child in files if child.exists()):
        return f"it holds {len(files)} empty file(s) or links: copy them again from their source"
    kinds = Counter(child.suffix.lower() or "other" for child in folder.iterdir())
    if not kinds:
        return "it is empty: give a folder with scans"
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"it holds {listed}: convert them, or give another folder"
