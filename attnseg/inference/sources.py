"""What the user typed → scans; which model is meant; where masks go."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError, RunError, UsageError, refuse_options
from attnseg.images import (
    MASK_SUFFIXES,
    Series,
    Source,
    find_source,
    is_picture,
    location,
    split_channel,
    strip_suffix,
)
from attnseg.images.formats import NO_SERIES
from attnseg.inference.places import look_at, matches
from attnseg.names import alike, how_they_differ
from attnseg.spec import ModelSpec

MODEL_NAME = "model.safetensors"


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
    say: Callable[[str], None] = lambda text: None,
) -> list[Scan]:
    """Files, folders and globs → scans, sorted by name.

    Files named `CASE_0000`, `CASE_0001`, … are the channels of one case, as nnU-Net names them; a
    picture `CASE_0000` alone may hold the three channels of colour. A .csv or .tsv file lists
    cases, its columns found by `channel_names`; see `attnseg.inference.channels`.

    A DICOM file, a zip archive, and a folder in which DICOM files lie are one scan each; a folder
    without any scan of its own stands for the folders in it that hold DICOM. Of several series in
    one place `series` says which, or the largest is taken and told. One of several places whose
    DICOM cannot be read is a scan with a reason.

    What looks like a scan and is not taken, such as scans in folders further below, is handed to
    `say`, a sentence for each folder.

    Raises:
        DataError: a path that is not there, nothing that can be read, a channel missing.
        UsageError: two scans of the same name, such as X.png and X.jpg, for the mask and its line
            in the manifest go by it; `series`, and no scan is DICOM.
    """
    tables = [Path(text) for text in inputs if str(text).lower().endswith((".csv", ".tsv"))]
    given: list[Path] = []
    for text in inputs:
        if Path(text) not in tables:
            found, notes = matches(str(text))
            given += found
            for note in notes:
                say(note)
    files: set[Path] = set()
    scans = [scan for path in tables for scan in _listed(path, num_channels, channel_names)]
    alone = len(given) + len(tables) == 1
    for path in dict.fromkeys(given):
        place = look_at(path)
        scans += [_series(each, series, alone=alone and each == path) for each in place.dicom]
        files |= set(place.files)
        for note in place.notes:
            say(note)
    channels: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in sorted(files):
        channel = split_channel(strip_suffix(path.name))
        # A higher number is part of the name, as the year in scan_2019.
        if channel and channel[1] < num_channels:
            other = channels.setdefault((path.parent, channel[0]), {}).setdefault(channel[1], path)
            if other != path:
                raise UsageError(
                    f"{path}: {other.name} is the same channel of the same case"
                    f"{how_they_differ(other.name, path.name)}; keep one of the two"
                )
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
        UsageError: two scans of one name; names that differ in capitals alone are one, for on
            Windows and macOS the mask of one would be written over that of the other.
    """
    by_name: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        by_name[alike(scan.name)].append(scan)
    twice = sorted((group for group in by_name.values() if len(group) > 1), key=lambda g: g[0].name)
    if twice:
        names = dict.fromkeys(scan.name for group in twice for scan in group)
        one, other = (location(scan.paths[0]) for scan in twice[0][:2])
        raise UsageError(
            f"scans named {', '.join(names)} come twice ({one} and {other}"
            f"{how_they_differ(one.name, other.name)}), and a mask goes by its scan's name, "
            "capitals or not; rename one, or predict the folders one by one with different -o"
        )


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
