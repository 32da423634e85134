"""Cases that a table lists, or that file names tell by a pattern: `{case}_t1.nii.gz`."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from attnseg.datasets.cases import Case, Found
from attnseg.datasets.findings import Finding
from attnseg.datasets.labels import read_label_scheme
from attnseg.datasets.metadata import read_metadata
from attnseg.datasets.tables import nearest, read_table
from attnseg.errors import ConfigError, DataError
from attnseg.images import (
    DICOM_SUFFIXES,
    UNREAD_SUFFIXES,
    files_below,
    has_suffix,
    is_scan,
    scan_suffix,
    shown,
    strip_suffix,
)
from attnseg.names import composed, on_disk

CASE = "{case}"
_NO_CHANNELS = ("case", "label", "patient")
# Of a folder where nothing matched, so many names are compared with the pattern.
_COMPARED = 1000


@dataclass(frozen=True)
class Row:
    """One case of a table.

    Args:
        name: of the case.
        files: column → path, of the channels and of `label`; empty cells are left out.
        patient: whose scan it is; None where the table does not say.
        line: of the table, on which it stands.
    """

    name: str
    files: dict[str, Path]
    patient: str | None = None
    line: int = 0


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Channel columns and cases of a table: `case`, a column per channel, `label`, `patient`.

    Paths are relative to the table.

    Raises:
        DataError: not such a table, no channel, no case, a case without a name or named twice.
    """
    table = read_table(path, required=["case"])
    if not table.rows:
        raise DataError(f"{path}: 0 cases; below the column names, give a line for each case")
    channels = [name for name in table.columns if name not in _NO_CHANNELS]
    if not channels:
        raise DataError(
            f"{path}: no column of images (columns: {', '.join(table.columns)}); add one for each "
            "channel, named as the channel"
        )
    cases: dict[str, Row] = {}
    for line, cells in table.numbered():
        name = composed(cells["case"])
        if not name or name in cases or "/" in name or name.startswith("."):
            fault = "comes twice" if name in cases else "is no name"
            raise DataError(
                f"{path}: line {line}: case {name!r} {fault}; masks are named after cases: give "
                "each a name of its own, without slashes"
            )
        files = {
            column: on_disk(path.parent / cells[column])
            for column in (*channels, "label")
            if cells.get(column)
        }
        cases[name] = Row(name, files, composed(cells.get("patient", "")) or None, line)
    return channels, list(cases.values())


def from_table(path: Path, *, columns: Sequence[str] = ()) -> Found:
    """Cases of a table; label names come from a `dataset.json` beside it.

    Args:
        path: the table; see `read_rows`.
        columns: which columns are the channels, in their order; all of them where none is named.

    Raises:
        DataError: a table that cannot be used, or one without a column of masks.
        ConfigError: a column that is not there.
    """
    channels, rows = read_rows(path)
    if unknown := [name for name in columns if name not in channels]:
        raise ConfigError(
            f"data.images: {path} has no column {unknown[0]!r}; it has {', '.join(channels)}"
        )
    if not any("label" in row.files for row in rows):
        raise DataError(f"{path}: no mask is named; give the masks in a column `label`")
    channels = list(columns) or channels
    cases, problems = [], []
    for row in rows:
        images = {name: row.files.get(name) for name in channels}
        missing = [name for name, file in images.items() if file is None]
        problems += [
            _fatal(
                row.name,
                f"no file in column {name!r} of {path.name}, line {row.line}",
                "name it there",
            )
            for name in missing
        ]
        absent = {
            name: file
            for name, file in (images | {"label": row.files.get("label")}).items()
            # Reading a link that leads nowhere says what it is.
            if file is not None and not file.exists() and not file.is_symlink()
        }
        problems += [
            _fatal(
                row.name,
                f"no such file: {file} ({name}){nearest(file.name, _names_in(file.parent))}",
                f"correct the path in {path.name}, line {row.line}; paths are relative to it",
            )
            for name, file in absent.items()
        ]
        if "label" not in row.files:
            problems.append(_no_label(row.name))
        if not missing and not absent:
            files = tuple(file for file in images.values() if file is not None)
            cases.append(Case(row.name, files, row.files.get("label"), patient=row.patient))
    return Found(cases, tuple(channels), read_label_scheme(path.parent), problems)


def is_pattern(images: Sequence[str], labels: str | None) -> bool:
    """Whether the choice of images and labels is by `{case}`."""
    return any(CASE in text for text in (*images, labels or ""))


