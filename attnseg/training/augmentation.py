"""Random changes of training patches: space, mirror, intensity.

Each kind of change draws from a stream of its own, a function of the run's seed and the sample's
number alone: to switch one off leaves the draws of the others as they are. Every channel is changed
in intensity on its own, as scanners and stains vary.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from attnseg.config import AugmentationConfig
from attnseg.spec import ModelSpec
from attnseg.training.draws import Stream, generator
from attnseg.training.intensity import intensities
from attnseg.training.warp import Warp, draw_warp, fine_axes, resample


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
