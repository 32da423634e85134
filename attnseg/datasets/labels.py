"""What `dataset.json` says about labels: names, what to ignore, regions, what was drawn where."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnseg.errors import DataError
from attnseg.files import load_json
from attnseg.limits import printable
from attnseg.names import composed
from attnseg.spec import Region, unnamed

IGNORE = "ignore"
PRESENT = "labels_present"
WHITE = 255


@dataclass(frozen=True)
class LabelScheme:
    """What the label values of a folder mean.

    Args:
        names: label value → name, without the background 0 and the label to ignore.
        ignore: value of voxels that nobody labelled; None where there is none.
        regions: structures that unite labels, in the order in which they are written.
        present: case name → label values that were drawn in it; cases with all labels are left out.
    """

    names: dict[int, str] = field(default_factory=dict)
    ignore: int | None = None
    regions: tuple[Region, ...] = ()
    present: dict[str, tuple[int, ...]] = field(default_factory=dict)


def read_label_scheme(folder: Path) -> LabelScheme:
    """What `dataset.json` and `labels_present.json` of a folder say; without them, nothing.

    Raises:
        DataError: a file that is not JSON, or entries of another form than the layouts have.
    """
    path = folder / "dataset.json"
    return parse_labels(path, read_json(path) if path.exists() else {})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DataError: not readable, not JSON, or no object.
    """
    try:
        content = load_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not readable as JSON ({error}); correct or re-export it"
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; it must be a JSON object {{…}}")
    return content


def parse_labels(path: Path, content: Mapping[str, Any]) -> LabelScheme:
    """The label scheme in `content` of `path`, and in a `labels_present.json` beside it."""
    entries = [(composed(name), value) for name, value in _entries(path, content.get("labels", {}))]
    ignore = next((value for name, value in entries if name == IGNORE), None)
    if isinstance(ignore, tuple):
        raise DataError(f"{path}: label {IGNORE!r} is {list(ignore)}; it must be one integer")
    foreground = [(name, value) for name, value in entries if name != IGNORE and value != 0]
    names = {value: name for name, value in foreground if isinstance(value, int)}
    regions: tuple[Region, ...] = ()
    if len(names) < len(foreground):
        # nnU-Net: as soon as one label is a list, all are regions, in the order of the file.
        regions = _regions(path, foreground, content.get("regions_class_order"))
        for region in regions:
            for value in region.members:
                names.setdefault(value, unnamed(value))
    if ignore is not None and (ignore == 0 or ignore in names):
        raise DataError(
            f"{path}: label {IGNORE!r} is {ignore}, which is the value of another label; give it "
            "a value of its own"
        )
    names = {value: names[value] for value in sorted(names)}
    return LabelScheme(names, ignore, regions, _present(path, content, names))


def _entries(path: Path, labels: Any) -> list[tuple[str, int | tuple[int, ...]]]:
    """Name and value, or name and values of a label that unites several, as they are listed.

    Decathlon and old nnU-Net write value → name, new nnU-Net name → value.
    """
    entries: list[tuple[str, int | tuple[int, ...]]] = []
    for key, entry in labels.items() if isinstance(labels, dict) else [("labels", labels)]:
        try:
            if isinstance(entry, list):
                members = tuple(sorted({_integer(member) for member in entry}))
                entries.append((key, 0 if members == (0,) else members))
            elif re.fullmatch(r"-*[0-9]+", key):
                entries.append((str(entry), _integer(key)))
            else:
                entries.append((key, _integer(entry)))
        except ValueError:
            raise DataError(
                f"{path}: label {key!r} is {entry!r}; each label needs one integer value, or, "
                "to unite several, a list of them"
            ) from None
    name_of: dict[int | tuple[int, ...], str] = {}
    for name, value in entries:
        try:
            printable(name)
        except ValueError as error:
            raise DataError(f"{path}: label {name[:20]!a} is {error}") from None
        if value in name_of:
            raise DataError(
                f"{path}: labels {name_of[value]!r} and {name!r} are both {value}; give each a "
                "value of its own"
            )
        name_of[value] = name
    return entries


