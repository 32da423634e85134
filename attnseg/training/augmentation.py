"""Random changes of training patches: space, mirror, intensity.

Each kind of change draws from a stream of its own, a function of the run's seed and the sample's
number alone: to switch one off leaves the draws of the others as they are. Every channel is changed
in intensity on its own, as scanners and stains vary.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from attnseg.config import AugmentationConfig
from attnseg.spec import ModelSpec
from attnseg.training.draws import Stream, generator
from attnseg.training.intensity import intensities
from attnseg.training.mirroring import exchange, training_mirror_axes
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
        names = {label.value: label.name for label in spec.labels}
        self.mirror_axes = training_mirror_axes(
            names, settings, patch=spec.patch, regions=spec.regions
        )
        index = {value: number for number, value in enumerate(names)}
        self.partner = list(range(len(names)))
        if settings.mirror == "swap":
            for left, right in exchange(names, spec.regions).pairs:
                self.partner[index[left]], self.partner[index[right]] = index[right], index[left]
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
