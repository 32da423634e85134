"""What the user typed → scans; which model is meant; where masks go."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError, RunError, UsageError, refuse_options
from attnseg.images import (
    MASK_SUFFIXES,
    SCAN_SUFFIXES,
    Series,
    Source,
    find_source,
    holds_dicom,
    is_dicom,
    is_picture,
    is_scan,
    split_channel,
    strip_suffix,
)
from attnseg.images.formats import NO_SERIES
from attnseg.spec import ModelSpec

MODEL_NAME = "model.safetensors"
_READ = f"{', '.join(SCAN_SUFFIXES)} or DICOM"


@dataclass(frozen=True)
class Scan:
    """One case to predict.

    Args:
        name: its mask goes by it.
        paths: a file or series, or one per channel.
        notes: what the user should know of how it was found.
        reason: why it cannot be read, where that is plain already.
    """

    name: str
    paths: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def mask_suffix(self) -> str:
        """Of its mask: PNG for pictures, NIfTI for all else."""
        return ".png" if is_picture(self.paths[0]) else MASK_SUFFIXES["nifti"]

    @property
    def mask_name(self) -> str:
        """File name of its mask, where no other format is asked for."""
        return self.name + self.mask_suffix


def find_scans(
    inputs: Sequence[str | Path],
    *,
    num_channels: int,
    series: str | None = None,
    channel_names: Sequence[str] = (),
) -> list[Scan]:
    """Files, folders and globs → scans, sorted by name.

    Files named `CASE_0000`, `CASE_0001`, … are the channels of one case, as nnU-Net names them; a
    picture `CASE_0000` alone may hold the three channels of colour. A .csv or .tsv file lists
    cases, its columns found by `channel_names`; see `attnseg.inference.channels`.

    A DICOM file, a zip archive, and a folder in which DICOM files lie are one scan each; a folder
    without any scan of its own stands for the folders in it that hold DICOM. Of several series in
    one place `series` says which, or the largest is taken and told. One of several places whose
    DICOM cannot be read is a scan with a reason.

    Raises:
        DataError: a path that is not there, nothing that can be read, a channel missing.
        UsageError: two scans of the same name, such as X.png and X.jpg, for the mask and its line
            in the manifest go by it; `series`, and no scan is DICOM.
    """
    tables = [Path(text) for text in inputs if str(text).lower().endswith((".csv", ".tsv"))]
    given = [path for text in inputs if Path(text) not in tables for path in _matches(str(text))]
    files: set[Path] = set()
    scans = [scan for path in tables for scan in _listed(path, num_channels, channel_names)]
    alone = len(given) + len(tables) == 1
    for path in dict.fromkeys(given):
        found = _dicom(path, series, alone=alone)
        scans += found
        files |= set() if found else set(_expand(path))
    channels: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in sorted(files):
        channel = split_channel(strip_suffix(path.name))
        # A higher number is part of the name, as the year in scan_2019.
        if channel and channel[1] < num_channels:
            channels.setdefault((path.parent, channel[0]), {})[channel[1]] = path
        else:
            scans.append(Scan(strip_suffix(path.name), (path,)))
    for (folder, name), parts in channels.items():
        if num_channels == 3 and list(parts) == [0] and is_picture(parts[0]):
            scans.append(Scan(name, (parts[0],)))
            continue
        missing = [f"{name}_{index:04d}" for index in range(num_channels) if index not in parts]
        if missing:
            raise DataError(
                f"{folder}: channel(s) {', '.join(missing)} missing where the model needs "
                f"{num_channels}; add the files"
            )
        scans.append(Scan(name, tuple(parts[index] for index in range(num_channels))))
    refuse_twice(scans)
    if not any(isinstance(path, Series) or scan.reason for scan in scans for path in scan.paths):
        refuse_options({"--series": series}, f"what is given {NO_SERIES}")
    return sorted(scans, key=lambda scan: scan.name)


def refuse_twice(scans: Sequence[Scan]) -> None:
    """A mask and its line in the manifest go by a scan's name.

    Raises:
        UsageError: two scans of one name.
    """
    twice = [name for name, count in Counter(scan.name for scan in scans).items() if count > 1]
    if twice:
        raise UsageError(
            f"scans named {', '.join(sorted(twice))} come twice, and a mask goes by its scan's "
            "name; rename one, or predict the folders one by one with different -o"
        )


def _dicom(path: Path, series: str | None, *, alone: bool) -> list[Scan]:
    """Scans of a path that means DICOM; none where it means anything else.

    Raises:
        DataError: it cannot be read, and nothing else was given.
    """
    if path.is_file():
        return [_series(path, series, alone=alone)] if _is_dicom_file(path) else []
    if not path.is_dir():
        return []
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    if any(is_scan(child) for child in children):
        return []
    # The directory of a disc (PS3.10, 8.6) lies above its studies and is no image.
    files = [child for child in children if child.is_file() and child.name.upper() != "DICOMDIR"]
    if any(is_dicom(child) for child in files):
        return [_series(path, series, alone=alone)]
    return [
        _series(child, series, alone=False)
        for child in children
        if child.is_dir() and holds_dicom(child)
    ]


def _is_dicom_file(path: Path) -> bool:
    return path.suffix.lower() == ".zip" or (not is_scan(path) and is_dicom(path))


def _series(path: Path, series: str | None, *, alone: bool) -> Scan:
    try:
        source, note = find_source(path, series=series)
    except DataError as error:  # one bad scan never stops the others
        if alone:
            raise
        return Scan(Series(path, "", ()).name, (path,), reason=str(error))
    return Scan(source.name, (source,), (note,) if note else ())


def _listed(path: Path, num_channels: int, channel_names: Sequence[str]) -> list[Scan]:
    """Scans of a table."""
    from attnseg.inference.channels import scans_from_table

    scans = scans_from_table(path, channel_names=channel_names)
    count = len(scans[0].paths)
    if count not in {1, num_channels}:
        raise DataError(
            f"{path}: {count} files a case where the model needs {num_channels} channel(s); give "
            "the columns of its channels only"
        )
    return scans


def _matches(text: str) -> list[Path]:
    """A path, or what a pattern matches: scans, and folders that hold DICOM."""
    path = Path(text)
    if path.exists() or not any(sign in text for sign in "*?["):
        return [path]
    base = Path(path.anchor) if path.is_absolute() else Path()
    pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else text
    found = [
        child
        for child in sorted(base.glob(pattern))
        if not child.name.startswith(".")
        and (holds_dicom(child) if child.is_dir() else is_scan(child) or _is_dicom_file(child))
    ]
    if not found:
        raise DataError(f"{text}: no scan ({_READ}) matches this pattern; check it")
    return found


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if is_scan(child))
        if not found:
            raise DataError(f"{path}: no scans ({_READ}) in this folder; {_contents(path)}")
        return found
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if not is_scan(path):
        raise DataError(
            f"{path}: not a scan that attnseg reads ({_READ}); convert it to NIfTI or PNG"
        )
    return [path]


def _contents(folder: Path) -> str:
    kinds = Counter(child.suffix.lower() or "other" for child in folder.iterdir())
    if not kinds:
        return "it is empty: give a folder with scans"
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"it holds {listed}: convert them, or give another folder"


def find_models(
    model: Path | str | Sequence[Path | str] | None, *, runs: Path = Path("runs")
) -> list[Path]:
    """The model files meant by `-m`.

    A file is itself. A run folder stands for the finished models of its folds, which are averaged,
    or for `fold_none`, trained on every case, where that is finished.

    Args:
        model: a file, a run folder or a fold's, or several of them; None takes the newest finished
            run.
        runs: folder of all runs.

    Raises:
        RunError: no finished run there.
    """
    if model is None:
        found = [models for folder in runs.glob("*/") if (models := _models_in(folder))]
        if not found:
            raise _no_run(runs)
        return max(found, key=lambda models: max(path.stat().st_mtime for path in models))
    if not isinstance(model, Path | str):
        # A file named twice is one model.
        return list(dict.fromkeys(path for each in model for path in find_models(each)))
    path = Path(model)
    if not path.is_dir():
        return [path]  # reading it says what is wrong, if anything is
    models = _models_in(path)
    if not models:
        raise _no_run(path)
    return models


def _models_in(folder: Path) -> list[Path]:
    """Finished models of a run's or a fold's folder."""
    for pattern in (MODEL_NAME, f"fold_none/{MODEL_NAME}", f"fold*/{MODEL_NAME}"):
        found = sorted(folder.glob(pattern))
        if found:
            return found
    return []


def _no_run(folder: Path) -> RunError:
    return RunError(
        f"{folder}: no finished run ({MODEL_NAME}) here; train one with `attnseg train DATA -o "
        "runs/NAME`, or name a model with -m"
    )


def check_agreement(first: Path, ours: ModelSpec, other: Path, theirs: ModelSpec) -> None:
    """Whether the logits of two models can be averaged.

    Raises:
        UsageError: what they expect or predict differs.
    """
    pairs = {
        "preprocessing": (ours.preprocessing, theirs.preprocessing),
        "channels": (ours.architecture.in_channels, theirs.architecture.in_channels),
        "labels": (ours.labels, theirs.labels),
        "regions": (ours.regions, theirs.regions),
        "patch": (ours.patch, theirs.patch),
        "dimensions": (ours.architecture.spatial_dims, theirs.architecture.spatial_dims),
    }
    different = [name for name, (one, two) in pairs.items() if one != two]
    if different:
        raise UsageError(
            f"{first} and {other}: models that are averaged must agree, and these differ in "
            f"{', '.join(different)} (attnseg model show tells how); give models of one run"
        )
