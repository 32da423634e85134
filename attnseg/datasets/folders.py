"""Folders with a fixed place for images and masks: Decathlon, nnU-Net raw, paired folders."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from attnseg.datasets.cases import Case
from attnseg.datasets.findings import Finding
from attnseg.datasets.metadata import Metadata
from attnseg.datasets.pictures import refuse_mixture
from attnseg.errors import DataError
from attnseg.images import (
    holds_labels,
    is_scan,
    left_out,
    mask_name,
    shown,
    split_channel,
    strip_suffix,
)
from attnseg.names import how_they_differ, on_disk

KINDS = (
    "NIfTI, NRRD, MetaImage or MGH volumes (.nii.gz, .nrrd, .mha, .mgz) or pictures (.png, .jpg, "
    ".tif)"
)


def recognise(root: Path, metadata: Metadata) -> str | None:
    """Which of "msd", "nnunet" and "paired" a folder is; None where it is none of them."""
    channel_files = any(split_channel(name) for name in scans_of(root / "imagesTr"))
    # Old nnU-Net files have a `training` list too, but its image names lack the `_0000`.
    listed = metadata.training is not None and any(
        on_disk(root / image).exists() for image, _ in metadata.training
    )
    if metadata.training is not None and (listed or not channel_files):
        return "msd"
    if metadata.exists and channel_files:
        return "nnunet"
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return "paired"
    return None


def msd(root: Path, metadata: Metadata) -> tuple[list[Case], list[Finding]]:
    """Cases that `training` of dataset.json lists, and problems."""
    if metadata.training is None:
        raise DataError(
            f"{root}: no dataset.json with a `training` list, which the Decathlon layout needs; "
            "add it or choose another layout"
        )
    for file in (file for pair in metadata.training for file in pair):
        if not is_scan(Path(file)):
            raise DataError(
                f"{root / 'dataset.json'}: `training` lists {file}; attnseg trains on {KINDS}: "
                "convert it"
            )
    files = [(on_disk(root / image), on_disk(root / label)) for image, label in metadata.training]
    cases = [Case(strip_suffix(image.name), (image,), label) for image, label in files]
    name, count = Counter(case.name for case in cases).most_common(1)[0] if cases else ("", 0)
    if count > 1:
        raise DataError(
            f"{root / 'dataset.json'}: `training` names {count} images {name!r}; give each case "
            "a file name of its own and list it once"
        )
    # Files that the list leaves out: a lone one is a mistake, a pair may be left out on purpose.
    listed = {file for pair in files for file in pair}
    images = _unlisted({image.parent for image, _ in files}, listed)
    labels = _unlisted({label.parent for _, label in files}, listed)
    problems = _lone({name: (path,) for name, path in images.items()}, labels)
    for name in images.keys() & labels.keys():
        problems.append(
            Finding(
                name,
                "harmless",
                "image and label are in the folder but not in dataset.json, so it is not used",
                "add it to `training`, or move it away if it is left out on purpose",
            )
        )
    return cases, problems


def _unlisted(folders: set[Path], listed: set[Path]) -> dict[str, Path]:
    return {
        name: path
        for folder in folders
        for name, path in scans_of(folder).items()
        if path not in listed
    }


def nnunet(root: Path, _: Metadata) -> tuple[list[Case], list[Finding]]:
    """Cases of imagesTr and labelsTr, one file a channel, and problems."""
    channels: dict[str, dict[int, Path]] = {}
    problems = []
    for name, path in scans_of(_required(root / "imagesTr")).items():
        if channel := split_channel(name):
            channels.setdefault(channel[0], {})[channel[1]] = path
        else:
            problems.append(
                Finding(
                    name,
                    "fatal",
                    f"image file {path.name} does not end in a channel number",
                    f"rename it to {name}_0000{path.name.removeprefix(name)}",
                )
            )
    cases, lone = _pair(
        {name: tuple(files[n] for n in sorted(files)) for name, files in channels.items()},
        scans_of(_required(root / "labelsTr"), masks=True),
        folder=root / "labelsTr",
    )
    # A wrong number of channels shows when the case is read; a gap in the numbering would not.
    for name, files in channels.items():
        if sorted(files) != list(range(len(files))):
            there = ", ".join(f"_{number:04d}" for number in sorted(files))
            problems.append(
                Finding(
                    name,
                    "fatal",
                    f"its channel files {there} are not numbered from _0000 without a gap",
                    "add the missing files or rename them",
                )
            )
    return cases, problems + lone


def paired(root: Path, _: Metadata) -> tuple[list[Case], list[Finding]]:
    """Cases of images and labels, equal names, and problems."""
    images = scans_of(_required(root / "images"))
    labels = scans_of(_required(root / "labels"), masks=True)
    return _pair({name: (path,) for name, path in images.items()}, labels, folder=root / "labels")


def _pair(
    images: Mapping[str, tuple[Path, ...]], labels: Mapping[str, Path], *, folder: Path
) -> tuple[list[Case], list[Finding]]:
    """Cases of images and the labels of the same name; what has no partner becomes a finding."""
    cases = [Case(name, files, labels.get(name)) for name, files in images.items()]
    lone = _lone(images, labels)
    return cases, [_apart(each, folder / each.case) for each in lone]


def _apart(finding: Finding, folder: Path) -> Finding:
    """What is said of an image whose mask is a folder with a file for each label."""
    if not holds_labels(folder):
        return finding
    return Finding(
        finding.case,
        "fatal",
        f"its mask {folder} is a folder with a file for each label",
        f"make one mask of it: attnseg convert {folder} {folder}.nii.gz",
    )


def _lone(images: Mapping[str, tuple[Path, ...]], labels: Mapping[str, Path]) -> list[Finding]:
    """What has no partner of the same name."""
    return [
        Finding(
            name,
            "fixable",
            f"image {images[name][0].name} has no label",
            "add its mask under the same case name or move the image out of the folder",
            "leave out",
            images[name],
        )
        for name in images.keys() - labels.keys()
    ] + [
        Finding(
            name,
            "fixable",
            f"label {labels[name].name} has no image",
            "add its image under the same case name or move the label out of the folder",
            "leave out",
            (labels[name],),
        )
        for name in labels.keys() - images.keys()
    ]


def not_taken(root: Path, folders: Iterable[Path]) -> tuple[str, ...]:
    """What lies in the folders of images and masks and is neither, in sentences.

    Args:
        root: of the data set.
        folders: whose scans are its images and masks.
    """
    told = []
    for folder in sorted(filter(Path.is_dir, folders)):
        where = folder.relative_to(root) if folder.is_relative_to(root) else folder
        rest = left_out(folder)
        if rest.unread:
            told.append(
                f"not read: {len(rest.unread)} file(s) in {where} ({shown(rest.unread)}); convert "
                "them to NIfTI or PNG"
            )
        if rest.dicom:
            told.append(
                f"not read: {len(rest.dicom)} DICOM file(s) in {where} ({shown(rest.dicom)}); "
                "`attnseg convert` makes volumes of series"
            )
        if rest.below:
            names = [each.as_posix() for each in rest.below]
            told.append(
                f"not taken: {len(names)} scan(s) in folders within {where} ({shown(names)}); move "
                "them up, or find all files by patterns of data.images and data.labels"
            )
    return tuple(told)


def _required(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, which this layout needs; add it")
    return folder


def scans_of(folder: Path, *, masks: bool = False) -> dict[str, Path]:
    """Scans of a folder by name without suffix, `masks` by that of their case (`mask_name`);
    nothing where there is no such folder."""
    files = sorted(filter(is_scan, folder.iterdir())) if folder.is_dir() else []
    refuse_mixture(folder, files)
    scans: dict[str, Path] = {}
    for path in files:
        name = mask_name(path.name) if masks else strip_suffix(path.name)
        if name in scans:
            raise DataError(
                f"{path}: {scans[name].name} is there too and has the same case name"
                f"{how_they_differ(scans[name].name, path.name)}; keep one of the two"
            )
        scans[name] = path
    return scans
