"""What was found in the files of a data set, kept in the run folder: `checked.json`.

Every training checks its data, further folds and resumed runs too. What was found in a case is kept
with path, size and time of its files, so that only files that are new or changed are opened again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

import attnseg
from attnseg.datasets import Case, CaseFacts, Dataset
from attnseg.datasets.labels import WHITE
from attnseg.errors import DataError
from attnseg.files import load_json, write_text
from attnseg.images.formats import files_of
from attnseg.training.cache import sources_of
from attnseg.whereabouts import all_told, recalled, recorded

_VERSION = 1
# Path, size in bytes and time of change in ns of each file of a case.
Stamps = list[list[Any]]


@dataclass(frozen=True, eq=False)
class _Known(CaseFacts):
    """As a schema: the types of its fields are checked when they are read."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)


_FACTS = TypeAdapter(_Known)


def stamps_of(case: Case) -> Stamps:
    """Of all its files; those that are not there have no size and no time.

    A folder counts as the files in it, a header as the file of its voxels too.
    """
    return [_stamp(file) for path in sources_of(case) for file in _files(path)]


def _files(path: Path) -> Sequence[Path]:
    if path.is_dir():
        return [path, *sorted(each for each in path.rglob("*") if each.is_file())]
    try:
        return files_of(path)
    except (DataError, OSError):  # reading it says what is wrong
        return [path]


def _stamp(file: Path) -> list[Any]:
    try:
        found = file.stat()
    except OSError:
        return [str(file.absolute()), None, None]
    return [str(file.absolute()), found.st_size, found.st_mtime_ns]


def load_known(path: Path, dataset: Dataset, stamps: Mapping[str, Stamps]) -> dict[str, CaseFacts]:
    """Case → what was found in it, of the cases whose files are as they were.

    Nothing of a file that is missing or damaged, or that another attnseg wrote, whose rules may be
    others. Samples of intensities are not kept: a plan cannot be made of these facts.

    Args:
        path: of the file.
        dataset: the cases.
        stamps: case → its files as they are now.
    """
    try:
        content = load_json(path)
        if content["version"] != _VERSION or content["read_as"] != _read_as(dataset):
            return {}
        kept = content["cases"]
        return {
            case.name: _FACTS.validate_python(kept[case.name]["facts"])
            for case in dataset.cases
            if case.name in kept and _recalled(kept[case.name]["files"], path) == stamps[case.name]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def save_known(
    path: Path,
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    stamps: Mapping[str, Stamps],
) -> None:
    """Keep what was found.

    Args:
        path: of the file.
        dataset: the cases.
        facts: of all cases, none with a finding that stops training.
        stamps: case → its files as they were before they were read.
    """
    cases = {
        case.name: {
            "files": [[recorded(file, path.parent), *how] for file, *how in stamps[case.name]],
            "facts": all_told(_plain(case), path.parent),
        }
        for case in facts
    }
    content = {"version": _VERSION, "read_as": _read_as(dataset), "cases": cases}
    write_text(path, json.dumps(content, default=str) + "\n")


def _recalled(stamps: Stamps, path: Path) -> Stamps:
    return [[str(recalled(file, path.parent)), *how] for file, *how in stamps]


def _read_as(dataset: Dataset) -> dict[str, Any]:
    """What shapes the facts of a case beside its files."""
    return {
        "attnseg": attnseg.__version__,
        "channels": list(dataset.channel_names),
        "labels": {str(value): name for value, name in dataset.label_names.items()},
        "ignore": dataset.ignore_label,
    }


def _plain(facts: CaseFacts) -> dict[str, Any]:
    assert not any(finding.stops for finding in facts.findings), facts.name
    plain = asdict(facts)
    del plain["foreground_sample"]
    if facts.white_as_one:
        # As it stands in the file: `inspect_dataset` decides for all cases together.
        counts = facts.label_counts.items()
        plain["label_counts"] = {WHITE if value == 1 else value: n for value, n in counts}
        plain["white_as_one"] = False
    return plain
