"""Random changes of intensity of volumes, channel by channel, as scanners and stains vary."""

from collections.abc import Callable
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

from attnseg.preprocessing import resampling
from attnseg.training.draws import Stream

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
