"""A corrected copy of a data set: what can be mended without a person is, all else is copied."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from attnseg.datasets.case_checks import completed
from attnseg.datasets.cases import Case, Dataset
from attnseg.datasets.copies import copy_file, more_bytes, write_checked_image, write_checked_labels
from attnseg.datasets.findings import Finding, Mend
from attnseg.disk import require_room
from attnseg.errors import AttnsegError, DataError, DiskFullError, UsageError
from attnseg.files import write_text
from attnseg.images import WRITTEN_SUFFIXES, Geometry, Image, has_suffix, read_case, read_labels
from attnseg.locks import LOCK_FILE, alone_in
from attnseg.names import resolved
from attnseg.preprocessing.orientation import AxisOrder
from attnseg.preprocessing.straighten import onto_grid, straighten
from attnseg.whereabouts import all_told

LEFT_OUT = "left_out"


@dataclass(frozen=True)
class Fix:
    """One thing that was mended.

    Args:
        case: whose file it is.
        file: relative to the data set.
        what: the mend.
        old, new: what it replaced by what, as JSON has it.
    """

    case: str
    file: str
    what: Mend
    old: Any
    new: Any


@dataclass
class Mended:
    """What became of the findings that could be mended.

    Args:
        fixes: what was done, in the order of the cases.
        failed: case → why it was copied as it is, in one line.
        copied: how many files are as they were.
    """

    fixes: list[Fix] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    copied: int = 0


def mend_dataset(
    dataset: Dataset,
    findings: Sequence[Finding],
    folder: Path,
    *,
    on_case: Callable[[], None] = lambda: None,
) -> Mended:
    """Write a copy of the data set in which all fixable findings are mended, and `fixes.json`.

    The source is never written to. Files without a finding are copied as they are, files without a
    partner go to `left_out/`. A case that cannot be mended is copied, and told.

    Args:
        dataset: what `find_dataset` found.
        findings: what `find_problems` found in it.
        folder: of the copy; must not be there, or be empty.
        on_case: called after each case that was mended.

    Raises:
        UsageError: the folder is not empty, or lies in the data set.
        DiskFullError: there is no room; the folder is left empty, for the same command again.
        RunError: another process writes to it.
        DataError: files of a table that lie beside its folder.
    """
    folder = Path(folder)
    root = dataset.root if dataset.root.is_dir() else dataset.root.parent
    _refuse(root, folder)
    with alone_in(folder, LEFT_OUT, command="attnseg check --fix"):
        _refuse(root, folder)  # what another process has written since
        try:
            return _mend(dataset, findings, root, folder, on_case)
        except DiskFullError:  # half a copy would be in the way of the same command
            _empty(folder)
            raise


def _empty(folder: Path) -> None:
    """Remove all that lies in a folder, which was empty before, but for its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK_FILE:
            path.unlink(missing_ok=True)


