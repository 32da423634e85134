"""The masks of a folder, whatever wrote them: files, folders with a file for each label, and what
lies in the folders of BIDS; one list for all commands that take a folder of masks."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from attnseg.datasets import find_dataset, find_layout
from attnseg.datasets.bids_names import mask_path, parse_name
from attnseg.errors import DataError, UsageError
from attnseg.images import (
    DICOM_SUFFIXES,
    absence,
    has_suffix,
    holds_labels,
    is_result,
    is_scan,
    left_out,
    location,
    mask_name,
    names_of_files,
    shown,
    strip_suffix,
)
from attnseg.inference.manifest import labels_of, lines_of, owners
from attnseg.inference.sources import Scan
from attnseg.names import composed, how_they_differ, on_disk

# What `attnseg predict` and `attnseg attention` write beside the mask of the same name.
_BESIDE = re.compile(r"_(probabilities|attention(_overlay)?(_gate\d+)?)$")


def masks_in(folder: Path) -> dict[str, Path]:
    """Case name → mask, in order of the names; a mask is a file, or a folder of its labels.

    Taken are the masks that lie in the folder itself, and those in folders within that its manifest
    names: the folders of `--per-label`, the files of `--bids`. Where there is none of them, a
    folder of BIDS gives its masks, a data set its labels, and any other folder those in it that
    hold images alone: the labels of a mask. A mask of BIDS goes by its name without `_dseg`.

    Raises:
        DataError: no such folder, no mask, or two of one case.
    """
    if not folder.is_dir():
        raise DataError(absence(folder))
    written = owners(folder)
    named = _named(path for path in sorted(folder.iterdir()) if is_scan(path))
    named += _named(_within(folder, written))
    if not named and not written:
        named = _without_manifest(folder)
    names = {name for name, _ in named}
    masks: dict[str, Path] = {}
    for name, path in sorted(named):
        if _BESIDE.search(name) and _BESIDE.sub("", name) in names:
            continue
        if name in masks:
            raise DataError(
                f"{folder}: {masks[name].name} and {path.name} are both case {name}"
                f"{how_they_differ(masks[name].name, path.name)}; keep one"
            )
        masks[name] = path
    if not masks:
        raise DataError(
            f"{folder}: no mask (.nii.gz, .nrrd, .mha, .png, …) in this folder; "
            f"{_instead(folder, written)}"
        )
    return masks


def is_one_mask(path: Path) -> bool:
    """Whether a path is a single mask: a file, or a folder of labels that a manifest above it
    names. Of another folder that holds images nobody knows; see `holds_labels`."""
    return path.is_file() or (holds_labels(path) and bool(lines_of([path])))


def names_of_masks(masks: Iterable[Path]) -> dict[int, str]:
    """Label value → name, as the manifests above the masks say; of a folder with a file for each
    label that no manifest names, as the files are called. None where the masks do not agree.

    Raises:
        DataError: files of labels that cannot be read.
    """
    masks = list(masks)
    lines = lines_of(masks)
    names: dict[int, str] = {}
    for mask in masks:
        own = labels_of(lines[mask]) if mask in lines else {}
        if not own and mask.is_dir():
            own = names_of_files(mask)
        if any(names.setdefault(value, name) != name for value, name in own.items()):
            return {}
    return names


def not_taken(*places: Path) -> tuple[str, ...]:
    """What lies in folders of masks and is not taken for one, a sentence for each folder.

    What `attnseg predict` wrote is none of it, nor is what lies beside the masks of a data set.
    """
    told = []
    for folder in dict.fromkeys(place for place in places if place.is_dir()):
        if is_result(folder) or not any(map(is_scan, folder.iterdir())):
            continue
        if rest := _rest(folder):
            told.append(f"{folder}: {rest}")
    return tuple(told)


def case_of(path: Path) -> str:
    """The case of a mask: of a file its name without suffix, channel number and BIDS's `dseg`; of a
    folder of labels its name."""
    if not is_scan(path):
        return composed(path.name).removesuffix("_0000")
    parts = parse_name(path.name)
    if parts is not None and parts.kind.split("_")[-1] == "dseg":
        return strip_suffix(path.name).removesuffix("_dseg")
    return mask_name(path.name).removesuffix("_0000")


def without_results(scans: Sequence[Scan], *, say: Callable[[str], None]) -> list[Scan]:
    """The scans without what attnseg itself wrote, as the manifest beside it says.

    Raises:
        UsageError: nothing else is there.
    """
    written: dict[Path, Collection[str]] = {}
    results = []
    for scan in scans:
        path = location(scan.paths[0])
        for folder in (path.parent, path.parent.parent):  # of `--per-label` it lies one above
            if folder not in written:
                written[folder] = owners(folder).keys()
            if composed(path.relative_to(folder).parts[0]) in written[folder]:
                results.append(scan)
                break
    if not results:
        return list(scans)
    what = (
        f"{location(results[0].paths[0])}: attnseg wrote {len(results)} of {len(scans)} file(s), "
        "as the manifest beside says, and predicts scans"
    )
    if len(results) == len(scans):
        raise UsageError(f"{what}; give their folder, or move the manifest away if these are scans")
    say(f"note: {what}: left out")
    return [scan for scan in scans if scan not in results]


def bids_case(name: str) -> str:
    """What the mask of a scan goes by in BIDS: `sub-01_T1w` → `sub-01`; any other name as it is."""
    path = mask_path(Path(f"{name}.nii.gz"))
    return name if path is None else case_of(path)


def _named(paths: Iterable[Path]) -> list[tuple[str, Path]]:
    return [(case_of(path), path) for path in paths]


def _within(folder: Path, written: Iterable[str]) -> list[Path]:
    """The masks in folders within that a manifest names, as far as they are there."""
    paths = [on_disk(folder / name) for name in sorted(written)]
    return [
        path
        for path in paths
        if holds_labels(path) or (path.parent != folder and is_scan(path) and path.is_file())
    ]


def _without_manifest(folder: Path) -> list[tuple[str, Path]]:
    if bids := sorted(path for path in folder.glob("sub-*/**/*_dseg.*") if is_scan(path)):
        return _named(bids)
    if find_layout(folder) is not None:
        cases = find_dataset(folder).cases
        return [(case.name, case.label) for case in cases if case.label is not None]
    folders = [path for path in sorted(folder.iterdir()) if holds_labels(path)]
    return _named(path for path in folders if not any(map(Path.is_dir, path.iterdir())))


def _rest(folder: Path) -> str:
    """What is not compared of a folder, in words; "" where that is nothing."""
    rest = left_out(folder)
    names = [*rest.unread, *rest.dicom, *(path.as_posix() for path in rest.below)]
    return (
        f"{len(names)} file(s) are not compared, in folders within or in formats that are not read "
        f"({shown(names)}); convert them, or give their own folder"
        if names
        else ""
    )


def _instead(folder: Path, written: Iterable[str]) -> str:
    """What a folder without a mask holds, and what to do."""
    drawn = [name for name in written if has_suffix(name, DICOM_SUFFIXES)]
    if drawn:
        return (
            f"its masks are DICOM objects ({shown(drawn)}); `attnseg convert {folder / drawn[0]} "
            "OUT --like SCAN` makes a label map of each"
        )
    return _rest(folder) or "check the path"
