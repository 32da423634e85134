"""From a folder or a table to its cases, whatever the layout."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnseg.datasets import bids, listed
from attnseg.datasets.cases import LAYOUT_NAMES, Case, Dataset, Found
from attnseg.datasets.folders import KINDS, msd, nnunet, not_taken, paired, recognise
from attnseg.datasets.metadata import read_metadata
from attnseg.datasets.pictures import channels_of, refuse_mixture
from attnseg.datasets.tables import is_table
from attnseg.errors import ConfigError, DataError

_LOOKED_FOR = (
    "dataset.json with a `training` list (Decathlon), imagesTr/CASE_0000.nii.gz and "
    "labelsTr/CASE.nii.gz with dataset.json (nnU-Net), images/X.nii.gz and labels/X.nii.gz "
    "(paired), the same with .nrrd, .mha, .mgz, .png, .jpg or .tif, sub-*/anat and "
    "derivatives/*/sub-*/anat/*_dseg.nii.gz (BIDS); or give a .csv file, or file name patterns by "
    "data.images and data.labels"
)
_FOLDERS = {"msd": (), "nnunet": ("imagesTr", "labelsTr"), "paired": ("images", "labels")}
_OTHER_FORMATS = (".dcm", ".mnc", ".bmp", ".gif")
_FIXED = {"msd": msd, "nnunet": nnunet, "paired": paired}


def find_dataset(
    root: Path, *, layout: str = "auto", images: Sequence[str] = (), labels: str | None = None
) -> Dataset:
    """List the cases of a folder or a table; no volume is opened, of pictures only the header.

    Args:
        root: the folder of the data set, or a .csv or .tsv file that lists its cases.
        layout: one of `LAYOUT_NAMES`, or "auto" to recognise which of them it is.
        images: which files are the channels, in their order: patterns such as
            "{case}_t1.nii.gz"; of BIDS suffixes such as "T1w"; of a table names of columns.
        labels: which files are the masks: a pattern such as "{case}_seg.nii.gz"; of BIDS a
            derivative such as "manual".

    Raises:
        ConfigError: no such layout, patterns that cannot be used, choices that the layout has not.
        DataError: the folder is missing, empty, not recognised, mixes volumes and pictures, or its
            dataset.json is broken.
    """
    root = Path(root)
    if layout not in ("auto", *LAYOUT_NAMES):
        raise ConfigError(f"layout {layout!r} is unknown; use auto, {', '.join(LAYOUT_NAMES)}")
    _refuse_unusable(root)
    if layout == "auto":
        layout = find_layout(root, patterns=listed.is_pattern(images, labels)) or ""
    if not layout:
        _refuse_other_formats(root)
        raise DataError(
            f"{root}: layout not recognised (found {_content(root)}); arrange it as one of: "
            f"{_LOOKED_FOR}"
        )
    if layout in _FIXED and (images or labels):
        raise ConfigError(
            f"data.images and data.labels: a folder of the {LAYOUT_NAMES[layout]} layout names its "
            "channels itself; remove them, or set data.layout to bids, table or pattern"
        )
    if (layout == "table") != root.is_file():
        needed = "a .csv or .tsv file" if layout == "table" else "a folder"
        raise ConfigError(f"{root}: layout {layout!r} needs {needed}; give one, or another layout")
    found = _read(root, layout, images, labels)
    if not found.cases and not found.problems:
        _refuse_other_formats(root)
        raise DataError(f"{root}: no image in this {LAYOUT_NAMES[layout]} folder; add {KINDS}")
    refuse_mixture(
        root,
        (file for case in found.cases for file in (*case.images, case.label) if file is not None),
    )
    cases = sorted(found.cases, key=lambda case: case.name)
    return Dataset(
        root=root,
        layout=layout,
        cases=tuple(_with_labels_present(root, cases, found.labels.present)),
        channel_names=channels_of(cases, found.channel_names),
        label_names=found.labels.names,
        problems=tuple(sorted(found.problems, key=lambda finding: finding.case)),
        ignore_label=found.labels.ignore,
        regions=found.labels.regions,
        unmatched=found.unmatched,
    )


def find_layout(root: Path, *, patterns: bool = False) -> str | None:
    """The layout of a folder or a table by its looks; None where it is none.

    Raises:
        DataError: a broken dataset.json.
    """
    if is_table(root) and root.is_file():
        return "table"
    if patterns:
        return "pattern"
    try:
        metadata = read_metadata(root / "dataset.json")
    except DataError:
        if bids.is_bids(root):  # which has no such file; one that lies there all the same is not it
            return "bids"
        raise
    return recognise(root, metadata) or ("bids" if bids.is_bids(root) else None)


def _read(root: Path, layout: str, images: Sequence[str], labels: str | None) -> Found:
    if layout == "bids":
        return bids.read(root, images=images, labels=labels)
    if layout == "table":
        return listed.from_table(root, columns=images)
    if layout == "pattern":
        return listed.by_pattern(root, images=images, labels=labels)
    metadata = read_metadata(root / "dataset.json")
    cases, problems = _FIXED[layout](root, metadata)
    files = (file for case in cases for file in (*case.images, case.label) if file is not None)
    folders = {root / name for name in _FOLDERS[layout]} | {file.parent for file in files}
    return Found(cases, metadata.channel_names, metadata.labels, problems, not_taken(root, folders))


def _with_labels_present(
    root: Path, cases: Sequence[Case], present: Mapping[str, tuple[int, ...]]
) -> list[Case]:
    unknown = sorted(present.keys() - {case.name for case in cases})
    if unknown:
        raise DataError(
            f"{root}: `labels_present` names {len(unknown)} case(s) that are not there, such as "
            f"{unknown[0]!r}; a case is named as its mask without the suffix: correct or remove it"
        )
    return [replace(case, labels_present=present.get(case.name)) for case in cases]


def _refuse_unusable(root: Path) -> None:
    """Say in one line why nothing can be found here, if that is plain before looking closer."""
    if not root.exists():
        raise DataError(f"{root}: no such folder; check the path")
    if root.is_file() and not is_table(root):
        raise DataError(
            f"{root}: this is a file; give the folder that holds the data set, or a .csv or .tsv "
            "file that lists its cases"
        )
    if root.is_dir() and not any(root.iterdir()):
        raise DataError(f"{root}: the folder is empty; looked for {_LOOKED_FOR}")


def _refuse_other_formats(root: Path) -> None:
    """Where no case was found, say so if the folder holds images of another kind."""
    folders = [folder for folder in _places(root) if folder.is_dir()]
    suffixes = Counter(path.suffix.lower() for folder in folders for path in folder.iterdir())
    others = [(count, suffix) for suffix, count in suffixes.items() if suffix in _OTHER_FORMATS]
    if others:
        count, suffix = max(others)
        raise DataError(
            f"{root}: {count} {suffix} files; attnseg trains on {KINDS}: convert images and masks"
        )


def _places(root: Path) -> list[Path]:
    """The folder of a data set, and those in which its files may lie."""
    return [root, *(root / name for names in _FOLDERS.values() for name in names)]


def _content(root: Path) -> str:
    found = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    return ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
