"""Inputs that the benchmarks make for themselves: logits, a large scan, a tiny network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from attnseg.images import Geometry, Image
from attnseg.models import AttentionUNet, save_model
from attnseg.preprocessing import Grid
from attnseg.spec import ModelSpec, Preprocessing, ZScore

# The scan of which larger ones are multiples; voxels along R, A, S, and their size in mm.
BASE_SHAPE = (192, 192, 150)
BASE_SPACING = (0.8, 0.8, 1.0)
# How often the base is repeated along R, A, S: the long axis of a body first.
REPEATS = {1: (1, 1, 1), 2: (1, 1, 2), 4: (1, 2, 2), 8: (2, 2, 2)}
CT = {"scheme": "ct", "low": -1000, "high": 300, "mean": 0, "std": 200}


def smooth_logits(classes: int, shape: Sequence[int]) -> np.ndarray:
    """What a network says of a scan with a dozen organs: float32 `[classes, *shape]`.

    Organs are ellipsoids whose logits fall off with the distance from their surface; the other
    classes stay low. All waver slowly, as trained networks do, with a little noise.
    """
    rng = np.random.default_rng(0)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    logits = np.empty((classes, *shape), dtype=np.float32)
    for index in range(classes):
        logits[index] = -6.0
        if index == 0:
            logits[index] = 4.0
        elif index <= 12:
            centre, radii = rng.uniform(-0.6, 0.6, 3), rng.uniform(0.12, 0.35, 3)
            scaled = [(axis - c) / r for axis, c, r in zip(grid, centre, radii, strict=True)]
            distance = np.sqrt(sum(part**2 for part in scaled))
            np.clip(12 * (1 - distance) + 4, -10, 12, out=logits[index])
        phase, pace = rng.uniform(0, 6, 3), rng.uniform(3, 9, 3)
        waves = [np.sin(p + k * axis) for axis, p, k in zip(grid, phase, pace, strict=True)]
        logits[index] += waves[0] * waves[1] * waves[2]
        logits[index] += rng.standard_normal(shape, dtype=np.float32) * 0.1
    return logits


def noise_logits(classes: int, shape: Sequence[int]) -> np.ndarray:
    """The worst case: every class may win anywhere. Float32 `[classes, *shape]`."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((classes, *shape), dtype=np.float32)


def grid_between(shape: tuple[int, ...], source: tuple[int, ...]) -> Grid:
    """A grid whose model sees `shape` where the scan has `source` voxels, axes in order."""
    spacing = [n / m for n, m in zip(shape, source, strict=True)]
    spec = Preprocessing(spacing_mm=(1, 1, 1), normalization=(ZScore(),))
    grid = Grid.of(Geometry(source, np.diag([*spacing, 1])), spec)
    assert grid.shape == tuple(shape), (grid.shape, shape)
    return grid


def large_scan(factor: int) -> Image:
    """A made CT, `factor` times the base: the same content, so that only the size differs."""
    rng = np.random.default_rng(0)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in BASE_SHAPE]
    r, a, s = np.meshgrid(*axes, indexing="ij", sparse=True)
    body = (r / 0.9) ** 2 + (a / 0.7) ** 2 < 1
    tissue = 40 + 60 * np.sin(7 * r + 3 * s) * np.cos(5 * a - 4 * s)
    array = np.where(body, tissue, -1000).astype(np.float32)
    array += rng.normal(0, 15, BASE_SHAPE).astype(np.float32)
    array = np.tile(array, REPEATS[factor])
    return Image(array[None], Geometry(array.shape, np.diag([*BASE_SPACING, 1])))


def corner_of(image: Image, size: int) -> Image:
    """The first `size` voxels along every axis."""
    array = np.ascontiguousarray(image.array[:, :size, :size, :size])
    return Image(array, Geometry(array.shape[1:], image.geometry.affine))


def spec_of(network: AttentionUNet, patch: tuple[int, int, int]) -> ModelSpec:
    """A spec for CT at 1.5 mm around a network of one channel."""
    classes = range(network.architecture.out_channels)
    return ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1.5,) * 3, "normalization": [CT]},
            "channel_names": ["CT"],
            "labels": [{"value": value, "name": str(value)} for value in classes],
            "patch": patch,
        }
    )


def write_tiny(path: Path, classes: int, *, side: int = 64) -> ModelSpec:
    """An untrained network of two levels, patches of `side`³, saved as a model file; its spec."""
    torch.manual_seed(0)
    network = AttentionUNet(3, 1, classes, channels=(8, 16), strides=(2,))
    spec = spec_of(network, (side, side, side))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, network, spec)
    return spec


def monai_need_mb(spec: ModelSpec, factor: int) -> float:
    """What MONAI's way holds at its peak, in 10⁶ bytes: float32 logits on both grids."""
    shape = [n * times for n, times in zip(BASE_SHAPE, REPEATS[factor], strict=True)]
    geometry = Geometry((shape[0], shape[1], shape[2]), np.diag([*BASE_SPACING, 1]))
    grid = Grid.of(geometry, spec.preprocessing)
    voxels = int(np.prod(grid.shape)) + int(np.prod(grid.source_shape))
    return 4 * spec.architecture.out_channels * voxels / 1e6


def available_mb() -> float:
    """Memory that a new process may take, in 10⁶ bytes; infinite where the system does not say."""
    info = Path("/proc/meminfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    found = [line for line in lines if line.startswith("MemAvailable:")]
    return int(found[0].split()[1]) * 1024 / 1e6 if found else float("inf")
