"""BIDS as a data set: scans of `sub-*/[ses-*/]anat`, masks of `derivatives/*`, names of dseg.tsv.

After the specification 1.10: Anatomy imaging data; Derivatives, segmentations; Inheritance.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from attnseg.datasets.bids_names import CASE_COLUMN, DATATYPES, BidsName, parse_name
from attnseg.datasets.cases import Case, Found
from attnseg.datasets.findings import Finding
from attnseg.datasets.labels import IGNORE, LabelScheme
from attnseg.datasets.tables import nearest, read_table
from attnseg.errors import ConfigError, DataError
from attnseg.images import (
    DICOM_SUFFIXES,
    UNREAD_SUFFIXES,
    has_suffix,
    is_scan,
    shown,
    strip_suffix,
)
from attnseg.names import composed, on_disk, resolved


def is_bids(root: Path) -> bool:
    """Whether a folder looks like BIDS: subjects with scans."""
    return bool(_scans_below(root))


def read(root: Path, *, images: Sequence[str] = (), labels: str | None = None) -> Found:
    """Cases of a BIDS data set: one a subject, or one a session.

    Args:
        root: the folder of the raw data.
        images: for each channel what its names have behind subject and session, as "T1w",
            "ce-gadolinium_T1w" or "*_T1w"; may be left out where only one is there.
        labels: the derivative with the masks, as "manual", "manual/desc-lesion_dseg" or
            "*/*_mask"; may be left out where only one has a `dseg`.

    Raises:
        ConfigError: a choice that is open, or that nothing answers to.
        DataError: no mask at all, two files for one channel, a dseg.tsv that cannot be used.
    """
    scans, masks = _by_case(_scans_below(root)), _masks(root, every=labels is not None)
    scan_kinds, mask_kinds = _count(scans), _count(masks)
    if not mask_kinds:
        raise DataError(
            f"{root}: no mask; add them as derivatives/NAME/sub-XX/anat/sub-XX_dseg.nii.gz"
        )
    chosen = tuple(images) or (_only("data.images", root, scan_kinds),)
    for pattern in chosen:
        _refuse_absent("data.images", root, pattern, scan_kinds)
    drawn = labels or _only("data.labels", root, mask_kinds)
    drawn = drawn if "/" in drawn else f"{drawn}/*"
    _refuse_absent("data.labels", root, drawn, mask_kinds)

    originals, unused = _original_names(root)
    cases, problems, used = [], [], []
    for name in scans.keys() | masks.keys():
        case = originals.get(name.case, name.case)
        files = [_one(case, pattern, scans.get(name, {})) for pattern in chosen]
        label = _one(case, drawn, masks.get(name, {}))
        there = tuple(file for file in files if file is not None)
        if label is None and not there:
            continue
        for pattern, file in zip(chosen, files, strict=True):
            if file is None:
                problem = f"no {pattern} image{nearest(pattern, scans.get(name, {}))}"
                remedy = "add it, choose others by data.images, or move the rest out"
                problems.append(Finding(case, "fatal", problem, remedy))
        if label is None:
            problem = f"no mask {drawn}{nearest(drawn, masks.get(name, {}))}"
            remedy = "add it, choose others by data.labels, or move the scan out"
            problems.append(Finding(case, "fatal", problem, remedy))
        else:
            used.append(label)
        if len(there) == len(chosen):
            cases.append(Case(case, there, label, patient=f"sub-{name.subject}"))
    channels = tuple(pattern.strip("*_") or "image" for pattern in chosen)
    told = _told("data.images", scan_kinds, chosen) + _told("data.labels", mask_kinds, [drawn])
    told += _strangers(root) + unused
    return Found(cases, channels, _label_scheme(root, used), problems, told)


def _scans_below(root: Path) -> list[tuple[BidsName, Path]]:
    """Scans of all subjects of a data set or a derivative."""
    found = []
    for place in _places_below(root):
        folders = [place / datatype for datatype in DATATYPES]
        for path in (path for folder in folders for path in sorted(folder.glob("*"))):
            name = parse_name(path.name) if is_scan(path) else None
            if name:
                found.append((name, path))
    return found


def _places_below(root: Path) -> list[Path]:
    """Folders of subjects, and of sessions within them."""
    subjects = sorted(root.glob("sub-*/"))
    return [place for subject in subjects for place in (subject, *sorted(subject.glob("ses-*/")))]


def _strangers(root: Path) -> tuple[str, ...]:
    """Files that look like scans and are none of the data set, in sentences."""
    unnamed, unread = [], []
    for top in (root, *sorted((root / "derivatives").glob("*/"))):
        for place in _places_below(top):
            for folder in (place, *(place / datatype for datatype in DATATYPES)):
                for path in sorted(folder.glob("[!.]*")):
                    name = path.relative_to(root).as_posix()
                    if has_suffix(path.name, (*UNREAD_SUFFIXES, *DICOM_SUFFIXES)):
                        unread.append(name)
                    elif is_scan(path) and (folder == place or not parse_name(path.name)):
                        unnamed.append(name)
    told = []
    if unread:
        told.append(f"not read: {len(unread)} file(s) ({shown(unread)}); convert them to NIfTI")
    if unnamed:
        told.append(
            f"not taken: {len(unnamed)} scan(s) without a name or place of BIDS ({shown(unnamed)});"
            " name them as sub-XX/anat/sub-XX_T1w.nii.gz"
        )
    return tuple(told)


def _by_case(
    scans: Iterable[tuple[BidsName, Path]], prefix: str = ""
) -> dict[BidsName, dict[str, Path]]:
    """Subject and session → kind → file."""
    cases: dict[BidsName, dict[str, Path]] = {}
    for name, path in scans:
        kinds = cases.setdefault(replace(name, kind=""), {})
        kind = prefix + name.kind
        if kind in kinds:
            raise DataError(
                f"{path}: {kinds[kind].name} is there too and has the same name; keep one of them"
            )
        kinds[kind] = path
    return cases


def _masks(root: Path, *, every: bool) -> dict[BidsName, dict[str, Path]]:
    """Subject and session → derivative/kind → mask; with `every` those of a single label too."""
    suffixes = ("dseg", "mask") if every else ("dseg",)
    masks: dict[BidsName, dict[str, Path]] = {}
    for folder in sorted((root / "derivatives").glob("*/")):
        for name, kinds in _by_case(_scans_below(folder), f"{folder.name}/").items():
            here = {kind: path for kind, path in kinds.items() if kind.endswith(suffixes)}
            if here:
                masks.setdefault(name, {}).update(here)
    return masks


def _count(cases: Mapping[BidsName, Mapping[str, Path]]) -> dict[str, int]:
    return dict(sorted(Counter(kind for kinds in cases.values() for kind in kinds).items()))


def _only(key: str, root: Path, kinds: Mapping[str, int]) -> str:
    """The one kind there is."""
    if len(kinds) == 1:
        return next(iter(kinds))
    raise ConfigError(
        f"{root}: {len(kinds)} kinds of files, {_listed(kinds)}; choose by {key}"
        if kinds
        else f"{root}: masks without scans; put the scans at sub-XX/anat/sub-XX_T1w.nii.gz"
    )


def _refuse_absent(key: str, root: Path, pattern: str, kinds: Mapping[str, int]) -> None:
    if not any(fnmatchcase(kind, pattern) for kind in kinds):
        raise ConfigError(
            f"{key}: 0 cases; nothing in {root} is {pattern!r}{nearest(pattern, kinds)}; there "
            f"are {_listed(kinds)}"
        )


def _listed(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} ({count})" for kind, count in kinds.items())


def _one(case: str, pattern: str, kinds: Mapping[str, Path]) -> Path | None:
    """The file of a case that a pattern means."""
    found = [kind for kind in kinds if fnmatchcase(kind, pattern)]
    if len(found) > 1:
        raise ConfigError(
            f"case {case!r}: {', '.join(sorted(found))} are all {pattern!r}; choose one of them "
            "by data.images or data.labels"
        )
    return kinds[found[0]] if found else None


def _told(key: str, kinds: Mapping[str, int], chosen: Sequence[str]) -> tuple[str, ...]:
    rest = {k: n for k, n in kinds.items() if not any(fnmatchcase(k, each) for each in chosen)}
    return (f"not used: {_listed(rest)} (see {key})",) if rest else ()


def _original_names(root: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Case by its name in BIDS → the name it had before `attnseg convert` wrote it as BIDS.

    All else that participants.tsv says is not needed, so that it is never in the way: one that
    cannot be used is told.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        return {}, ()
    try:
        table = read_table(path, required=["participant_id"], only=True)
    except DataError as error:
        return {}, (f"not used: {error}",)
    if CASE_COLUMN not in table.columns:
        return {}, ()
    return {row["participant_id"]: row[CASE_COLUMN] for row in table.rows if row[CASE_COLUMN]}, ()


def _label_scheme(root: Path, masks: Sequence[Path]) -> LabelScheme:
    """What the tables of all masks say, which must not contradict each other."""
    tables = dict.fromkeys(filter(None, (_table_of(root, mask) for mask in masks)))
    names: dict[int, str] = {}
    for path in tables:
        for value, name in read_label_table(path).items():
            if names.setdefault(value, name) != name:
                raise DataError(
                    f"{path}: label {value} is {name!r}, in another table {names[value]!r}; give "
                    "it one name"
                )
    ignore = next((value for value, name in names.items() if name == IGNORE), None)
    return LabelScheme(
        {value: names[value] for value in sorted(names) if value not in (0, ignore)}, ignore
    )


def _table_of(root: Path, mask: Path) -> Path | None:
    """The dseg.tsv that holds for a mask: the nearest of those above it that fit its name."""
    name = parse_name(mask.name)
    top = root / "derivatives"
    assert name is not None
    for folder in mask.parents:
        fitting = []
        for path in folder.glob("*dseg.tsv"):
            entities = set(path.name.removesuffix(".tsv").split("_")[:-1])
            if entities <= name.entities | set(name.case.split("_")):
                fitting.append((len(entities), path))
        if fitting:
            return max(fitting)[1]
        if folder.parent in (top, folder):
            break
    return None


def label_names_beside(mask: Path) -> dict[int, str]:
    """Names by label value from tables of `index` and `name`: `NAME.tsv` of the mask itself, as
    `attnseg convert` writes it, or the dseg.tsv of BIDS; none where there is no table.

    Raises:
        DataError: a table that cannot be used.
    """
    if not mask.name:  # the current folder, or the root of all
        return {}
    own = on_disk(mask.with_name(strip_suffix(mask.name) + ".tsv"))
    if own.is_file():
        return read_label_table(own)
    if parse_name(mask.name) is None:
        return {}
    path = resolved(mask)
    root = next((each.parent for each in path.parents if each.name == "derivatives"), None)
    table = _table_of(root, path) if root else None
    return read_label_table(table) if table else {}


def read_label_table(path: Path) -> dict[int, str]:
    """Label value → name of a table of `index` and `name`, as dseg.tsv of BIDS is one.

    Raises:
        DataError: not a table, a value that is not an integer or comes twice, a value without name.
    """
    names: dict[int, str] = {}
    for line, row in read_table(path, required=["index", "name"], only=True).numbered():
        index, name = row["index"], row["name"]
        if not index and not name:
            continue
        whole = re.fullmatch(r"(-?[0-9]+)(\.0*)?", index)
        value = int(whole[1]) if whole else 0
        if not whole or not name or names.get(value, name) != name:
            raise DataError(
                f"{path}: line {line}: label {index!r} ({name!r}); each line needs an integer of "
                "its own under `index`, and a name"
            )
        names[value] = composed(name)
    return names
