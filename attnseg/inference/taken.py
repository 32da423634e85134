"""Whose masks and maps lie in an output folder: of the scans at hand, or of others of their names.

A scan is known by what it is, path and content, never by its name alone.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnseg.errors import UsageError
from attnseg.images import Geometry, Likeness
from attnseg.inference.identity import ScanIdentity, compare_scan, identity_of
from attnseg.inference.manifest import labels_of, owners
from attnseg.inference.masks import MaskFormat, off_grid
from attnseg.inference.sources import Scan
from attnseg.inference.work import reason_of
from attnseg.names import alike, composed, on_disk

Line = Mapping[str, Any]
# Of what a message is about, so many are named.
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Found:
    """What lies in an output folder under the name of a scan, or where its files are to go.

    Args:
        scan: as it is now.
        paths: of all files and folders that are there.
        lines: file or folder that is there → the line that says it was written.
        same: what was made of this scan → its identity now.
        changed: what was made of it before it changed → its identity then.
        other: what was made of another scan → the identities of that one and of this.
        unknown: what would be overwritten, and no line says what it was made of → why it does not
            lie on the scan's grid; "" where it does.
        error: why the scan cannot be compared with what lies there, in one line.
    """

    scan: Scan
    paths: tuple[str, ...] = ()
    lines: dict[str, Line] = field(default_factory=dict)
    same: dict[str, ScanIdentity] = field(default_factory=dict)
    changed: dict[str, ScanIdentity] = field(default_factory=dict)
    other: dict[str, tuple[ScanIdentity, ScanIdentity]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    error: str = ""


def find_written(
    scans: Sequence[Scan],
    folder: Path,
    written: Callable[[Scan], Sequence[str]],
    *,
    geometry_of: Callable[[Scan], Geometry],
    masks: MaskFormat | None = None,
    verify: bool = False,
    lines: Mapping[str, Line] | None = None,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> dict[str, Found]:
    """What lies in a folder of each scan, of those of which something does.

    Args:
        scans: as they are now.
        folder: of masks, maps and manifests.
        written: what will be written of a scan, relative to the folder.
        geometry_of: a scan's grid, from its headers.
        masks: how the first of `written` is written, where that is a mask.
        verify: look at every byte of every scan.
        lines: file → the line that says it was written; None: those of the folder's manifests.
        on_scan: called with every scan that was looked at.

    Raises:
        UsageError: two scans that would be written to one file.
    """
    refuse_collisions(scans, written)
    lines = owners(folder) if lines is None else lines
    by_name: dict[str, list[str]] = defaultdict(list)
    for path, line in lines.items():
        by_name[alike(line["name"])].append(path)
    found = {}
    for scan in scans:
        on_scan(scan)
        wanted = [composed(path) for path in written(scan)]
        paths = dict.fromkeys([*wanted, *by_name.get(alike(scan.name), ())])
        there = [path for path in paths if os.path.lexists(on_disk(folder / path))]
        if not there or scan.reason:
            continue
        try:
            each = _find(scan, folder, there, wanted, lines, geometry_of, masks, verify)
        except Exception as error:  # whatever is wrong with one scan is that scan's own matter
            each = Found(scan, tuple(there), error=reason_of(error))
        found[scan.name] = each
    return found


def _find(
    scan: Scan,
    folder: Path,
    there: Sequence[str],
    wanted: Sequence[str],
    lines: Mapping[str, Line],
    geometry_of: Callable[[Scan], Geometry],
    masks: MaskFormat | None,
    verify: bool,
) -> Found:
    found = Found(scan, tuple(there))
    compared: dict[ScanIdentity, tuple[Likeness, ScanIdentity]] = {}
    geometry: Geometry | None = None
    for path in there:
        line = lines.get(path)
        if line is not None:
            found.lines[path] = line
        known = identity_of(line) if line is not None else None
        if known is None:
            if path in wanted:
                geometry = geometry or geometry_of(scan)
                found.unknown[path] = misfit(found, folder, path, geometry, masks)
            continue
        if known not in compared:
            compared[known] = compare_scan(known, scan.paths, verify=verify)
        likeness, now = compared[known]
        if line and alike(line["name"]) != alike(scan.name):
            found.other[path] = known, now  # perhaps a mask where this scan's probabilities go
        elif likeness == "same":
            found.same[path] = now
        elif likeness == "changed":
            found.changed[path] = known
        else:
            found.other[path] = known, now
    return found


def refuse_taken(found: Sequence[Found], folder: Path, *, overwrite: bool | None = None) -> None:
    """Nothing that was made of one scan is overwritten by another.

    Args:
        found: what lies there.
        folder: named in the error.
        overwrite: replace what does not lie on the scan's grid and no line names; None where
            there is no such option.

    Raises:
        UsageError: a name that is taken by another scan.
    """
    option = overwrite is not None
    taken = [(each, path) for each in found for path in list(each.other)[:1]]
    if taken:
        named = "; ".join(
            f"{path} was made of {each.other[path][0]}, and {each.other[path][1]} is another scan"
            for each, path in taken[:_NAMED]
        )
        raise UsageError(
            f"{folder}: {_count(taken)}: {named}{_more(taken)}. Files are named after their "
            "scan: give another folder with -o, or rename the scan; to replace them remove them "
            "first" + ", since --overwrite does not" * option
        )
    strays = [
        (each.scan, why) for each in found for why in each.unknown.values() if why and not overwrite
    ]
    if strays:
        named = "; ".join(f"{why} ({scan.paths[0]})" for scan, why in strays[:_NAMED])
        raise UsageError(
            f"{folder}: {_count(strays)}, as it seems, though no line of a manifest says so: "
            f"{named}{_more(strays)}. Give another folder with -o, or "
            + ("--overwrite to replace them" if option else "remove them first")
        )


def refuse_written_since(
    scan: Scan, written: Sequence[str], *, folder: Path, there: Collection[str]
) -> None:
    """Nothing is overwritten that another run has made of another scan since this one began.

    Args:
        scan: of which something is to be written.
        written: what is to be written of it, relative to the folder.
        folder: of masks and manifests.
        there: what lay in the folder when this run began.

    Raises:
        UsageError: a name that another scan has taken since.
    """
    new = [
        path
        for path in map(composed, written)
        if path not in there and os.path.lexists(on_disk(folder / path))
    ]
    lines = owners(folder) if new else {}
    for path in new:
        known = identity_of(lines.get(path, {}))
        if known is not None and compare_scan(known, scan.paths)[0] != "same":
            raise UsageError(
                f"{folder / path}: another run has made it of {known} meanwhile, and "
                f"{scan.paths[0]} is another scan; give another folder with -o"
            )


def _count(taken: Sequence[object]) -> str:
    if len(taken) == 1:
        return "the name of 1 scan is taken by another scan"
    return f"the names of {len(taken)} scans are taken by other scans"


def _more(taken: Sequence[object]) -> str:
    return f"; and {len(taken) - _NAMED} more" if len(taken) > _NAMED else ""


def misfit(
    found: Found, folder: Path, path: str, geometry: Geometry, masks: MaskFormat | None
) -> str:
    """Why a file or folder cannot be of the scan; "" where it can."""
    if masks is None or path != composed(masks.target(found.scan)):
        return off_grid(on_disk(folder / path), geometry)
    names = labels_of(found.lines.get(path, {}))
    return masks.misfit(folder, found.scan, geometry, names)


def refuse_collisions(scans: Sequence[Scan], written: Callable[[Scan], Sequence[str]]) -> None:
    """Two scans of different names may still go to one file, as T1w and T2w of BIDS.

    Args:
        scans: of the whole cohort, not of one part of it.
        written: what will be written of a scan, relative to the output folder.

    Raises:
        UsageError: they do.
    """
    taken: dict[str, Scan] = {}
    for scan in scans:
        for path in () if scan.reason else written(scan):
            other = taken.setdefault(alike(path), scan)
            if other is not scan:
                raise UsageError(
                    f"{other.paths[0]} and {scan.paths[0]} would both be written to {path}; "
                    "predict them into different folders with -o"
                )