def match(
    folder: Path, patterns: Sequence[str]
) -> tuple[dict[str, dict[str, Path]], dict[str, Path]]:
    """Files below a folder by case and pattern, and all others by their path within the folder.

    `{case}` stands for the name of the case and `*` for anything, both within one name; a pattern
    is matched with the end of a path, so that "{case}_t1.nii.gz" is found in any folder. Where two
    patterns match a file, the one with more letters of its own takes it.

    Args:
        folder: searched with all folders in it, hidden ones left out.
        patterns: at least one.

    Returns:
        case → pattern → file, and path within `folder` → file for what no pattern matched.

    Raises:
        ConfigError: a pattern without `{case}`, or twice the same.
        DataError: two files of one case for the same pattern.
    """
    compiled = {}
    for pattern in sorted(patterns, key=lambda text: -len(text.replace("*", ""))):
        if CASE not in pattern or pattern in compiled:
            fault = "comes twice" if pattern in compiled else f"has no {CASE}"
            raise ConfigError(
                f"pattern {pattern!r} {fault}; write one for each channel, as {CASE}_t1.nii.gz"
            )
        compiled[pattern] = _compiled(pattern)
    matched: dict[str, dict[str, Path]] = defaultdict(dict)
    others = {}
    for path in _files_below(folder):
        within = path.relative_to(folder).as_posix()
        for pattern, expression in compiled.items():
            if found := expression.fullmatch(composed(within)):
                files = matched[found["case"]]
                if pattern in files:
                    raise DataError(
                        f"{path}: case {found['case']!r} has {files[pattern]} too for {pattern}; "
                        "give the folder's name in the pattern, or move one away"
                    )
                files[pattern] = path
                break
        else:
            others[within] = path
    return dict(sorted(matched.items())), others


def by_pattern(root: Path, *, images: Sequence[str], labels: str | None) -> Found:
    """Cases whose files are found by their names; label names come from `dataset.json`.

    Args:
        root: searched with all folders in it.
        images: a pattern for each channel; see `match`.
        labels: the pattern of the masks.

    Raises:
        ConfigError: patterns that cannot be used.
        DataError: no case, or two files for one.
    """
    if not images or labels is None:
        raise ConfigError(
            'data.images and data.labels: patterns are needed for both, as ["{case}_t1.nii.gz"] '
            "and {case}_seg.nii.gz"
        )
    matched, others = match(root, [*images, labels])
    if not any(pattern in files for files in matched.values() for pattern in images):
        raise no_match(root, images[0], others)
    cases, problems = [], []
    for name, files in matched.items():
        lacking = [pattern for pattern in images if pattern not in files]
        problems += [_lacking(name, pattern, others) for pattern in lacking]
        if labels not in files:
            problems.append(_no_label(name, labels, others))
        if not lacking:
            cases.append(Case(name, tuple(files[each] for each in images), files.get(labels)))
    metadata = read_metadata(root / "dataset.json")
    given = metadata.exists and len(metadata.channel_names) == len(images)
    channels = metadata.channel_names if given else pattern_names(images)
    return Found(cases, channels, metadata.labels, problems, _told(others) + _not_read(root))


def pattern_names(patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of channels: what patterns have besides the case, "t1" of "{case}_t1.nii.gz"."""
    names = []
    for number, pattern in enumerate(patterns):
        rest = strip_suffix(pattern).replace(CASE, "/").replace("*", "/")
        words = [word.strip("_-.") for word in rest.split("/")]
        names.append(next(filter(None, reversed(words)), "image" if not number else f"{number}"))
    return tuple(names)


def no_match(folder: Path, pattern: str, others: Mapping[str, Path]) -> DataError:
    """The error of a pattern that matches nothing, with the names that come nearest."""
    ending = pattern.split(CASE)[-1]
    alike = {
        name: SequenceMatcher(None, ending, name[-len(ending) :]).ratio()
        for name in list(others)[:_COMPARED]
    }
    close = ", ".join(sorted(alike, key=lambda name: -alike[name])[:3])
    shown = f" (nearest: {close})" if close else " (there is no image at all)"
    return DataError(
        f"{folder}: 0 cases; no file matches {pattern}{shown}; correct the pattern or the folder"
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    suffix = scan_suffix(pattern)
    stem = composed(strip_suffix(pattern))
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in stem.split(CASE)]
    expression = parts[0] + "(?P<case>[^/]+?)" + "(?P=case)".join(parts[1:])
    return re.compile(f"(?:.*/)?{expression}(?i:{re.escape(suffix)})")


def _files_below(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if is_scan(path)]


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _lacking(name: str, pattern: str, others: Mapping[str, Path]) -> Finding:
    expected = pattern.replace(CASE, name)
    close = nearest(expected, [path.name for path in others.values() if name in path.as_posix()])
    return _fatal(name, f"no file {expected}{close}", "add or rename it, or correct the pattern")


def _no_label(name: str, pattern: str = "", others: Mapping[str, Path] | None = None) -> Finding:
    if pattern:
        return _lacking(name, pattern, others or {})
    return _fatal(name, "it has no label", "name its mask in the column `label`, or remove the row")


def _fatal(name: str, problem: str, remedy: str) -> Finding:
    return Finding(name, "fatal", problem, remedy)


def _not_read(folder: Path) -> tuple[str, ...]:
    """Images below a folder in formats that are not read, in a sentence."""
    names = [
        path.relative_to(folder).as_posix()
        for path in files_below(folder)
        if has_suffix(path.name, (*UNREAD_SUFFIXES, *DICOM_SUFFIXES))
    ]
    if not names:
        return ()
    return (f"not read: {len(names)} file(s) ({shown(names)}); convert them to NIfTI or PNG",)


def _told(others: Mapping[str, Path]) -> tuple[str, ...]:
    if not others:
        return ()
    return (f"not matched: {len(others)} file(s) ({shown(list(others))})",)
