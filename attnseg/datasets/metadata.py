"""`dataset.json` of the Decathlon and of nnU-Net, in either of its spellings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnseg.datasets.labels import LabelScheme, parse_labels, read_json
from attnseg.errors import DataError


@dataclass(frozen=True)
class Metadata:
    """What a `dataset.json` says; without one, a single unnamed channel and no label names.

    Args:
        exists: whether there is such a file.
        channel_names: `channel_names` or, older, `modality`.
        labels: names, regions and what else is said about labels.
        training: `(image, label)` paths relative to the folder; None where it has no such list.
    """

    exists: bool = False
    channel_names: tuple[str, ...] = ("image",)
    labels: LabelScheme = field(default_factory=LabelScheme)
    training: tuple[tuple[str, str], ...] | None = None


def read_metadata(path: Path) -> Metadata:
    """Read `dataset.json`; a missing file is no error, for paired folders need none.

    Raises:
        DataError: not JSON, or entries of another form than the two layouts have.
    """
    content = read_json(path) if path.exists() else {}
    return Metadata(
        exists=path.exists(),
        channel_names=_channel_names(path, content),
        labels=parse_labels(path, content),
        training=_training(path, content["training"]) if "training" in content else None,
    )


def _channel_names(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    names = content.get("channel_names", content.get("modality", {"0": "image"}))
    try:
        channels = {int(number): str(name) for number, name in names.items()}
    except (AttributeError, ValueError):
        channels = {}
    if not channels or sorted(channels) != list(range(len(channels))):
        raise DataError(
            f"{path}: channels are {names!r}; `channel_names` (or `modality`) must number them "
            'from 0, such as {"0": "CT"}'
        )
    return tuple(channels[number] for number in range(len(channels)))


def _training(path: Path, entries: Any) -> tuple[tuple[str, str], ...]:
    for entry in entries if isinstance(entries, list) else [entries]:
        fields = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else ()
        if not fields or not all(isinstance(file, str) for file in fields):
            raise DataError(
                f"{path}: `training` holds {entry!r}; each entry must be "
                '{"image": "imagesTr/X.nii.gz", "label": "labelsTr/X.nii.gz"}'
            )
    return tuple((entry["image"], entry["label"]) for entry in entries)
