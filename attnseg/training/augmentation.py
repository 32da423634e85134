"""Random changes of training patches: space, mirror, intensity.

Each kind of change draws from a stream of its own, a function of the run's seed and the sample's
number alone: to switch one off leaves the draws of the others as they are. Every channel is changed
in intensity on its own, as scanners and stains vary.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

import numpy as np
import torch
from monai.transforms import (
    RandAdjustContrast,
    RandomizableTransform,
    RandScaleIntensity,
    RandScaleIntensityFixedMean,
)
from monai.utils import convert_to_tensor
from torch import Tensor

from attnseg.config import AugmentationConfig
from attnseg.preprocessing import resampling
from attnseg.spec import ModelSpec
from attnseg.training.warp import Warp, draw_warp, fine_axes, resample

BLUR_SIGMA = (0.5, 1.0)
"""Voxels."""
GAMMA = (0.7, 1.5)
INVERTED_GAMMA = 0.25
"""Share of gamma changes made on the inverted image."""
LARGEST_FACTOR = 0.25
"""Brightness and contrast are multiplied by 1 ± this at most."""
_NOISE = 0.1
_COARSEST = 0.5

Intensity = Callable[[Tensor, np.random.Generator], Tensor]
"""Changes one channel `[*S]`, drawing from the generator."""


class Stream(IntEnum):
    """The random streams of a run; the numbers are part of what a seed means."""

    ORDER = 0
    PLACE = 1
    AFFINE = 2
    ELASTIC = 3
    MIRROR = 4
    NOISE = 5
    BLUR = 6
    BRIGHTNESS = 7
    CONTRAST = 8
    GAMMA = 9
    LOW_RESOLUTION = 10


def generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """The draws of one stream for one sample (or round of the cases, for `ORDER`)."""
    return np.random.default_rng((seed, stream, number))


@dataclass(frozen=True)
class Crop:
    """What a patch is made from.

    Args:
        number: of the sample in the run.
        image: `[C, *S]` float32, the part of the volume that the patch looks at; without a warp
            the patch itself.
        label: `[1, *S]` int16.
        present: `[K]` bool, the classes drawn in the case.
        warp: how the patch is sampled from it; None: as it is.
        middle: of the patch, voxels of the crop; read with a warp only.
    """

    number: int
    image: Tensor
    label: Tensor
    present: Tensor
    warp: Warp | None = None
    middle: tuple[float, ...] = ()

    def to(self, device: torch.device) -> "Crop":
        """The same with its tensors on `device`."""
        image, label, present = (
            values.to(device, non_blocking=True)
            for values in (self.image, self.label, self.present)
        )
        return replace(self, image=image, label=label, present=present)


class Augmentation:
    """`Crop` → training sample, on the device where the crop lies.

    A 2D model's patches keep their slice axis until the end; their changes of intensity and their
    sampling come from albumentations, on the CPU.
    """

    def __init__(self, settings: AugmentationConfig, spec: ModelSpec, *, seed: int) -> None:
        self.settings = settings
        self.spec = spec
        self.seed = seed
        names = {index: label.name for index, label in enumerate(spec.labels)}
        self.mirror_axes = training_mirror_axes(names, settings, patch=spec.patch)
        pairs = left_right_pairs(names) if settings.mirror == "swap" else []
        self.partner = list(names)
        for left, right in pairs:
            self.partner[left], self.partner[right] = right, left
        axes = fine_axes(spec.patch, spec.preprocessing.spacing_mm)
        self.resample: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
        if spec.slice_axis is None:
            self.resample, self.intensities = resample, intensities(axes)
        else:
            # albumentations takes seconds to import: only where pictures or slices are trained.
            from attnseg.training import augmentation_2d

            self.resample = partial(augmentation_2d.resample, slice_axis=spec.slice_axis)
            self.intensities = augmentation_2d.intensities(
                tuple(axis - (axis > spec.slice_axis) for axis in axes)
            )

    def draw_warp(self, number: int) -> Warp | None:
        """How sample `number` is to be sampled from its volume."""
        return draw_warp(
            self.settings,
            self.spec.patch,
            self.spec.preprocessing.spacing_mm,
            affine=generator(self.seed, Stream.AFFINE, number),
            elastic=generator(self.seed, Stream.ELASTIC, number),
        )

    def __call__(self, crop: Crop) -> dict[str, Tensor]:
        """`{"image": [C, *patch], "label": [1, *patch] int64, "present": [K] bool}`."""
        image, label, present = crop.image, crop.label, crop.present
        if crop.warp is not None:
            coordinates = crop.warp.coordinates(crop.middle, device=image.device)
            image, label = self.resample(image, label, coordinates)
        label = label.long()
        draws = generator(self.seed, Stream.MIRROR, crop.number).random(3) < 0.5
        axes = [axis for axis in self.mirror_axes if draws[axis]]
        if axes:
            image, label = (volume.flip([axis + 1 for axis in axes]) for volume in (image, label))
        if 0 in axes:
            # The last entry serves label −1.
            label = torch.tensor([*self.partner, -1], device=label.device)[label]
            present = present[self.partner]
        if self.spec.slice_axis is not None:
            image, label = (volume.squeeze(self.spec.slice_axis + 1) for volume in (image, label))
        return {"image": self._change(image, crop.number), "label": label, "present": present}

    def _change(self, image: Tensor, number: int) -> Tensor:
        for stream in sorted(self.intensities):
            draws = generator(self.seed, stream, number)
            if draws.random() < self.settings.intensity_probability:
                change = self.intensities[stream]
                image = torch.stack([change(channel, draws) for channel in image])
        return image


def intensities(axes: tuple[int, ...]) -> dict[Stream, Intensity]:
    """Changes of one channel `[R, A, S]` of a volume; blur and low resolution along `axes` only.

    Those two are small matrices of our own: MONAI's low resolution takes all axes alike, its blur
    fades to 0 at the borders of a patch.
    """
    brightness = RandScaleIntensity(prob=1, factors=LARGEST_FACTOR)
    contrast = RandScaleIntensityFixedMean(prob=1, factors=LARGEST_FACTOR, preserve_range=True)
    plain, inverted = (
        RandAdjustContrast(prob=1, gamma=GAMMA, retain_stats=True, invert_image=invert)
        for invert in (False, True)
    )
    return {
        Stream.NOISE: noise,
        Stream.BLUR: partial(_blur, axes=axes),
        Stream.BRIGHTNESS: partial(_apply, brightness),
        Stream.CONTRAST: partial(_apply, contrast),
        Stream.GAMMA: partial(_gamma, plain, inverted),
        Stream.LOW_RESOLUTION: partial(_low_resolution, axes=axes),
    }


def noise(channel: Tensor, generator: np.random.Generator) -> Tensor:
    """Add normal noise of a deviation of up to 0.1.

    Drawn where the channel lies, in a fifth of the time of MONAI's, which draws with numpy.
    """
    deviation = generator.uniform(0, _NOISE)
    source = torch.Generator(channel.device).manual_seed(int(generator.integers(2**63)))
    values = torch.randn(channel.shape, generator=source, device=channel.device)
    return channel + deviation * values


def reduced_shape(
    shape: tuple[int, ...], generator: np.random.Generator, *, axes: tuple[int, ...]
) -> tuple[int, ...]:
    """`shape` with `axes` shortened by one random factor, to half at most."""
    zoom = generator.uniform(_COARSEST, 1)
    return tuple(max(1, round(n * zoom)) if axis in axes else n for axis, n in enumerate(shape))


def training_mirror_axes(
    names: Mapping[int, str], settings: AugmentationConfig, *, patch: Sequence[int]
) -> tuple[int, ...]:
    """Axes (0 R, 1 A, 2 S) along which training patches are mirrored.

    Args:
        names: of the classes: left–right is left out where they come in pairs, unless swapped.
        settings: its `mirror` decides.
        patch: patch size; an axis of one voxel is not mirrored, and makes the patch 2D for `auto`.
    """
    if settings.mirror == "none" or (settings.mirror == "auto" and 1 not in patch):
        return ()
    axes = [axis for axis, n in enumerate(patch) if n > 1]
    if settings.mirror != "swap" and left_right_pairs(names):
        axes = [axis for axis in axes if axis != 0]
    return tuple(axes)


def prediction_mirror_axes(
    names: Mapping[int, str], settings: AugmentationConfig, *, patch: Sequence[int]
) -> tuple[int, ...]:
    """Axes along which a prediction may be mirrored: those of training that change no label."""
    axes = training_mirror_axes(names, settings, patch=patch)
    return tuple(axis for axis in axes if axis != 0 or not left_right_pairs(names))


_SIDES = {"left": "right", "l": "r", "lh": "rh"}
_SIDES |= {right: left for left, right in _SIDES.items()}
# Between words: separators, before a capital in CamelCase, around digits and around left and right.
_BOUNDARY = re.compile(
    r"[\W_]+|(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])|(?<=\d)(?=\D)|(?<=\D)(?=\d)"
)


def left_right_pairs(names: Mapping[int, str]) -> list[tuple[int, int]]:
    """Keys of names that become each other when left and right change places.

    `kidney_left`, `Left-Putamen`, `RightParotid`, `lung-r`, `L kidney`, `ctx-lh-cuneus`: l, r, lh
    and rh count as words of their own, left and right inside words too.
    """
    words = {key: _words(name) for key, name in names.items()}
    keys = {each: key for key, each in words.items()}
    pairs = set()
    for key, own in words.items():
        other = tuple(_SIDES.get(word, word) for word in own)
        if other != own and other in keys:
            pairs.add((min(key, keys[other]), max(key, keys[other])))
    return sorted(pairs)


def _words(name: str) -> tuple[str, ...]:
    parted = re.sub(r"(left|right)", r" \1 ", name, flags=re.IGNORECASE)
    return tuple(word.lower() for word in _BOUNDARY.split(parted) if word)


def _blur(channel: Tensor, generator: np.random.Generator, *, axes: tuple[int, ...]) -> Tensor:
    for axis in axes:
        n, sigma = channel.shape[axis], generator.uniform(*BLUR_SIGMA)
        steps = torch.arange(n, device=channel.device)
        weights = torch.exp(-0.5 * ((steps[:, None] - steps) / sigma) ** 2)
        matrix = weights / weights.sum(dim=1, keepdim=True)
        channel = resampling.apply_along(channel, matrix, axis)
    return channel


def _low_resolution(
    channel: Tensor, generator: np.random.Generator, *, axes: tuple[int, ...]
) -> Tensor:
    shape = tuple(channel.shape)
    reduced = resampling.resample(channel[None], reduced_shape(shape, generator, axes=axes))
    return resampling.resample(reduced, shape)[0]


def _apply(
    transform: RandomizableTransform, channel: Tensor, generator: np.random.Generator
) -> Tensor:
    transform.set_random_state(seed=int(generator.integers(2**32)))
    changed = convert_to_tensor(transform(channel[None]), track_meta=False)
    result: Tensor = changed[0]
    return result


def _gamma(
    plain: RandomizableTransform,
    inverted: RandomizableTransform,
    channel: Tensor,
    generator: np.random.Generator,
) -> Tensor:
    chosen = inverted if generator.random() < INVERTED_GAMMA else plain
    return _apply(chosen, channel, generator)
