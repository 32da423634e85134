"""What became of every scan: one JSON line each, appended as it ends, never rewritten."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from attnseg import json_lines
from attnseg.inference.identity import ScanIdentity, identity_of
from attnseg.names import alike, composed, resolved
from attnseg.whereabouts import all_told, recalled, recorded

MANIFEST = "manifest.jsonl"
# Of the maps that `attnseg attention` writes: they may lie beside masks.
ATTENTION = "attention.jsonl"
# So often it is looked whether another run has begun a manifest of its own.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """One line of the manifest."""

    name: str
    state: str
    """"done", "failed", "skipped" (done before by the same model in the same way) or "elsewhere"
    (another run is predicting it); only the first two are written."""
    time: str = ""
    """When the line was written, in ISO 8601, UTC."""
    scan: ScanIdentity | None = None
    """Which scan it is of; None where it was not read."""
    reason: str = ""
    mask: str = ""
    probabilities: str = ""
    attention: tuple[str, ...] = ()
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """What changes the labels: overlap and mirroring."""
    backend: str = ""
    windows: int = 0
    tiles: tuple[int, int] = (1, 1)
    seconds: dict[str, float] = field(default_factory=dict)
    """Per stage: reading, network, export, writing."""
    peak_ram_mb: float = 0.0
    """Most memory that the process had taken until then."""
    warnings: tuple[str, ...] = ()
    """What is unlike the scans that the model was trained on."""
    volumes_ml: dict[str, float] = field(default_factory=dict)
    """Of each label; where asked for."""
    labels: dict[int, str] = field(default_factory=dict)
    """Value in the mask → name."""
    versions: dict[str, str] = field(default_factory=dict)


# What the keys of a line hold as JSON: a type, and of lists and objects that of what is in them.
_NUMBER = (int, float)
_SHAPES: dict[str, tuple[type | tuple[type, ...], type | tuple[type, ...]]] = {
    **dict.fromkeys(
        ("name", "state", "time", "reason", "mask", "probabilities", "model", "backend"),
        (str, object),
    ),
    "attention": (list, str),
    "settings": (dict, object),
    "windows": (int, object),
    "tiles": (list, int),
    "seconds": (dict, _NUMBER),
    "peak_ram_mb": (_NUMBER, object),
    "warnings": (list, str),
    "volumes_ml": (dict, _NUMBER),
    "labels": (dict, str),
    "versions": (dict, str),
}


class Manifest:
    """The manifest of an output folder; each part of a divided cohort has a file of its own.

    Args:
        folder: where the masks go.
        shard: which part, such as "2of8"; "" for a whole cohort.
    """

    def __init__(self, folder: Path, *, shard: str = "") -> None:
        self.path = folder / (f"manifest-{shard}.jsonl" if shard else MANIFEST)

    def add(self, outcome: Outcome) -> None:
        """Append one line."""
        append_outcome(self.path, outcome)

    def last_lines(self) -> dict[str, dict[str, Any]]:
        """Name → its latest line, over all parts of the cohort."""
        return {line["name"]: line for line in _all_lines(self.path.parent, "manifest*.jsonl")}


def append_outcome(path: Path, outcome: Outcome) -> None:
    """Append what became of a scan to a manifest."""
    append_line(path, asdict(outcome))


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line, with the time at which it was written; its paths relative to its folder.

    Raises:
        DiskFullError: there is no room; the file is as it was.
    """
    told = all_told({**line, "scan": None}, path.parent) | {"scan": line.get("scan")}
    placed = _with_paths(told, lambda text: recorded(text, path.parent))
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    json_lines.append_line(path, {**placed, "time": now})


def owners(
    folder: Path, *, say: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Any]]:
    """What lies in an output folder, its name in NFC → the latest line that says it was written.

    Of masks, probabilities and α, relative to the folder; of a folder with a file for each label
    the folder. They may have been removed since.

    Args:
        folder: of masks and manifests; perhaps not there yet.
        say: called with a sentence for each file with lines that are none of ours.
    """
    return {
        composed(written): line
        for line in _all_lines(folder, "manifest*.jsonl", ATTENTION, say=say)
        if line.get("state") == "done"
        for written in written_by(line)
    }


def written_by(line: Mapping[str, Any]) -> list[str]:
    """Mask, probabilities and α that a line names."""
    maps = line.get("attention")
    named = [line.get("mask"), line.get("probabilities"), *(maps if isinstance(maps, list) else ())]
    return [each for each in named if isinstance(each, str) and each]


def labels_of(line: Mapping[str, Any]) -> dict[int, str]:
    """Label value → name, as a line says; none in those of older manifests."""
    return {int(value): str(name) for value, name in (line.get("labels") or {}).items()}


def names_in_manifest(mask: Path) -> dict[int, str]:
    """Label value → name of a mask that `attnseg predict` wrote, from the manifest above it.

    Returns:
        None of them where no manifest names the mask, or names no labels.
    """
    line = line_of(mask)
    return labels_of(line) if line else {}


def line_of(mask: Path) -> dict[str, Any] | None:
    """The latest line that says that a mask was written, of a manifest in a folder above it."""
    return lines_of([mask]).get(mask)


