"""Where the files of a data set go in each layout, and the texts that lie beside them. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnseg.datasets.bids_names import (
    CASE_COLUMN,
    DATATYPES,
    DERIVATIVE,
    description,
    kind_of_channel,
    label_table,
    mask_path,
    name_of_case,
    unknown_suffixes,
)
from attnseg.datasets.cases import Case, Dataset
from attnseg.datasets.labels import IGNORE, PRESENT
from attnseg.errors import DataError, refuse_unknown
from attnseg.images import scan_suffix
from attnseg.names import alike

WRITTEN_LAYOUTS = ("paired", "msd", "nnunet", "bids")


@dataclass(frozen=True)
class Target:
    """Where a case goes.

    Args:
        case: as it was found.
        images: one file that holds all channels, or one a channel; relative to the data set.
        label: its mask, relative to the data set.
    """

    case: Case
    images: tuple[Path, ...]
    label: Path


def arrange(dataset: Dataset, *, layout: str, suffix: str) -> list[Target]:
    """Targets of all cases.

    Args:
        dataset: what is to be written in another layout.
        layout: one of `WRITTEN_LAYOUTS`.
        suffix: of the files, as ".nii.gz"; pictures keep theirs.

    Raises:
        DataError: what the layout has no place for.
        UsageError: another layout.
    """
    refuse_unknown("layout", layout, WRITTEN_LAYOUTS)
    refusal = _refusal(dataset, layout=layout, suffix=suffix)
    if refusal:
        raise DataError(f"{dataset.root}: {refusal}")
    targets = [_target(dataset, case, layout, suffix) for case in dataset.cases]
    taken: dict[str, str] = {}
    for target in targets:
        for path in (*target.images, target.label):
            other = taken.setdefault(alike(path.as_posix()), target.case.name)
            if other != target.case.name:
                raise DataError(
                    f"{dataset.root}: cases {other!r} and {target.case.name!r} would both be "
                    f"written to {path}, where capitals make no difference; rename one"
                )
    return targets


def texts(
    dataset: Dataset, targets: Sequence[Target], *, layout: str, version: str
) -> dict[Path, str]:
    """Path within the data set → text, of all that is neither scan nor mask.

    Args:
        dataset: what was written.
        targets: of the cases that were.
        layout: one of `WRITTEN_LAYOUTS`.
        version: of attnseg.
    """
    if layout == "bids":
        return _bids_texts(dataset, targets, version)
    content: dict[str, Any] = {
        "name": _name(dataset),
        "channel_names" if layout != "msd" else "modality": {
            str(number): name for number, name in enumerate(dataset.channel_names)
        },
        **_labels(dataset, by_value=layout != "nnunet"),
        "numTraining": len(targets),
    }
    present = {
        each.case.name: list(each.case.labels_present)
        for each in targets
        if each.case.labels_present is not None
    }
    if present:
        content[PRESENT] = present
    if layout == "nnunet" and targets:
        content["file_ending"] = scan_suffix(targets[0].label.name)
    if layout == "msd":
        content["tensorImageSize"] = "3D" if dataset.num_channels == 1 else "4D"
        content["training"] = [
            {"image": f"./{each.images[0].as_posix()}", "label": f"./{each.label.as_posix()}"}
            for each in targets
        ]
    return {Path("dataset.json"): _json(content)}


def _refusal(dataset: Dataset, *, layout: str, suffix: str) -> str:
    several = dataset.num_channels > 1
    one_file = layout in ("paired", "msd")
    if dataset.pictures:
        if layout == "bids":
            return "pictures have no place in BIDS; choose --layout nnunet or paired"
        if one_file and any(len(case.images) > 1 for case in dataset.cases):
            return "pictures of single channels stay single files; choose --layout nnunet"
        return ""
    if several and one_file and suffix != ".nii.gz":
        return (
            f"{dataset.num_channels} channels in one file are written as NIfTI only; choose "
            "--format nifti, or --layout nnunet, which has a file a channel"
        )
    names = ["background", IGNORE, *dataset.label_names.values()]
    odd = [name for name in names if names.count(name) > 1 or name.lstrip("-").isdecimal()]
    if layout == "nnunet" and odd and not dataset.regions:
        return (
            f"label name {odd[0]!r} is a number or comes twice, and nnU-Net goes by names; rename "
            "it in the source, or choose another --layout"
        )
    if layout != "bids":
        return ""
    if suffix != ".nii.gz":
        return "BIDS holds NIfTI; leave out --format"
    if dataset.regions or any(case.labels_present is not None for case in dataset.cases):
        return (
            "BIDS has no place for regions or labels_present, which would be lost; choose another "
            "--layout"
        )
    kinds = [kind_of_channel(name) for name in dataset.channel_names]
    if len(set(kinds)) < len(kinds):
        return (
            f"channels {', '.join(dataset.channel_names)} would be {', '.join(kinds)} in BIDS; "
            "give them names that differ"
        )
    return ""


def _target(dataset: Dataset, case: Case, layout: str, suffix: str) -> Target:
    if layout == "bids":
        name = name_of_case(case.name)
        stem = name.folder / DATATYPES[0] / name.case
        images = tuple(
            Path(f"{stem}_{kind_of_channel(channel)}{suffix}") for channel in dataset.channel_names
        )
        label = mask_path(Path(f"{stem}_x{suffix}"), suffix=suffix)
        assert label is not None
        return Target(case, images, Path("derivatives") / DERIVATIVE / label)
    folders = ("images", "labels") if layout == "paired" else ("imagesTr", "labelsTr")
    endings, ending = [suffix] * dataset.num_channels, suffix
    if dataset.pictures:
        # A picture may hold three channels of colour.
        endings = [scan_suffix(path.name).lower() for path in case.images]
        ending = scan_suffix(case.label.name).lower() if case.label else ".png"
    label = Path(folders[1]) / f"{case.name}{ending}"
    if layout != "nnunet":
        return Target(case, (Path(folders[0]) / f"{case.name}{endings[0]}",), label)
    images = tuple(
        Path(folders[0]) / f"{case.name}_{number:04d}{each}" for number, each in enumerate(endings)
    )
    return Target(case, images, label)


def _labels(dataset: Dataset, *, by_value: bool) -> dict[str, Any]:
    """`labels` of dataset.json: value → name as the Decathlon, or name → value as nnU-Net."""
    ignore = {} if dataset.ignore_label is None else {IGNORE: dataset.ignore_label}
    if dataset.regions:
        regions = {
            region.name: (
                region.members[0]
                if len(region.members) == 1
                and dataset.label_names.get(region.members[0]) == region.name
                else list(region.members)
            )
            for region in dataset.regions
        }
        order = [region.value for region in dataset.regions]
        return {
            "labels": {"background": 0, **regions, **ignore},
            "regions_class_order": order,
        }
    names = {0: "background", **dataset.label_names}
    if by_value:
        entries = names | {value: name for name, value in ignore.items()}
        return {"labels": {str(value): name for value, name in entries.items()}}
    return {"labels": {name: value for value, name in names.items()} | ignore}


def derivative_texts(
    names: Mapping[int, str], *, name: str, version: str, ignore: int | None = None
) -> dict[Path, str]:
    """Path within a derivative of BIDS → text, of what lies beside its masks.

    Args:
        names: label value → name.
        name: of the derivative.
        version: of attnseg.
        ignore: value of voxels that nobody labelled.
    """
    return {
        Path("dataset_description.json"): _json(
            description(name, derivative=True, version=version)
        ),
        Path("dseg.tsv"): label_table(names, ignore=ignore),
    }


def _bids_texts(dataset: Dataset, targets: Sequence[Target], version: str) -> dict[Path, str]:
    derivative = Path("derivatives") / DERIVATIVE
    originals = {name_of_case(each.case.name): each.case.name for each in targets}
    subjects = {f"sub-{name.subject}": original for name, original in originals.items()}
    renamed = any(name.case != original for name, original in originals.items())
    columns = ["participant_id", *([CASE_COLUMN] if renamed else [])]
    rows = [
        [subject, *([original] if renamed else [])]
        for subject, original in sorted(subjects.items())
    ]
    about = {CASE_COLUMN: {"Description": "Name of the case before it was written as BIDS"}}
    name = _name(dataset)
    found = {
        Path("dataset_description.json"): _json(
            description(name, derivative=False, version=version)
        ),
        Path("README.md"): f"# {name}\n\nWritten by `attnseg convert` from another layout. Masks "
        f"and the names of their labels are in {derivative.as_posix()}.\n",
        Path("participants.tsv"): "\n".join("\t".join(row) for row in [columns, *rows]) + "\n",
        **{
            derivative / path: text
            for path, text in derivative_texts(
                dataset.label_names,
                name=f"Masks of {name}",
                version=version,
                ignore=dataset.ignore_label,
            ).items()
        },
    }
    if renamed:
        found[Path("participants.json")] = _json(about)
    odd = unknown_suffixes([kind_of_channel(channel) for channel in dataset.channel_names])
    if odd:
        # The validator passes over what is listed here.
        found[Path(".bidsignore")] = "".join(f"*_{kind}.nii.gz\n" for kind in odd)
    return found


def _name(dataset: Dataset) -> str:
    return dataset.root.resolve().name.removesuffix(dataset.root.suffix)


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
