"""Cases to predict whose channels are told by a table, or by patterns of file names."""

from collections.abc import Callable, Sequence
from pathlib import Path

from attnseg.datasets.listed import CASE, match, no_match, read_rows
from attnseg.datasets.tables import nearest
from attnseg.errors import DataError
from attnseg.images import shown
from attnseg.inference.sources import Scan


def scans_from_table(path: Path, *, channel_names: Sequence[str] = ()) -> list[Scan]:
    """Cases of a .csv or .tsv file: a column `case`, and one for each channel.

    Columns `label` and `patient` and, where `channel_names` are given, all that are not among them
    are left aside. Paths are relative to the table.

    Args:
        path: the table.
        channel_names: of the model, in its order; its columns are found by them. A table with as
            many columns, none of them named as a channel, is taken in its own order. Without
            names, all columns are channels.

    Raises:
        DataError: no such table, a channel without column, an empty cell, a file that is not there.
    """
    columns, rows = read_rows(path)
    if set(channel_names) <= set(columns):
        columns = list(channel_names) or columns
    elif len(columns) != len(channel_names) or set(columns) & set(channel_names):
        lacking = [name for name in channel_names if name not in columns]
        raise DataError(
            f"{path}: no column {lacking[0]!r}{nearest(lacking[0], columns)}; the model's channels "
            f"are {', '.join(channel_names)}: name the columns so"
        )
    scans = []
    for row in rows:
        lacking = [name for name in columns if name not in row.files]
        if lacking:
            raise DataError(
                f"{path}: line {row.line}: case {row.name!r} has no file in column {lacking[0]!r}; "
                "name it there"
            )
        files = tuple(row.files[name] for name in columns)
        for file in files:
            if not file.exists() and not file.is_symlink():  # reading a dead link says what it is
                there = (
                    [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
                )
                raise DataError(
                    f"{path}: line {row.line}: case {row.name!r}: no such file: {file}"
                    f"{nearest(file.name, there)}; correct it; paths are relative to the table"
                )
        scans.append(Scan(row.name, files))
    return sorted(scans, key=lambda scan: scan.name)


def scans_by_pattern(
    folder: Path, patterns: Sequence[str], *, say: Callable[[str], None] = lambda text: None
) -> list[Scan]:
    """Cases of a folder whose channels have names such as "{case}_t1.nii.gz".

    Args:
        folder: searched with all folders in it.
        patterns: one for each channel, in the model's order; see `attnseg.datasets.listed.match`.
        say: told which scans match no pattern.

    Raises:
        ConfigError: a pattern without `{case}`, or twice the same.
        DataError: no such folder, no case, a channel missing, two files for one channel.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; patterns are looked for in a folder")
    matched, others = match(folder, patterns)
    if not matched:
        raise no_match(folder, patterns[0], others)
    scans = []
    for name, files in matched.items():
        lacking = [pattern for pattern in patterns if pattern not in files]
        if lacking:
            expected = lacking[0].replace(CASE, name)
            beside = [path.name for path in others.values() if name in path.as_posix()]
            raise DataError(
                f"{folder}: case {name!r} has no {expected}{nearest(expected, beside)}; add it, or "
                "correct the pattern"
            )
        scans.append(Scan(name, tuple(files[pattern] for pattern in patterns)))
    if others:
        say(f"{folder}: {len(others)} file(s) match no pattern ({shown(list(others))})")
    return scans


def channel_table(scans: Sequence[Scan], channel_names: Sequence[str], *, rows: int = 3) -> str:
    """Which file was matched to which channel, for the first cases, and how many there are."""
    cells = [["case", *channel_names]]
    cells += [[scan.name, *(str(path) for path in scan.paths)] for scan in scans[:rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    more = len(scans) - rows
    return "\n".join([*lines, *([f"and {more} more case(s)"] if more > 0 else [])])
