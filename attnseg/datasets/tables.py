"""Tables as text: rows of .csv and .tsv files, and names that are nearly another."""

import csv
import difflib
from collections.abc import Iterable
from pathlib import Path

from attnseg.errors import DataError

TABLE_SUFFIXES = (".csv", ".tsv")


def is_table(path: Path) -> bool:
    """Whether the file name says that it is a table: .csv or .tsv."""
    return path.suffix.lower() in TABLE_SUFFIXES


def read_table(path: Path, *, required: Iterable[str] = ()) -> list[dict[str, str]]:
    """Rows of a table with a header; cells without the blanks around them, empty rows left out.

    A .tsv file has tabs between its cells, a .csv file commas, or semicolons as spreadsheets of
    some languages write them.

    Args:
        path: UTF-8, with or without a byte order mark.
        required: columns that must be there.

    Raises:
        DataError: not readable, no header, a column twice or missing, a row of another length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as a table ({error}); save it as UTF-8") from None
    head = text.split("\n", 1)[0]
    separator = "\t" if path.suffix.lower() == ".tsv" else ";" if "," not in head else ","
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(text.splitlines(), delimiter=separator, strict=True)
        ]
    except csv.Error as error:
        raise DataError(f"{path}: not readable as a table ({error}); export it again") from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise DataError(f"{path}: the table is empty; it must begin with a line of column names")
    columns, *body = rows
    twice = [name for name in columns if columns.count(name) > 1]
    missing = [name for name in required if name not in columns]
    if twice or missing or "" in columns:
        fault = (
            f"no column {missing[0]!r}"
            if missing
            else f"column {twice[0]!r} comes twice"
            if any(twice)
            else "a column without a name"
        )
        raise DataError(f"{path}: {fault} (columns: {', '.join(columns)}); correct its first line")
    for number, row in enumerate(body, start=1):
        if len(row) != len(columns):
            raise DataError(
                f"{path}: row {number} ({row[0]}) has {len(row)} cells where the header has "
                f"{len(columns)}; correct it"
            )
    return [dict(zip(columns, row, strict=True)) for row in body]


def nearest(name: str, candidates: Iterable[str]) -> str:
    """` (nearest: a, b)` for a message, or nothing where no candidate is like `name`."""
    close = difflib.get_close_matches(name, sorted(set(candidates)), n=3, cutoff=0.5)
    return f" (nearest: {', '.join(close)})" if close else ""