def lines_of(masks: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """The same of many masks, of those that a manifest names."""
    known: dict[Path, dict[str, dict[str, Any]]] = {}
    found = {}
    for mask in masks:
        path = resolved(mask)
        # A mask of BIDS lies up to three folders below the manifest, one of a single label one.
        for folder in path.parents[:4]:
            if folder not in known:
                known[folder] = owners(folder)
            within = PurePosixPath(composed(path.relative_to(folder).as_posix()))
            named = [str(each) for each in (within, *within.parents) if str(each) in known[folder]]
            if named:
                found[mask] = known[folder][named[0]]
                break
    return found


def made_together(lines: Mapping[str, Mapping[str, Any]], one: str, other: str) -> bool:
    """Whether two files of a folder were made of the same scan by the same model in the same way.

    Args:
        lines: of the folder, by `owners`.
        one, other: their paths in it. What no line names is taken to be in order.
    """
    first, second = lines.get(composed(one)), lines.get(composed(other))
    if first is None or second is None:
        return True
    known, other_known = identity_of(first), identity_of(second)
    same_scan = known is None or other_known is None or known.content == other_known.content
    return same_scan and all(first.get(key) == second.get(key) for key in ("model", "settings"))


def versions() -> dict[str, str]:
    """What a line says of the software that made a mask."""
    import torch

    import attnseg

    return {
        "attnseg": attnseg.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _all_lines(
    folder: Path, *patterns: str, say: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """The lines of all files, in the order in which they were written."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    lines: list[dict[str, Any]] = []
    for path in sorted(paths, key=_age):
        found, damaged = _parsed(json_lines.read_bytes(path), path.parent)
        lines += found
        if damaged:
            say(
                f"note: {path}: {damaged} line(s) that were cut short or are damaged are left out; "
                "scans that no other line calls done are done again"
            )
    # Those of older versions have no time, and were written before the others.
    return sorted(lines, key=lambda line: str(line.get("time") or ""))


class NewLines:
    """What is written to the manifests of a folder from now on, by whatever process.

    Args:
        folder: of masks; perhaps not there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A line that a kill or a full disk cut short is not counted: it may yet be mended.
        self._read = {path: _whole(json_lines.read_bytes(path)) for path in _manifests(folder)}
        self._read.setdefault(folder / MANIFEST, 0)
        self._looked = time.monotonic()
        self._owners: dict[str, dict[str, dict[str, Any]]] = {}
        self.written: set[str] = set()
        """What new lines say was written, in NFC, as far as they have been read."""

    def of(self, name: str) -> dict[str, dict[str, Any]]:
        """File → the latest new line that says it was written of the scan of that name."""
        # To list a folder of 10,000 masks takes some milliseconds, for each of as many scans.
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._read |= dict.fromkeys(set(_manifests(self._folder)) - self._read.keys(), 0)
            self._looked = time.monotonic()
        for path in self._read:
            self._take(path)
        return self._owners.get(alike(name), {})

    def _take(self, path: Path) -> None:
        begin = self._read[path]
        if not path.exists() or path.stat().st_size <= begin:
            return
        with path.open("rb") as stream:
            stream.seek(begin)
            content = stream.read()
        whole = _whole(content)
        self._read[path] = begin + whole
        for line in _parsed(content[:whole], path.parent)[0]:
            if line.get("state") == "done":
                mine = self._owners.setdefault(alike(line["name"]), {})
                mine |= {composed(written): line for written in written_by(line)}
                self.written |= mine.keys()


def _whole(content: bytes) -> int:
    """Bytes of whole lines."""
    return content.rfind(b"\n") + 1


def _manifests(folder: Path) -> list[Path]:
    return [path for pattern in ("manifest*.jsonl", ATTENTION) for path in folder.glob(pattern)]


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _parsed(content: bytes, folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Lines of ours, and how many others there are: the scan of one that a kill cut short, or that
    is damaged, is simply done again."""
    lines, damaged = json_lines.parse_lines(content)
    sound = [
        placed | {"name": composed(placed["name"])}
        for line in lines
        if _is_sound(line)
        for placed in [_with_paths(line, lambda text: str(recalled(text, folder)))]
    ]
    return sound, damaged + len(lines) - len(sound)


def _is_sound(line: Mapping[str, Any]) -> bool:
    """Whether a line is one of ours; what it says of its scan is looked at by `identity_of`.

    By hand, for pydantic takes no text with the bytes of a name that is no UTF-8.
    """
    held = {key: line[key] for key in _SHAPES if key in line}
    return (
        {"name", "state"} <= held.keys()
        and all(_fits(value, *_SHAPES[key]) for key, value in held.items())
        and all(value.lstrip("-").isdecimal() for value in held.get("labels", ()))
    )


def _fits(value: Any, kind: type | tuple[type, ...], within: type | tuple[type, ...]) -> bool:
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(
        isinstance(each, within) and (within is object or not isinstance(each, bool))
        for each in held
    )


def _with_paths(line: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The line with the paths of its scan changed; as it is where it names none."""
    scan = line.get("scan")
    try:
        sources = [{**each, "path": change(each["path"])} for each in scan["sources"]]  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return dict(line)
    return {**line, "scan": {**scan, "sources": sources}}  # type: ignore[dict-item]
