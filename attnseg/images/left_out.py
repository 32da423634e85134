"""What lies in a folder of scans and is none of them: other formats, and scans further below."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from attnseg.images.contents import files_below, leads_up
from attnseg.images.paths import (
    DICOM_SUFFIXES,
    UNREAD_SUFFIXES,
    has_suffix,
    is_dicom,
    is_scan,
    names_dicom,
    scan_suffix,
)

_HALVES = (".img", ".img.gz")
# What attnseg writes beside masks: a folder that holds it is a result, and no place for scans.
_RESULTS = "manifest*.jsonl"


@dataclass(frozen=True)
class LeftOut:
    """What a folder holds besides the scans that are taken.

    Args:
        unread: names of files that look like images or archives, in formats that are not read.
        dicom: names of files of DICOM.
        below: scans in the folders within, relative to the folder.
    """

    unread: tuple[str, ...]
    dicom: tuple[str, ...]
    below: tuple[Path, ...]


def left_out(folder: Path, *, taken: Collection[Path] = ()) -> LeftOut:
    """What of a folder is not taken for scans by its name; of the folders within, all scans.

    Hidden files, tables, texts and the like are not among it. Only files without a suffix are
    opened, which may be DICOM.

    Args:
        folder: whose own scans are taken.
        taken: folders within it that are taken too.
    """
    unread, dicom, below = [], [], []
    with os.scandir(folder) as found:
        names = sorted(entry.name for entry in found if not entry.name.startswith("."))
    known = {name.lower() for name in names}
    for child in (folder / name for name in names if not scan_suffix(name)):
        if child in taken:
            continue
        if has_suffix(child.name, UNREAD_SUFFIXES) or _lone_half(child.name.lower(), known):
            unread.append(child.name)
        elif child.is_dir() and not leads_up(child):
            below += [path.relative_to(folder) for path in _scans_below(child)]
        elif not child.is_dir() and names_dicom(child.name) and is_dicom(child):
            dicom.append(child.name)
    return LeftOut(tuple(unread), tuple(dicom), tuple(below))


def is_result(folder: Path) -> bool:
    """Whether attnseg wrote masks to a folder."""
    return any(folder.glob(_RESULTS))


def _lone_half(name: str, names: Collection[str]) -> bool:
    """Whether a file is the `.img` of a pair whose header is not there."""
    half = next((each for each in _HALVES if name.endswith(each)), None)
    return half is not None and name.removesuffix(half) + ".hdr" not in names


def _scans_below(folder: Path) -> list[Path]:
    """Scans by their names; where there are none, one file for all that is DICOM, or empty."""
    if is_result(folder):
        return []
    files = list(files_below(folder))
    named = [each for each in files if is_scan(each) or has_suffix(each.name, DICOM_SUFFIXES)]
    if named:
        return named
    bare = (
        each
        for each in files
        if names_dicom(each.name) and (is_dicom(each) or not each.stat().st_size)
    )
    return [found] if (found := next(bare, None)) else []
