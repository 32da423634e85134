"""What the user typed → scans; which model is meant; where masks go."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError, RunError, UsageError
from attnseg.images import is_scan, split_channel, strip_suffix

MODEL_NAME = "model.safetensors"


@dataclass(frozen=True)
class Scan:
    """One case to predict: its name, and a file or one file per channel."""

    name: str
    paths: tuple[Path, ...]


def find_scans(inputs: Sequence[str | Path], *, num_channels: int) -> list[Scan]:
    """Files, folders and globs → scans, sorted by name.

    Files named `CASE_0000`, `CASE_0001`, … are the channels of one case, as nnU-Net names them.

    Raises:
        DataError: a path that is not there, nothing that can be read, a channel missing.
        UsageError: two scans of the same name, whose masks would overwrite each other.
    """
    files = sorted({path for text in inputs for path in _expand(str(text))})
    channels: dict[tuple[Path, str], dict[int, Path]] = {}
    scans = []
    for path in files:
        channel = split_channel(strip_suffix(path.name))
        # A higher number is part of the name, as the year in scan_2019.
        if channel and channel[1] < num_channels:
            channels.setdefault((path.parent, channel[0]), {})[channel[1]] = path
        else:
            scans.append(Scan(strip_suffix(path.name), (path,)))
    for (folder, name), found in channels.items():
        missing = [f"{name}_{index:04d}" for index in range(num_channels) if index not in found]
        if missing:
            raise DataError(
                f"{folder}: channel(s) {', '.join(missing)} missing where the model needs "
                f"{num_channels}; add the files"
            )
        scans.append(Scan(name, tuple(found[index] for index in range(num_channels))))
    twice = [name for name, count in Counter(scan.name for scan in scans).items() if count > 1]
    if twice:
        raise UsageError(
            f"scans named {', '.join(sorted(twice))} come twice, and their masks would overwrite "
            "each other; predict the folders one by one with different -o"
        )
    return sorted(scans, key=lambda scan: scan.name)


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if is_scan(child))
        if not found:
            raise DataError(f"{path}: no scans (.nii, .nii.gz) in this folder; {_contents(path)}")
        return found
    if path.exists():
        if not is_scan(path):
            raise DataError(
                f"{path}: not a scan that attnseg reads (.nii, .nii.gz); convert it to NIfTI"
            )
        return [path]
    if any(sign in text for sign in "*?["):
        base = Path(path.anchor) if path.is_absolute() else Path()
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else text
        found = sorted(child for child in base.glob(pattern) if child.is_file() and is_scan(child))
        if found:
            return found
        raise DataError(f"{text}: no .nii or .nii.gz file matches this pattern; check it")
    raise DataError(f"{path}: no such file or folder; check the path")


def _contents(folder: Path) -> str:
    kinds = Counter(child.suffix.lower() or "other" for child in folder.iterdir())
    if not kinds:
        return "it is empty: give a folder with scans"
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"it holds {listed}: this model segments 3D NIfTI volumes, give those"


def find_model(path: Path | None, *, runs: Path = Path("runs")) -> Path:
    """The model file meant by `-m`: a file, a run folder, or the newest finished run.

    Raises:
        RunError: no finished run there.
    """
    if path is not None and not path.is_dir():
        return path  # reading it says what is wrong, if anything is
    folder = runs if path is None else path
    patterns = [f"*/fold*/{MODEL_NAME}"] if path is None else [MODEL_NAME, f"fold*/{MODEL_NAME}"]
    found = [model for pattern in patterns for model in folder.glob(pattern)]
    if not found:
        raise RunError(
            f"{folder}: no finished run ({MODEL_NAME}) here; train one with `attnseg train DATA -o "
            "runs/NAME`, or name a model with -m"
        )
    return max(found, key=lambda model: model.stat().st_mtime)