def _mend(
    dataset: Dataset,
    findings: Sequence[Finding],
    root: Path,
    folder: Path,
    on_case: Callable[[], None],
) -> Mended:
    files = dict.fromkeys(_files(dataset, root))
    mended = Mended()
    cases = {case.name: case for case in dataset.cases}
    written: set[Path] = set()
    with_finding = {
        path
        for each in findings
        if each.mend and (case := cases.get(each.case))
        for path in (*case.images, case.label)
    }
    needed = sum(more_bytes(path, folder) for path in files if path not in with_finding)
    require_room(folder, needed, what="the files that are copied as they are")
    for name, of_case in _by_case(findings).items():
        case = cases.get(name)
        try:
            if lone := [path for each in of_case for path in each.files]:
                fixes = _leave_out(name, case, lone, root, folder)
                written.update(lone)
            else:
                assert case is not None, name
                if shared := written.intersection((*case.images, case.label)):
                    raise DataError(
                        f"{shared.pop()}: another case has it too; give each its own file"
                    )
                changed = _mend_case(case, dataset, {each.mend for each in of_case})
                _write(changed, dataset, root, folder)
                written.update(changed.files)
                fixes = [
                    replace(fix, file=_within(Path(fix.file), root).as_posix())
                    for fix in changed.fixes
                ]
            mended.fixes += fixes
        except DiskFullError:
            raise
        except (AttnsegError, OSError) as error:
            mended.failed[name] = str(error)
        on_case()
    for path in files:
        if path not in written:
            copy_file(path, folder / _within(path, root))
            mended.copied += 1
    content = {
        "version": 1,
        "attnseg": version("attnseg"),
        "source": str(dataset.root),
        "fixes": [asdict(fix) for fix in mended.fixes],
        "not_mended": [{"case": name, "why": why} for name, why in mended.failed.items()],
    }
    content = all_told(content, folder, [dataset.root])
    write_text(folder / "fixes.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return mended


@dataclass
class _Changed:
    """Files of a case with their new content, and what changed."""

    files: dict[Path, tuple[Image, bool]]  # and whether it is a mask
    fixes: list[Fix]


def _mend_case(case: Case, dataset: Dataset, mends: set[Mend | None]) -> _Changed:
    """Mend in memory; nothing is written.

    Raises:
        DataError: files that cannot be read.
    """
    image = read_case(case.images, num_channels=dataset.num_channels, sheared=True)
    labels = completed(read_labels(case.label), image.geometry) if case.label else None
    fixes: list[Fix] = []
    new_labels = labels
    if labels is not None and mends & {"reorient", "copy header", "resample"}:
        new_labels, fix = _placed(case, image, labels, mends)
        fixes.append(fix)
    channels: set[int] = set()
    new_image = image
    if "fill" in mends:
        new_image, values = _filled(image)
        channels = set(values)
        for number, (bad, value) in values.items():
            path = case.images[number if len(case.images) > 1 else 0]
            fixes.append(
                Fix(case.name, str(path), "fill", f"channel {number}: {bad} not finite", value)
            )
    if "straighten" in mends:
        grid = image.geometry
        if new_labels is not None:
            if not new_labels.geometry.matches(grid):
                raise DataError(f"{case.label}: not on its image's grid, which is askew; redraw it")
            on_image = Image(new_labels.array, grid, None, new_labels.path)
            new_labels = straighten(on_image, labels=True)
        new_image = straighten(new_image, labels=False)
        channels = set(range(image.array.shape[0]))
        both = [*case.images, *([case.label] if case.label else [])]
        new = place_of(new_image.geometry)
        fixes += [Fix(case.name, str(path), "straighten", place_of(grid), new) for path in both]
    files: dict[Path, tuple[Image, bool]] = {}
    for number, path in enumerate(case.images):
        if len(case.images) == 1 and channels:
            files[path] = new_image, False
        elif number in channels:
            files[path] = replace(new_image, array=new_image.array[number, None]), False
    if new_labels is not labels and new_labels is not None and case.label:
        files[case.label] = new_labels, True
    return _Changed(files, fixes)


def _placed(case: Case, image: Image, labels: Image, mends: set[Mend | None]) -> tuple[Image, Fix]:
    """The mask on its image's grid, with the header of the image."""
    old: Any = place_of(labels.geometry)
    new: Any = place_of(image.geometry)
    array = labels.array
    what: Mend = "copy header"
    if "reorient" in mends:
        what, old, new = "reorient", labels.geometry.orientation, image.geometry.orientation
        in_ras = AxisOrder.of(labels.geometry).apply(array)
        array = AxisOrder.of(image.geometry).undo(in_ras)
    elif "resample" in mends:
        what = "resample"
        array = onto_grid(labels, image.geometry, labels=True).array
    moved = Image(array, image.geometry, image.header, labels.path)
    return moved, Fix(case.name, str(case.label), what, old, new)


def _filled(image: Image) -> tuple[Image, dict[int, tuple[int, float]]]:
    """NaN and infinite voxels replaced by the smallest finite one of their channel.

    Returns:
        The image, and of each channel that changed how many voxels did, and to what.
    """
    array = image.array.copy()
    values = {}
    for number, channel in enumerate(array):
        bad = ~np.isfinite(channel)
        if bad.any() and not bad.all():
            lowest = float(channel[~bad].min())
            channel[bad] = lowest
            values[number] = int(bad.sum()), lowest
    return replace(image, array=array), values


def place_of(geometry: Geometry) -> dict[str, Any]:
    """Shape and affine as JSON has them."""
    return {"shape": list(geometry.shape), "affine": geometry.affine.tolist()}


def _write(changed: _Changed, dataset: Dataset, root: Path, folder: Path) -> None:
    """All files of a case, or none."""
    for path in changed.files:
        if not has_suffix(path.name, WRITTEN_SUFFIXES):
            raise DataError(
                f"{path}: attnseg writes .nii.gz, .nii, .nrrd and .mha; convert the data set first "
                "(`attnseg convert`)"
            )
    made = []
    try:
        for path, (image, is_mask) in changed.files.items():
            made.append(folder / _within(path, root))
            if is_mask:
                write_checked_labels(made[-1], image, dataset.label_names)
            else:
                write_checked_image(made[-1], image)
    except (DataError, OSError):
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _leave_out(
    name: str, case: Case | None, files: Sequence[Path], root: Path, folder: Path
) -> list[Fix]:
    if case is not None and case.labels_present is not None:
        raise DataError(f"{name}: `labels_present` of dataset.json lists it; remove it there")
    fixes = []
    for path in files:
        old = _within(path, root)
        new = Path(LEFT_OUT) / old
        copy_file(path, folder / new)
        fixes.append(Fix(name, old.as_posix(), "leave out", old.as_posix(), new.as_posix()))
    return fixes


def _by_case(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    cases: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.severity == "fixable":
            cases[finding.case].append(finding)
    return cases


def _refuse(root: Path, folder: Path) -> None:
    empty = folder.is_dir() and all(each.name == LOCK_FILE for each in folder.iterdir())
    if folder.exists() and not empty:
        raise UsageError(f"--fix {folder}: is there already; give a folder that is new or empty")
    source, target = resolved(root), resolved(folder)
    if target.is_relative_to(source):
        raise UsageError(f"--fix {folder}: lies in the data set; give a folder beside it")


def _files(dataset: Dataset, root: Path) -> Iterator[Path]:
    """All files of a folder; of a table itself and what it lists."""
    if dataset.root.is_dir():
        yield from _below(root, set())
        return
    yield dataset.root
    if (root / "dataset.json").is_file():
        yield root / "dataset.json"
    for case in dataset.cases:
        for path in (*case.images, *([case.label] if case.label else [])):
            _within(path, root)
            if path.is_file():
                yield path


def _within(path: Path, root: Path) -> Path:
    """The path relative to the folder of the data set, in which it must lie."""
    relative = Path(os.path.normpath(path))
    top = Path(os.path.normpath(root))
    if not relative.is_relative_to(top):
        raise DataError(
            f"{path}: lies outside {root}, the folder of the data set; move it to a place in it"
        )
    return relative.relative_to(top)


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files of a folder and the folders in it, linked ones too; of a circle each folder once."""
    if (place := resolved(folder)) in seen:
        return
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.is_dir():
            yield from _below(Path(entry.path), seen | {place})
        elif entry.is_file() and entry.name != LOCK_FILE:  # the copy has one of its own
            yield Path(entry.path)
