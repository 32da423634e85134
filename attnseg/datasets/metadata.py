"""`dataset.json` of the Decathlon and of nnU-Net, in either of its spellings."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnseg.errors import DataError


@dataclass(frozen=True)
class Metadata:
    """What a `dataset.json` says; without one, a single unnamed channel and no label names.

    Args:
        exists: whether there is such a file.
        channel_names: `channel_names` or, older, `modality`.
        label_names: label value → name, without the background 0.
        training: `(image, label)` paths relative to the folder; None where it has no such list.
    """

    exists: bool = False
    channel_names: tuple[str, ...] = ("image",)
    label_names: dict[int, str] = field(default_factory=dict)
    training: tuple[tuple[str, str], ...] | None = None


def read_metadata(path: Path) -> Metadata:
    """Read `dataset.json`; a missing file is no error, for paired folders need none.

    Raises:
        DataError: not JSON, or entries of another form than the two layouts have.
    """
    if not path.exists():
        return Metadata()
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not readable as JSON ({error}); correct or re-export it"
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; it must be a JSON object {{…}}")
    return Metadata(
        exists=True,
        channel_names=_channel_names(path, content),
        label_names=_label_names(path, content.get("labels", {})),
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


def _label_names(path: Path, labels: Any) -> dict[int, str]:
    """Decathlon and old nnU-Net write value → name, new nnU-Net name → value."""
    names: dict[int, str] = {}
    for key, entry in labels.items() if isinstance(labels, dict) else [("labels", labels)]:
        value, name = (key, entry) if key.lstrip("-").isdigit() else (entry, key)
        try:
            names[int(value)] = str(name)
        except (TypeError, ValueError):
            raise DataError(
                f"{path}: label {key!r} is {entry!r}; each label needs one integer value "
                "(regions that unite several values are not supported)"
            ) from None
    return {value: names[value] for value in sorted(names) if value != 0}


def _training(path: Path, entries: Any) -> tuple[tuple[str, str], ...]:
    for entry in entries if isinstance(entries, list) else [entries]:
        fields = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else ()
        if not fields or not all(isinstance(file, str) for file in fields):
            raise DataError(
                f"{path}: `training` holds {entry!r}; each entry must be "
                '{"image": "imagesTr/X.nii.gz", "label": "labelsTr/X.nii.gz"}'
            )
    return tuple((entry["image"], entry["label"]) for entry in entries)
