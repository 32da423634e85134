"""MONAI's Attention U-Net, trained by a plain loop as its tutorials have it.

It gets the volumes, folds and patch of attnseg's run, and its masks go back to the scans' grids in
the same way; network, transforms, loss, sampling and sliding window are MONAI's.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, set_track_meta
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import AttentionUnet
from monai.transforms import (
    Compose,
    FgBgToIndicesd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandGaussianNoised,
    RandScaleIntensityd,
    SpatialPadd,
)
from monai.utils import set_determinism
from torch import Tensor

from attnseg.datasets import Case, find_dataset, fold_cases, load_splits
from attnseg.evaluation import compare_files
from attnseg.files import write_text
from attnseg.images import read_case, read_labels, smallest_integer_type, write_labels
from attnseg.preprocessing import Grid, preprocess, preprocess_labels, resample
from attnseg.spec import ModelSpec
from attnseg.training.plan import load_plan

CHANNELS = (16, 32, 64, 128, 256)
# Voxels that every axis keeps at the coarsest level.
_SMALLEST = 4


@dataclass(frozen=True)
class Shape:
    """Patch and network that fit each other: MONAI's fails on sizes that do not divide."""

    patch: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]


def fitting(patch: Sequence[int]) -> Shape:
    """As many levels of stride 2 as leave four voxels, and the patch rounded up to their product.

    Example:
        >>> fitting((20, 18, 9))
        Shape(patch=(20, 20, 10), channels=(16, 32, 64), strides=((2, 2, 2), (2, 2, 1)))
    """
    size = list(patch)
    strides: list[tuple[int, ...]] = []
    while len(strides) < len(CHANNELS) - 1:
        step = tuple(2 if n >= 2 * _SMALLEST else 1 for n in size)
        if max(step) == 1:
            break
        size = [-(-n // s) for n, s in zip(size, step, strict=True)]
        strides.append(step)
    whole = tuple(n * math.prod(step[axis] for step in strides) for axis, n in enumerate(size))
    return Shape(whole, CHANNELS[: len(strides) + 1], tuple(strides))


def refuse(data: Path) -> None:
    """End the benchmark before anything is trained where this arm cannot take part."""
    dataset = find_dataset(data)
    partial = any(case.labels_present is not None for case in dataset.cases)
    if dataset.pictures:
        sys.exit(f"{data}: pictures; the monai arm is for volumes: leave it out, --arms attnseg")
    if dataset.regions or partial or dataset.ignore_label is not None:
        sys.exit(
            f"{data}: its regions, ignored voxels or partial labels are beyond the losses of "
            "MONAI's tutorials; leave the monai arm out, --arms attnseg"
        )


def train_and_predict(
    data: Path, run: Path, output: Path, *, fold: int, minutes: float, seed: int, workers: int
) -> None:
    """Train for `minutes`, predict the held-out cases, score them: `output/validation.json`.

    Args:
        data: data set folder.
        run: attnseg's run folder, whose splits and plan are used.
        output: gets masks, `validation.json` and `run.json`.
        fold: held out.
        minutes: of training; reading and preprocessing before and prediction after not counted.
        seed: of weights and draws.
        workers: processes that prepare patches.
    """
    plan, dataset = load_plan(run / "plan.json"), find_dataset(data)
    spec = plan.spec
    if spec.architecture.spatial_dims == 2:
        sys.exit(f"{run}: trained on slices; the monai arm is 3D: leave it out, --arms attnseg")
    names = [case.name for case in dataset.cases]
    training, held_out = fold_cases(load_splits(run / "splits.json"), names, fold)
    by_name = {case.name: case for case in dataset.cases}
    set_determinism(seed)
    shape = fitting(spec.patch)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = AttentionUnet(
        3,
        len(spec.channel_names),
        len(spec.labels),
        channels=shape.channels,
        strides=shape.strides,  # type: ignore[arg-type]
    ).to(device)
    samples = [_sample(by_name[name], spec) for name in training]
    loader = _loader(samples, shape.patch, batch_size=plan.batch_size, workers=workers)
    steps = _train(network, loader, seconds=60 * minutes, device=device)
    output.mkdir(parents=True, exist_ok=True)
    pairs = [
        (name, _predict(network, by_name[name], spec, shape.patch, output, device), label)
        for name in held_out
        if (label := by_name[name].label) is not None
    ]
    told: dict[str, Any] = {
        "steps": steps,
        "minutes": minutes,
        "patch": shape.patch,
        "channels": shape.channels,
        "strides": shape.strides,
        "batch_size": plan.batch_size,
        "parameters": sum(each.numel() for each in network.parameters()),
    }
    write_text(output / "run.json", json.dumps(told) + "\n")
    compare_files(pairs, label_names=spec.output_names).save_json(output / "validation.json")


def _sample(case: Case, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Image `[C, R, A, S]` and class indices `[1, R, A, S]` as attnseg sees them."""
    assert case.label is not None, case.name
    image = read_case(case.images, num_channels=spec.architecture.in_channels)
    labels = preprocess_labels(
        read_labels(case.label), spec.preprocessing, label_values=spec.label_values
    )
    volume, _ = preprocess(image, spec.preprocessing)
    return {"image": volume.numpy(), "label": labels[None].numpy().astype(np.float32)}


def _loader(
    samples: list[dict[str, np.ndarray]], patch: tuple[int, ...], *, batch_size: int, workers: int
) -> DataLoader:
    set_track_meta(False)
    keys = ("image", "label")
    transforms = Compose(
        [
            SpatialPadd(keys, patch),
            FgBgToIndicesd("label"),
            RandCropByPosNegLabeld(
                keys,
                "label",
                patch,
                num_samples=1,
                fg_indices_key="label_fg_indices",
                bg_indices_key="label_bg_indices",
            ),
            RandAffined(
                keys,
                prob=0.6,
                rotate_range=[math.radians(15)] * 3,
                scale_range=[0.15] * 3,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandGaussianNoised("image", prob=0.2, std=0.1),
            RandScaleIntensityd("image", factors=0.25, prob=0.2),
        ]
    )
    # The deterministic transforms are done once, the random ones anew for every patch.
    cached = CacheDataset(samples, transforms, num_workers=None, progress=False)
    return DataLoader(
        cached,
        batch_size=batch_size,
        shuffle=True,
        drop_last=len(samples) >= batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def _train(
    network: torch.nn.Module, loader: DataLoader, *, seconds: float, device: torch.device
) -> int:
    """AdamW from 1e-3 along half a cosine to zero; returns the number of steps."""
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    steps, shown, begin = 0, 0.0, time.monotonic()
    while True:
        for batch in loader:
            passed = time.monotonic() - begin
            if passed >= seconds:
                return steps
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * passed / seconds))
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(batch["image"].to(device))
            loss = loss_of(logits.float(), batch["label"].to(device))
            loss.backward()
            optimizer.step()
            steps += 1
            if passed - shown >= 60:
                shown = passed
                print(f"monai: {passed / 60:.0f} min, step {steps}, loss {loss:.3f}", flush=True)


@torch.inference_mode()
def _predict(
    network: torch.nn.Module,
    case: Case,
    spec: ModelSpec,
    patch: tuple[int, ...],
    folder: Path,
    device: torch.device,
) -> Path:
    """Segment one case on its own grid; returns the mask's file."""
    network.eval()
    image = read_case(case.images, num_channels=spec.architecture.in_channels)
    volume, _ = preprocess(image, spec.preprocessing)
    logits = sliding_window_inference(
        volume[None].to(device), patch, 1, network, overlap=0.5, mode="gaussian"
    )
    assert isinstance(logits, Tensor)
    grid = Grid.of(image.geometry, spec.preprocessing)
    winners = resample(logits[0].float().cpu(), grid.source_shape).argmax(0).numpy()
    dtype = smallest_integer_type(spec.label_values)
    labels = np.asarray(spec.label_values, dtype=dtype)[winners]
    path = folder / f"{case.name}.nii.gz"
    write_labels(path, np.ascontiguousarray(grid.axes.undo(labels)), like=image, dtype=dtype)
    return path