def _integer(entry: Any) -> int:
    if isinstance(entry, bool) or not isinstance(entry, int | str):
        raise ValueError(entry)
    value = int(entry)
    if abs(value) >= 2**63:
        raise ValueError(f"{value} needs more than 64 bits")
    return value


def _regions(
    path: Path, entries: Sequence[tuple[str, int | tuple[int, ...]]], order: Any
) -> tuple[Region, ...]:
    whole = isinstance(order, list) and all(
        type(value) is int and 0 < abs(value) < 2**63 for value in order
    )
    if not whole or len(order) != len(entries) or len(set(order)) != len(order):
        raise DataError(
            f"{path}: `labels` has {len(entries)} region(s), {', '.join(n for n, _ in entries)}, "
            f"and `regions_class_order` is {order!r}; it must list one value for each, without "
            "the background, all different"
        )
    regions: list[Region] = []
    for (name, value), written in zip(entries, order, strict=True):
        members = value if isinstance(value, tuple) else (value,)
        if not members or 0 in members:
            raise DataError(
                f"{path}: region {name!r} unites {list(members)}; list the labels that belong to "
                "it, without the background 0"
            )
        for earlier in regions:
            if set(members) >= set(earlier.members):
                raise DataError(
                    f"{path}: region {name!r} holds all of {earlier.name!r} and is written after "
                    f"it, which leaves nothing of {earlier.name!r}; list {name!r} first, or remove "
                    "one"
                )
        regions.append(Region(name=name, members=members, value=written))
    return tuple(regions)


def _present(
    path: Path, content: Mapping[str, Any], names: Mapping[int, str]
) -> dict[str, tuple[int, ...]]:
    beside = path.with_name(f"{PRESENT}.json")
    raw = content.get(PRESENT)
    if beside.exists():
        if raw is not None:
            raise DataError(
                f"{beside}: {path.name} has `{PRESENT}` too; keep it in one of the two files"
            )
        path, raw = beside, read_json(beside)
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise DataError(
            f"{path}: `{PRESENT}` is a {type(raw).__name__}; it must be an object such as "
            '{"case_1": [1, 2]}'
        )
    return {composed(case): _drawn(path, case, entry, names) for case, entry in raw.items()}


def _drawn(path: Path, case: str, entry: Any, names: Mapping[int, str]) -> tuple[int, ...]:
    if not isinstance(entry, list) or not entry:
        raise DataError(
            f"{path}: `{PRESENT}` of case {case!r} is {entry!r}; list the labels that were drawn "
            "in it, or leave out the case if all were"
        )
    by_name = {name: value for value, name in names.items()}
    values = set()
    for label in entry:
        value = by_name.get(composed(label)) if isinstance(label, str) else label
        # Without declared names any value may turn up in the masks.
        if type(value) is not int or value == 0 or (names and value not in names):
            known = ", ".join(f"{value} {name}" for value, name in names.items())
            raise DataError(
                f"{path}: `{PRESENT}` of case {case!r} lists {label!r}; it must be a label's "
                f"value or name ({known or 'no names are declared, so give values'})"
            )
        values.add(value)
    return tuple(sorted(values))


def white_is_one(masks: Iterable[Collection[int]], declared: Collection[int] = ()) -> bool:
    """Whether 255 in a set of picture masks is another spelling of the label 1.

    It is where masks of 0 and 255 meet masks of 0 and 1, or a declared label 1, and nothing says
    that 255 is a label of its own.

    Args:
        masks: the values of each mask.
        declared: label values that are declared, the one to ignore included.
    """
    found = [set(values) for values in masks]
    white = [values for values in found if WHITE in values]
    if not white or WHITE in declared or any(values - {0, WHITE} for values in white):
        return False
    return 1 in declared or any(1 in values for values in found)
