"""From a folder to its cases: Medical Segmentation Decathlon, nnU-Net raw, or paired folders."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from attnseg.datasets.cases import LAYOUT_NAMES, Case, Dataset
from attnseg.datasets.findings import Finding
from attnseg.datasets.metadata import Metadata, read_metadata
from attnseg.datasets.pictures import channels_of, refuse_mixture
from attnseg.errors import ConfigError, DataError
from attnseg.images import is_scan, split_channel, strip_suffix

_LOOKED_FOR = (
    "dataset.json with a `training` list (Decathlon), imagesTr/CASE_0000.nii.gz and "
    "labelsTr/CASE.nii.gz with dataset.json (nnU-Net), images/X.nii.gz and labels/X.nii.gz "
    "(paired), or the same with .png, .jpg or .tif"
)
_KINDS = "NIfTI volumes (.nii.gz, .nii) or pictures (.png, .jpg, .tif)"
_FOLDERS = ("imagesTr", "labelsTr", "images", "labels")
_OTHER_FORMATS = (".dcm", ".nrrd", ".mha", ".mhd", ".mgz", ".hdr", ".mnc", ".bmp", ".gif")


def find_dataset(root: Path, *, layout: str = "auto") -> Dataset:
    """List the cases of a folder; no volume is opened, of pictures no more than the header.

    Args:
        root: the folder of the data set.
        layout: "msd", "nnunet", "paired", or "auto" to recognise which of them it is.

    Raises:
        ConfigError: no such layout.
        DataError: the folder is missing, empty, not recognised, mixes volumes and pictures, or its
            dataset.json is broken.
    """
    root = Path(root)
    if layout not in ("auto", *LAYOUT_NAMES):
        raise ConfigError(f"layout {layout!r} is unknown; use auto, {', '.join(LAYOUT_NAMES)}")
    _refuse_unusable(root)
    metadata = read_metadata(root / "dataset.json")
    if layout == "auto":
        layout = _recognise(root, metadata)
    readers = {"msd": _msd, "nnunet": _nnunet, "paired": _paired}
    cases, problems = readers[layout](root, metadata)
    if not cases:
        _refuse_other_formats(root)
        raise DataError(f"{root}: no image in this {LAYOUT_NAMES[layout]} folder; add {_KINDS}")
    refuse_mixture(
        root, (file for case in cases for file in (*case.images, case.label) if file is not None)
    )
    cases.sort(key=lambda case: case.name)
    return Dataset(
        root=root,
        layout=layout,
        cases=tuple(_with_labels_present(root, cases, metadata.labels.present)),
        channel_names=channels_of(cases, metadata.channel_names),
        label_names=metadata.labels.names,
        problems=tuple(sorted(problems, key=lambda finding: finding.case)),
        ignore_label=metadata.labels.ignore,
        regions=metadata.labels.regions,
    )


def _with_labels_present(
    root: Path, cases: list[Case], present: Mapping[str, tuple[int, ...]]
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
    if not root.is_dir():
        raise DataError(f"{root}: this is a file; give the folder that holds the data set")
    if not any(root.iterdir()):
        raise DataError(f"{root}: the folder is empty; looked for {_LOOKED_FOR}")


def _refuse_other_formats(root: Path) -> None:
    """Where no case was found, say so if the folder holds images of another kind."""
    folders = [folder for folder in (root, *(root / name for name in _FOLDERS)) if folder.is_dir()]
    suffixes = Counter(path.suffix.lower() for folder in folders for path in folder.iterdir())
    others = [(count, suffix) for suffix, count in suffixes.items() if suffix in _OTHER_FORMATS]
    if others:
        count, suffix = max(others)
        raise DataError(
            f"{root}: {count} {suffix} files; attnseg trains on {_KINDS}: convert images and masks"
        )


def _recognise(root: Path, metadata: Metadata) -> str:
    channel_files = any(split_channel(name) for name in _scans(root / "imagesTr"))
    # Old nnU-Net files have a `training` list too, but its image names lack the `_0000`.
    listed = metadata.training is not None and any(
        (root / image).exists() for image, _ in metadata.training
    )
    if metadata.training is not None and (listed or not channel_files):
        return "msd"
    if metadata.exists and channel_files:
        return "nnunet"
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return "paired"
    _refuse_other_formats(root)
    found = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
    raise DataError(
        f"{root}: layout not recognised (found {shown}); arrange it as one of: {_LOOKED_FOR}"
    )


def _msd(root: Path, metadata: Metadata) -> tuple[list[Case], list[Finding]]:
    if metadata.training is None:
        raise DataError(
            f"{root}: no dataset.json with a `training` list, which the Decathlon layout needs; "
            "add it or choose another layout"
        )
    for file in (file for pair in metadata.training for file in pair):
        if not is_scan(Path(file)):
            raise DataError(
                f"{root / 'dataset.json'}: `training` lists {file}; attnseg trains on {_KINDS}: "
                "convert it"
            )
    cases = [
        Case(strip_suffix(Path(image).name), (root / image,), root / label)
        for image, label in metadata.training
    ]
    name, count = Counter(case.name for case in cases).most_common(1)[0] if cases else ("", 0)
    if count > 1:
        raise DataError(
            f"{root / 'dataset.json'}: `training` names {count} images {name!r}; give each case "
            "a file name of its own and list it once"
        )
    # Files that the list leaves out: a lone one is a mistake, a pair may be left out on purpose.
    listed = {root / file for pair in metadata.training for file in pair}
    images = _unlisted({(root / image).parent for image, _ in metadata.training}, listed)
    labels = _unlisted({(root / label).parent for _, label in metadata.training}, listed)
    problems = _lone(images, labels)
    for name in images.keys() & labels.keys():
        problems.append(
            Finding(
                name,
                "warning",
                "image and label are in the folder but not in dataset.json, so it is not used",
                "add it to `training`, or move it away if it is left out on purpose",
            )
        )
    return cases, problems


def _unlisted(folders: set[Path], listed: set[Path]) -> dict[str, Path]:
    return {
        name: path
        for folder in folders
        for name, path in _scans(folder).items()
        if path not in listed
    }


def _nnunet(root: Path, _: Metadata) -> tuple[list[Case], list[Finding]]:
    channels: dict[str, dict[int, Path]] = {}
    problems = []
    for name, path in _scans(_required(root / "imagesTr")).items():
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
        _scans(_required(root / "labelsTr")),
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


def _paired(root: Path, _: Metadata) -> tuple[list[Case], list[Finding]]:
    images = _scans(_required(root / "images"))
    labels = _scans(_required(root / "labels"))
    return _pair({name: (path,) for name, path in images.items()}, labels)


def _pair(
    images: Mapping[str, tuple[Path, ...]], labels: Mapping[str, Path]
) -> tuple[list[Case], list[Finding]]:
    """Cases of images and the labels of the same name; what has no partner becomes a finding."""
    cases = [Case(name, files, labels.get(name)) for name, files in images.items()]
    return cases, _lone({name: files[0] for name, files in images.items()}, labels)


def _lone(images: Mapping[str, Path], labels: Mapping[str, Path]) -> list[Finding]:
    """What has no partner of the same name."""
    return [
        Finding(
            name,
            "fatal",
            f"image {images[name].name} has no label",
            "add its mask under the same case name or move the image out of the folder",
        )
        for name in images.keys() - labels.keys()
    ] + [
        Finding(
            name,
            "fatal",
            f"label {labels[name].name} has no image",
            "add its image under the same case name or move the label out of the folder",
        )
        for name in labels.keys() - images.keys()
    ]


def _required(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, which this layout needs; add it")
    return folder


def _scans(folder: Path) -> dict[str, Path]:
    """Scans of a folder by name without suffix; nothing where there is no such folder."""
    files = sorted(filter(is_scan, folder.iterdir())) if folder.is_dir() else []
    refuse_mixture(folder, files)
    scans: dict[str, Path] = {}
    for path in files:
        name = strip_suffix(path.name)
        if name in scans:
            raise DataError(
                f"{path}: {scans[name].name} is there too and has the same case name; keep one of "
                "the two"
            )
        scans[name] = path
    return scans
