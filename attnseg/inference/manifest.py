"""What became of every scan: one JSON line each, appended as it ends, never rewritten."""

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attnseg.names import composed

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Outcome:
    """One line of the manifest."""

    name: str
    state: str
    """"done", "failed" or "skipped" (done before by the same model in the same way)."""
    reason: str = ""
    mask: str = ""
    probabilities: str = ""
    attention: tuple[str, ...] = ()
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """What changes the labels: overlap and mirroring."""
    backend: str = ""
    windows: int = 0
    tiles: tuple[int, int] = (1, 1)
    seconds: dict[str, float] = field(default_factory=dict)
    """Per stage: reading, network, export, writing."""
    peak_ram_mb: float = 0.0
    """Most memory that the process had taken until then."""
    warnings: tuple[str, ...] = ()
    """What is unlike the scans that the model was trained on."""
    volumes_ml: dict[str, float] = field(default_factory=dict)
    """Of each label; where asked for."""
    labels: dict[int, str] = field(default_factory=dict)
    """Value in the mask → name."""
    versions: dict[str, str] = field(default_factory=dict)


class Manifest:
    """The manifest of an output folder; each part of a divided cohort has a file of its own.

    Args:
        folder: where the masks go.
        shard: which part, such as "2of8"; "" for a whole cohort.
    """

    def __init__(self, folder: Path, *, shard: str = "") -> None:
        self.path = folder / (f"manifest-{shard}.jsonl" if shard else MANIFEST)

    def add(self, outcome: Outcome) -> None:
        """Append one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            # A kill may have cut the last line short; the next one must not hang on it.
            if stream.tell() > 0:
                stream.seek(-1, 2)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write((json.dumps(asdict(outcome)) + "\n").encode())

    def finished(self, *, model: str, settings: dict[str, Any]) -> set[str]:
        """Names whose last line says done by this model with these settings, in any part."""
        return {
            name
            for name, line in self.last_lines().items()
            if line.get("state") == "done"
            and line.get("model") == model
            and line.get("settings") == settings
        }

    def last_lines(self) -> dict[str, dict[str, Any]]:
        """Name → its latest line, over all parts of the cohort."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.path.parent.glob("manifest*.jsonl"), key=_age):
            found |= {line["name"]: line for line in _lines(path)}
        return found


def labels_of(line: Mapping[str, Any]) -> dict[int, str]:
    """Label value → name, as a line says; none in those of older manifests."""
    return {int(value): str(name) for value, name in (line.get("labels") or {}).items()}


def names_in_manifest(mask: Path) -> dict[int, str]:
    """Label value → name of a mask that `attnseg predict` wrote, from the manifest above it.

    Returns:
        None of them where no manifest names the mask, or names no labels.
    """
    name = Path(composed(str(mask.resolve())))
    # A mask of BIDS lies up to three folders below the manifest, one of a single label one folder.
    for folder in mask.resolve().parents[:4]:
        for line in Manifest(folder).last_lines().values():
            if line.get("mask") and name.is_relative_to(composed(str(folder / line["mask"]))):
                return labels_of(line)
    return {}


def versions() -> dict[str, str]:
    """What a line says of the software that made a mask."""
    import torch

    import attnseg

    return {
        "attnseg": attnseg.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue  # the line that a kill cut short; its scan is simply done again
        if isinstance(line, dict) and isinstance(line.get("name"), str):
            yield line | {"name": composed(line["name"])}
