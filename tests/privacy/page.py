"""The table of docs/security.md: which command writes which file, and what that may hold."""

import re
from dataclasses import dataclass
from pathlib import Path

from invented import PATIENT

PAGE = Path(__file__).parents[2] / "docs" / "security.md"

# The page's words → the kinds of marks that they allow.
WORDS: dict[str, frozenset[str]] = {
    "nothing": frozenset(),
    "names": frozenset({"name of a scan"}),
    "data set": frozenset({"name of the data set"}),
    "series": frozenset({"series description"}),
    "UIDs": frozenset({"UID of DICOM"}),
    "header": frozenset(PATIENT) - {"institution", "series description", "place of the picture"},
    "source": frozenset(PATIENT) - {"UID of DICOM", "series description"},
    "pixels": frozenset(),
    "shape": frozenset(),
}
# None of them allows an absolute path or a user's name.
MACHINE: dict[str, frozenset[str]] = {
    "nothing": frozenset(),
    "relative": frozenset({"name of a scan", "name of the data set"}),
    "short": frozenset({"name of a scan", "name of the data set"}),
    "the processor": frozenset(),
    "process id": frozenset(),
    "host name": frozenset({"host"}),
    "absolute paths of fonts": frozenset(),
    "as above": frozenset(),
}


@dataclass(frozen=True)
class Row:
    command: str
    patterns: tuple[str, ...]
    allowed: frozenset[str]

    def matches(self, command: str, path: Path) -> bool:
        """Whether a file that a command wrote is one of this row."""
        text = path.as_posix()
        return self.command in (command, "every") and any(
            re.fullmatch(rf"(?:.*/)?{_regex(pattern)}", text) for pattern in self.patterns
        )


def read_rows() -> list[Row]:
    """The rows of the table."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index("| command | file |") :].splitlines()
    table = lines[2 : next(n for n, line in enumerate(lines) if not line.startswith("|"))]
    rows = []
    for line in table:
        command, files, person, machine, _ = (cell.strip() for cell in line.strip("|").split("|"))
        spans = [each for each in re.findall(r"`([^`]+)`", files) if not each.startswith("--")]
        rows.append(
            Row(command, tuple(spans), _allowed(person, WORDS) | _allowed(machine, MACHINE))
        )
    return rows


def _allowed(cell: str, words: dict[str, frozenset[str]]) -> frozenset[str]:
    found = cell.split(", ")
    if found == ["as that file"]:
        return frozenset()
    return frozenset().union(*(words[word] for word in found))


def _regex(pattern: str) -> str:
    parts = re.split(r"(NAME|\*\*/|\*\*|\*|N(?![A-Z]))", pattern)
    known = {"NAME": "[^/]*", "**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "N": r"\d+"}
    return "".join(known.get(part, re.escape(part)) for part in parts)
