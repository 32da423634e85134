"""Tables as text: rows of .csv and .tsv files, and names that are nearly another."""

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError
from attnseg.files import read_text

TABLE_SUFFIXES = (".csv", ".tsv")
_SEPARATORS = (",", ";", "\t")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Args:
        path: of its file.
        columns: names, in their order.
        rows: cells by column, without the blanks around them.
        lines: of each row the line of the file on which it begins, counted from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]

    def numbered(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line and cells of each row."""
        return zip(self.lines, self.rows, strict=True)


def is_table(path: Path) -> bool:
    """Whether the file name says that it is a table: .csv or .tsv."""
    return path.suffix.lower() in TABLE_SUFFIXES


def read_table(path: Path, *, required: Collection[str] = (), only: bool = False) -> Table:
    """Rows of a table with a header, as spreadsheets and scripts save them.

    Text is read by `attnseg.files.read_text`. A .tsv file has tabs between its cells, a .csv file
    commas; another separator is taken where it is the one by which the header has the `required`
    columns. Empty lines, lines that begin with "#" and a first line "sep=;" are passed over; empty
    cells beyond the header are dropped, and those that a row lacks at its end are empty. Quotation
    marks that are not paired are plain characters.

    Args:
        path: its suffix chooses the separator.
        required: columns that must be there.
        only: whether these are all that is needed, so that faults of the others do not matter.

    Raises:
        DataError: not readable, no header, a column twice, missing or without a name, a row with
            more cells than the header.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as a table ({error}); save it as UTF-8") from None
    lines = ["" if line.lstrip().startswith("#") else line for line in text.split("\n")]
    if told := re.fullmatch(r"\s*sep=(.)\s*", lines[0], re.IGNORECASE):
        lines[0] = ""
    head = next(filter(str.strip, lines), "")
    if not head:
        raise DataError(f"{path}: the table is empty; it must begin with a line of column names")
    separator = told[1] if told else _separator(path, head, required)
    (_, columns), *rows = _rows(lines, separator)
    _refuse_long_rows(path, separator, columns, rows)
    named = [place for place, name in enumerate(columns) if name]
    _refuse_columns(path, separator, columns, [row for _, row in rows], required, only=only)
    names = list(dict.fromkeys(columns[place] for place in named))
    return Table(
        path,
        tuple(names),
        tuple(
            # From the right, so that of two columns of one name the first is kept.
            dict.fromkeys(names, "")
            | {columns[place]: row[place] for place in reversed(named) if place < len(row)}
            for _, row in rows
        ),
        tuple(number for number, _ in rows),
    )


def nearest(name: str, candidates: Iterable[str]) -> str:
    """` (nearest: a, b)` for a message, or nothing where no candidate is like `name`."""
    close = difflib.get_close_matches(name, sorted(set(candidates)), n=3, cutoff=0.5)
    return f" (nearest: {', '.join(close)})" if close else ""


def _separator(path: Path, head: str, required: Collection[str]) -> str:
    """The one by which the header has what is required; else the file's own, or the commonest."""
    own = "\t" if path.suffix.lower() == ".tsv" else ","
    others = sorted(set(_SEPARATORS) - {own}, key=lambda each: -head.count(each))
    for each in (own, *others):
        if required and set(required) <= {_bare(cell) for cell in head.split(each)}:
            return each
    return own if own in head or not head.count(others[0]) else others[0]


def _rows(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty.

    Quotation marks count where they are paired, and not where they would join lines that are rows
    of the header's length by themselves.
    """
    plain = [
        (number, [_bare(cell) for cell in line.split(separator)])
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator, strict=True)
    quoted, number = [], 1
    try:
        for row in reader:
            if any(map(str.strip, row)):
                quoted.append((number, [cell.strip() for cell in row]))
            number = reader.line_num + 1
    except csv.Error:
        return plain
    joined = any("\n" in cell for _, row in quoted for cell in row)
    return plain if joined and len({len(row) for _, row in plain}) == 1 else quoted


def _bare(cell: str) -> str:
    return cell.strip().strip('"').strip()


def _refuse_long_rows(
    path: Path, separator: str, columns: list[str], rows: Sequence[tuple[int, list[str]]]
) -> None:
    """Cells beyond the header must be empty: a separator within a name shifts what follows."""
    for number, row in rows:
        if beyond := list(filter(None, row[len(columns) :])):
            raise DataError(
                f"{path}: line {number} ({row[0]}) has {len(row)} cells where the header has "
                f"{len(columns)}, the last of them {beyond[-1]!r}; remove what is too much, or put "
                f"a cell that holds a {_NAMES.get(separator, repr(separator))} in quotation marks"
            )


def _refuse_columns(
    path: Path,
    separator: str,
    columns: Sequence[str],
    rows: Sequence[list[str]],
    required: Collection[str],
    *,
    only: bool,
) -> None:
    """Names that are missing or come twice, and cells under a column without a name.

    A first column without a name that counts the rows is the index that pandas writes.
    """
    needed = required if only else list(filter(None, columns))
    missing = [name for name in required if name not in columns]
    twice = [name for name in needed if columns.count(name) > 1]
    fault = (
        f"no column {missing[0]!r}"
        if missing
        else f"column {twice[0]!r} comes twice"
        if twice
        else ""
    )
    for place, name in enumerate(columns):
        cells = [row[place] for row in rows if place < len(row)]
        counts = place == 0 and cells == [str(number) for number in range(len(cells))]
        if not fault and not only and not name and any(cells) and not counts:
            fault = f"a column without a name that holds {next(filter(None, cells))!r}"
    if fault:
        listed = ", ".join(columns).rstrip(", ") or "none"
        between = f", a {_NAMES.get(separator, repr(separator))} between names" * bool(missing)
        raise DataError(f"{path}: {fault} (columns: {listed}); correct its first line{between}")
