"""Sampling and intensity of 2D patches with albumentations: the only file that imports it.

Its transforms of intensity clip to [0, 1]: a channel of any range is mapped there by its own
extremes, and back. Noise is that of volumes (`intensity`), since its own is measured by the
range of the image and clipped at both ends.
"""

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnseg.training.draws import Stream
from attnseg.training.intensity import (
    BLUR_SIGMA,
    GAMMA,
    INVERTED_GAMMA,
    LARGEST_FACTOR,
    Intensity,
    noise,
    reduced_shape,
)

# On import it asks a server for a newer version, unless told not to.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
from albumentations.core.type_definitions import Targets

# Patches are too small for threads to pay, and a pool of threads does not survive a fork.
cv2.setNumThreads(1)


class Sampling(albumentations.DualTransform):
    """Image (linear) and mask (nearest) at given coordinates, zeros beyond.

    Called with `image` `[H, W, C]`, `mask` `[H, W]` and `coordinates` `[2, H', W']` (x and y).
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    @property
    def targets_as_params(self) -> list[str]:
        return ["coordinates"]

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        x, y = data["coordinates"]
        return {"x": x, "y": y}

    def apply(self, img: np.ndarray, x: np.ndarray, y: np.ndarray, **params: Any) -> np.ndarray:
        # OpenCV takes four channels at a time.
        parts = [
            cv2.remap(img[..., i : i + 4], x, y, cv2.INTER_LINEAR)
            for i in range(0, img.shape[-1], 4)
        ]
        return np.dstack(parts)

    def apply_to_mask(
        self, mask: np.ndarray, x: np.ndarray, y: np.ndarray, **params: Any
    ) -> np.ndarray:
        return np.asarray(cv2.remap(mask, x, y, cv2.INTER_NEAREST))


_SAMPLING = Sampling(p=1)


def resample(
    image: Tensor, label: Tensor, coordinates: Tensor, *, slice_axis: int
) -> tuple[Tensor, Tensor]:
    """Image (linear) and label (nearest) in step, zeros beyond the crop.

    Args:
        image: `[C, *S]` float32, one voxel thick along `slice_axis`.
        label: `[1, *S]` int16.
        coordinates: `[*patch, 3]`, voxels of the crop, from `Warp.coordinates`.
        slice_axis: across which the patch is one voxel thick.

    Returns:
        `[C, *patch]` and `[1, *patch]`.
    """
    x, y = (2 - axis for axis in (2, 1, 0) if axis != slice_axis)
    result = _SAMPLING(
        image=image.squeeze(slice_axis + 1).permute(1, 2, 0).numpy(),
        mask=label[0].squeeze(slice_axis).numpy(),
        coordinates=coordinates.squeeze(slice_axis).movedim(-1, 0)[[x, y]].numpy(),
    )
    sampled = torch.from_numpy(np.ascontiguousarray(np.moveaxis(result["image"], -1, 0)))
    mask = torch.from_numpy(result["mask"])[None]
    return sampled.unsqueeze(slice_axis + 1), mask.unsqueeze(slice_axis + 1)


def intensities(axes: tuple[int, ...]) -> dict[Stream, Intensity]:
    """Changes of one channel `[H, W]` of a picture or slice; `axes` are those of low resolution."""
    factors = (1 - LARGEST_FACTOR, 1 + LARGEST_FACTOR)
    unchanged = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    blur = albumentations.GaussianBlur(sigma_limit=BLUR_SIGMA, blur_limit=0, p=1)
    brightness = albumentations.ColorJitter(**(unchanged | {"brightness": factors}), p=1)
    contrast = albumentations.ColorJitter(**(unchanged | {"contrast": factors}), p=1)
    gamma = albumentations.RandomGamma(gamma_limit=tuple(100 * g for g in GAMMA), p=1)
    return {
        Stream.NOISE: noise,
        Stream.BLUR: partial(_apply, blur),
        # Up to 1 / largest factor, so that the brightest pixels are not cut off.
        Stream.BRIGHTNESS: partial(_apply, brightness, top=1 / factors[1]),
        Stream.CONTRAST: partial(_apply, contrast),
        Stream.GAMMA: partial(_gamma, gamma),
        Stream.LOW_RESOLUTION: partial(_low_resolution, axes=axes),
    }


def _apply(
    transform: albumentations.BasicTransform,
    channel: Tensor,
    generator: np.random.Generator,
    *,
    top: float = 1.0,
) -> Tensor:
    """`transform` of the channel, its range mapped to [0, `top`] and back."""
    transform.set_random_seed(int(generator.integers(2**32)))
    low, high = channel.min(), channel.max()
    if high <= low:
        return channel
    unit = (channel - low) * (top / (high - low))
    changed = torch.from_numpy(transform(image=unit.numpy())["image"])
    return changed * ((high - low) / top) + low


def _gamma(
    transform: albumentations.BasicTransform, channel: Tensor, generator: np.random.Generator
) -> Tensor:
    """Gamma, of the inverted image now and then; mean and deviation stay what they were."""
    sign = -1 if generator.random() < INVERTED_GAMMA else 1
    changed = sign * _apply(transform, sign * channel, generator)
    deviation = changed.std(correction=0).clamp(min=1e-8)
    return (changed - changed.mean()) / deviation * channel.std(correction=0) + channel.mean()


def _low_resolution(
    channel: Tensor, generator: np.random.Generator, *, axes: tuple[int, ...]
) -> Tensor:
    """As that of volumes; albumentations' `Downscale` would round to 8 bits."""
    shape = tuple(channel.shape)
    height, width = reduced_shape(shape, generator, axes=axes)
    reduced = cv2.resize(channel.numpy(), (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cv2.resize(reduced, shape[::-1], interpolation=cv2.INTER_LINEAR))
