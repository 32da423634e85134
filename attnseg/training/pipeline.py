"""Random patches for training: MONAI's transforms and loader behind one door.

Every random draw is a function of the run's seed and the sample's number in the run, never of time,
worker or order, so that a run can be repeated and continued.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import torch
from monai.data import DataLoader
from monai.data.meta_obj import set_track_meta
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
)
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from attnseg.config import AugmentationConfig, TrainingConfig
from attnseg.training.cache import CachedCase

# Rotated patches draw on voxels outside the patch: the crop is larger by this factor on each axis.
_MARGIN = 1.25


def make_loader(
    cases: Sequence[CachedCase], patch: tuple[int, ...], settings: TrainingConfig, *, first: int
) -> DataLoader:
    """Endless batches `{"image": [N, C, *patch], "label": [N, 1, *patch]}`.

    Args:
        cases: preprocessed training cases.
        patch: patch size, voxels.
        settings: batch size, seed, augmentation, workers.
        first: number of the first sample: a resumed run goes on where it stopped.
    """
    set_track_meta(False)  # plain tensors: the affine has done its work before caching
    return DataLoader(
        PatchDataset(cases, patch, settings),
        batch_size=settings.batch_size,
        sampler=_Endless(first),
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )


class PatchDataset(Dataset):
    """Sample number → augmented patch.

    Cases come in a new random order each round; `foreground_fraction` of the patches are centred on
    a voxel of a random class that the case has, the others anywhere.
    """

    def __init__(
        self, cases: Sequence[CachedCase], patch: tuple[int, ...], settings: TrainingConfig
    ) -> None:
        self.cases = list(cases)
        self.patch = patch
        self.settings = settings
        self.augment = augmentation(settings.augmentation, patch)
        spatial = settings.augmentation.spatial_probability > 0
        self.crop = tuple(round(n * _MARGIN) if spatial else n for n in patch)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        round_, place = divmod(number, len(self.cases))
        order = np.random.default_rng((self.settings.seed, 0, round_)).permutation(len(self.cases))
        generator = np.random.default_rng((self.settings.seed, 1, number))
        image, label, foreground = self.cases[order[place]].load()
        centre = self._centre(generator, label.shape, foreground)
        sample = {
            "image": torch.from_numpy(crop_around(image, centre, self.crop)),
            "label": torch.from_numpy(crop_around(label[None], centre, self.crop)).float(),
        }
        self.augment.set_random_state(seed=int(generator.integers(2**31)))
        result: dict[str, Tensor] = self.augment(sample)
        return result

    def _centre(
        self, generator: np.random.Generator, shape: tuple[int, ...], foreground: np.ndarray
    ) -> tuple[int, ...]:
        if len(foreground) and generator.random() < self.settings.foreground_fraction:
            classes = np.unique(foreground[:, 0])
            rows = foreground[foreground[:, 0] == generator.choice(classes)]
            centre = rows[generator.integers(len(rows)), 1:]
        else:
            centre = np.array([generator.integers(n) for n in shape])
        # Keep the patch inside where it fits, centred where the volume is smaller.
        low = [min(p // 2, n // 2) for p, n in zip(self.patch, shape, strict=True)]
        high = [max(n - p + p // 2, n // 2) for p, n in zip(self.patch, shape, strict=True)]
        return tuple(int(c) for c in np.clip(centre, low, high))


def crop_around(volume: np.ndarray, centre: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """`[C, *size]` around `centre`, zeros beyond the volume; reads only that part of a map."""
    result = np.zeros((volume.shape[0], *size), dtype=volume.dtype)
    source, target = [slice(None)], [slice(None)]
    for middle, extent, n in zip(centre, size, volume.shape[1:], strict=True):
        start = middle - extent // 2
        low, high = max(start, 0), min(start + extent, n)
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    result[tuple(target)] = volume[tuple(source)]
    return result


def augmentation(settings: AugmentationConfig, patch: tuple[int, ...]) -> Compose:
    """MONAI transforms of one sample: space, then intensity."""
    keys = ("image", "label")
    angle = np.deg2rad(settings.rotation_degrees)
    p = settings.intensity_probability
    sigma = (0.5, 1.0)
    steps = [
        RandAffined(
            keys,
            prob=settings.spatial_probability,
            rotate_range=[angle] * 3,
            scale_range=[settings.scale] * 3,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
        CenterSpatialCropd(keys, patch),
        RandGaussianNoised("image", prob=p, std=0.1),
        RandGaussianSmoothd("image", prob=p, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
        RandScaleIntensityd("image", factors=0.25, prob=p),
        RandAdjustContrastd("image", prob=p, gamma=(0.7, 1.5), retain_stats=True),
        RandSimulateLowResolutiond("image", prob=p, zoom_range=(0.5, 1.0)),
    ]
    if settings.mirror:
        steps += [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)]
    return Compose(steps)


class _Endless(Sampler):
    """first, first + 1, …"""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return count(self.first)
