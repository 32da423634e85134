"""Specs and cached cases of a few voxels, for the tests of patches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attnseg.spec import Architecture, Label, ModelSpec, Preprocessing, ZScore
from attnseg.training.cache import CachedCase, foreground_sample


def make_spec(
    patch: tuple[int, int, int],
    *,
    channels: int = 1,
    spatial_dims: int = 3,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    names: Sequence[str] = ("background", "left", "right"),
) -> ModelSpec:
    """A spec around the smallest network there is."""
    net = Architecture(
        spatial_dims=spatial_dims,
        in_channels=channels,
        out_channels=len(names),
        channels=(4, 8),
        strides=((2,) * spatial_dims,),
        kernel_sizes=((3,) * spatial_dims,) * 2,
    )
    return ModelSpec(
        architecture=net,
        preprocessing=Preprocessing(spacing_mm=spacing_mm, normalization=(ZScore(),) * channels),
        channel_names=tuple(str(i) for i in range(channels)),
        labels=tuple(Label(value=i, name=name) for i, name in enumerate(names)),
        patch=patch,
    )


def make_case(
    folder: Path,
    name: str,
    image: np.ndarray,
    label: np.ndarray,
    *,
    present: tuple[int, ...] | None = None,
) -> CachedCase:
    """The files of a case of three classes, as the cache writes them."""
    arrays = {"image": image, "label": label, "foreground": foreground_sample(label, 3, seed=0)}
    files = {part: folder / f"{name}_{part}.npy" for part in arrays}
    for part, array in arrays.items():
        np.save(files[part], array)
    return CachedCase(name, **files, present=present)


def places_cases(folder: Path) -> list[CachedCase]:
    """Three cases of 20×9×14 voxels whose image says where each voxel comes from."""
    made = []
    for number in range(3):
        label = np.zeros((20, 9, 14), dtype=np.int16)
        label[3:6, 2:5, 4:8] = 1
        label[18, 8, 13] = 2
        label[0, :, 0] = -1
        image = np.arange(label.size, dtype=np.float32).reshape(1, *label.shape) + 1e5 * number
        made.append(make_case(folder, str(number), image, label))
    return made
