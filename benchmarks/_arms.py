"""Arms of `prediction.py` that need a process of their own: each tells its figures as JSON.

    python _arms.py export --logits F.npy --target 192 384 384 -o L.npy
    python _arms.py growth --by attnseg|monai --model M --factor 8 -o L.npy
    python _arms.py shares --masks FOLDER

A process of its own, so that its peak memory is nobody else's.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import _made as made
import _measure as measure
import numpy as np
import torch
from torch import Tensor

from attnseg.images import Image, read_labels
from attnseg.memory import keep_freed_memory
from attnseg.models import load_model
from attnseg.preprocessing import Grid, preprocess

# Rows of the model's grid that come at once, as from windows 96 deep that overlap by half.
SLAB = 48


def decided(rows: Iterable[tuple[int, Tensor]], grid: Grid) -> Iterator[tuple[int, Tensor]]:
    """The one place that knows attnseg's export: slabs of logits → rows of class indices."""
    from attnseg.inference.export import Classes, label_rows

    return label_rows(rows, grid, Classes())


def export(logits: np.ndarray, target: tuple[int, ...], *, depth: int = SLAB) -> np.ndarray:
    """Logits `[K, *S]` → labels `[*target]`, uint8, slab by slab."""
    values, grid = torch.from_numpy(logits), made.grid_between(logits.shape[1:], target)
    rows = ((i, values[:, i : i + depth]) for i in range(0, values.shape[1], depth))
    labels = np.empty(target, dtype=np.uint8)
    for start, found in decided(rows, grid):
        labels[start : start + len(found)] = np.asarray(found)
    return labels


def grown_by_attnseg(model: Path, image: Image) -> Callable[[], np.ndarray]:
    """A call that segments the scan: windows and export as a stream, layers by PyTorch."""
    from attnseg import Predictor

    keep_freed_memory()  # as `attnseg predict` does
    predictor = Predictor.load(model, device="cpu", backend="torch")
    return lambda: predictor.predict(image).labels


def grown_by_monai(model: Path, image: Image) -> Callable[[], np.ndarray]:
    """The same network and windows by MONAI: all logits, then all of them on the scan's grid."""
    from monai.inferers import sliding_window_inference
    from monai.transforms import Resize

    network, spec = load_model(model)
    network = network.channels_last()
    resize = Resize(image.geometry.shape, mode="trilinear", align_corners=False)

    @torch.inference_mode()
    def predict() -> np.ndarray:
        volume, _ = preprocess(image, spec.preprocessing)
        logits = sliding_window_inference(
            volume[None], spec.patch, 1, network, overlap=0.5, mode="gaussian"
        )
        labels: np.ndarray = torch.as_tensor(resize(logits[0])).argmax(dim=0).numpy()
        return labels

    return predict


def shares(masks: Iterable[Path]) -> dict[str, float]:
    """Label → its share of all voxels of some masks."""
    counts: dict[str, int] = {}
    for path in masks:
        values, found = np.unique(read_labels(path).array, return_counts=True)
        for value, count in zip(values.tolist(), found.tolist(), strict=True):
            counts[str(value)] = counts.get(str(value), 0) + count
    total = sum(counts.values())
    return {value: round(count / total, 4) for value, count in sorted(counts.items())}


def main() -> None:
    """Do what is asked and tell the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("export")
    asked.add_argument("--logits", type=Path, required=True)
    asked.add_argument("--target", type=int, nargs=3, required=True)
    asked.add_argument("-o", "--output", type=Path, required=True)
    asked = commands.add_parser("growth")
    asked.add_argument("--by", choices=("attnseg", "monai"), required=True)
    asked.add_argument("--model", type=Path, required=True)
    asked.add_argument("--factor", type=int, choices=tuple(made.REPEATS), required=True)
    asked.add_argument("-o", "--output", type=Path, required=True)
    asked = commands.add_parser("shares")
    asked.add_argument("--masks", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "shares":
        measure.tell(shares(sorted(arguments.masks.glob("*.nii.gz"))))
        return
    if arguments.command == "export":
        keep_freed_memory()  # as `attnseg predict` does
        logits, target = np.load(arguments.logits), tuple(arguments.target)
        # A small one first, as for the peers: what the first call of a kernel costs is not counted.
        export(np.ascontiguousarray(logits[:2, :8, :8, :8]), (12, 12, 12))
        labels, figures = measure.measured(lambda: export(logits, target))
    else:
        by = {"attnseg": grown_by_attnseg, "monai": grown_by_monai}[arguments.by]
        image = made.large_scan(arguments.factor)
        by(arguments.model, made.corner_of(image, 64))()  # the first window costs more than others
        labels, figures = measure.measured(by(arguments.model, image))
        figures["voxels"] = labels.size
    np.save(arguments.output, labels.astype(np.uint8, copy=False))
    measure.tell(figures)


if __name__ == "__main__":
    main()
