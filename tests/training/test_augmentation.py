"""Mirroring, left and right, and the changes of intensity of volumes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from small_patches import make_spec

from attnseg.config import AugmentationConfig
from attnseg.training.augmentation import Augmentation, Crop
from attnseg.training.draws import Stream, generator
from attnseg.training.intensity import intensities
from attnseg.training.mirroring import prediction_mirror_axes, training_mirror_axes

NAMES = ("background", "kidney_left", "liver", "kidney_right")
ALL = {"spatial_probability": 0, "intensity_probability": 1, "mirror": "none"}


def make_augmentation(*, seed=0, **settings) -> Augmentation:
    spec = make_spec((12, 10, 8), names=NAMES)
    return Augmentation(AugmentationConfig(**settings), spec, seed=seed)


def make_crop(number=0, *, present=(True, True, True, False)) -> Crop:
    draws = np.random.default_rng(number)
    image = torch.from_numpy(draws.normal(size=(1, 12, 10, 8)).astype(np.float32))
    label = torch.from_numpy(draws.integers(-1, 4, (1, 12, 10, 8)).astype(np.int16))
    return Crop(number, image, label, torch.tensor(present))


@pytest.mark.parametrize(
    ("mirror", "paired", "patch", "training", "prediction"),
    [
        ("none", False, (8, 8, 8), (), ()),
        ("none", False, (8, 8, 1), (), ()),
        ("auto", False, (8, 8, 8), (), ()),
        ("auto", False, (8, 8, 1), (0, 1), (0, 1)),
        ("auto", True, (8, 8, 1), (1,), (1,)),
        ("all", False, (8, 8, 8), (0, 1, 2), (0, 1, 2)),
        ("all", True, (8, 8, 8), (1, 2), (1, 2)),
        ("all", True, (8, 1, 8), (2,), (2,)),
        ("swap", True, (8, 8, 8), (0, 1, 2), (1, 2)),
        ("swap", False, (8, 8, 8), (0, 1, 2), (0, 1, 2)),
        ("swap", True, (8, 8, 1), (0, 1), (1,)),
        ("swap", True, (1, 8, 8), (1, 2), (1, 2)),
    ],
)
def test_axes_to_mirror(mirror, paired, patch, training, prediction):
    names = dict(enumerate(NAMES if paired else ("background", "liver")))
    settings = AugmentationConfig(mirror=mirror)
    assert training_mirror_axes(names, settings, patch=patch) == training
    assert prediction_mirror_axes(names, settings, patch=patch) == prediction


def test_mirrored_left_is_right():
    augment = make_augmentation(spatial_probability=0, intensity_probability=0, mirror="swap")
    seen = set()
    for number in range(30):
        crop = make_crop(number)
        sample = augment(crop)
        flips = [
            axis for axis in range(3) if generator(0, Stream.MIRROR, number).random(3)[axis] < 0.5
        ]
        image, label = crop.image.numpy(), crop.label.numpy()
        for axis in flips:
            image, label = np.flip(image, axis + 1), np.flip(label, axis + 1)
        present = [True, True, True, False]
        if 0 in flips:
            label = np.select([label == 1, label == 3], [3, 1], label)
            present = [True, False, True, True]
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["label"], label)
        assert sample["label"].dtype == torch.int64
        assert sample["present"].tolist() == present
        seen.add(tuple(flips))
    assert len(seen) == 8, "every combination of axes"


def test_left_and_right_stay_where_labels_are_paired():
    augment = make_augmentation(spatial_probability=0, intensity_probability=0, mirror="all")
    changed = 0
    for number in range(10):
        crop = make_crop(number)
        image = augment(crop)["image"]
        torch.testing.assert_close(image.sum(dim=(0, 2, 3)), crop.image.sum(dim=(0, 2, 3)))
        changed += not torch.equal(image, crop.image)
    assert changed > 3


def test_each_change_has_draws_of_its_own():
    """What is drawn for one is the same whether or not the others are switched on."""

    def labels(**settings):
        settings |= {"mirror": "all", "spatial_probability": 0}
        augment = make_augmentation(seed=3, **settings)
        return [augment(make_crop(number))["label"] for number in range(8)]

    silent, loud = labels(intensity_probability=0), labels(intensity_probability=1)
    assert all(torch.equal(a, b) for a, b in zip(silent, loud, strict=True))

    augment = make_augmentation(**ALL)
    crop = make_crop(4)
    whole = augment(crop)["image"]
    augment.intensities = {Stream.NOISE: augment.intensities[Stream.NOISE]}
    noise = augment(crop)["image"] - crop.image
    augment.intensities = {}
    torch.testing.assert_close(augment(crop)["image"], crop.image)
    again = make_augmentation(**ALL)
    again(make_crop(5))
    assert torch.equal(again(crop)["image"], whole), "what came before does not matter"
    del again.intensities[Stream.GAMMA], again.intensities[Stream.BLUR]
    del again.intensities[Stream.LOW_RESOLUTION], again.intensities[Stream.BRIGHTNESS]
    del again.intensities[Stream.CONTRAST]
    torch.testing.assert_close(again(crop)["image"] - crop.image, noise)


def change(stream, volume, *, number=0, axes=(0, 1, 2)):
    return intensities(axes)[stream](volume, generator(0, stream, number))


VOLUME = torch.from_numpy(np.random.default_rng(0).normal(2, 3, (22, 18, 15)).astype(np.float32))


def test_noise_has_the_drawn_deviation():
    deviations = []
    for number in range(20):
        noise = change(Stream.NOISE, VOLUME, number=number) - VOLUME
        deviations.append(noise.std().item())
        expected = generator(0, Stream.NOISE, number).uniform(0, 0.1)
        assert deviations[-1] == pytest.approx(expected, rel=0.05)
        assert abs(noise.mean().item()) < 0.01
    assert max(deviations) > 0.08


def test_blur_is_a_gaussian_of_the_drawn_widths():
    blurred = change(Stream.BLUR, VOLUME)
    draws, expected = generator(0, Stream.BLUR, 0), VOLUME.numpy()
    for axis in range(3):
        sigma = draws.uniform(0.5, 1.0)
        expected = gaussian_filter1d(expected, sigma, axis=axis, truncate=8)
    inside = (slice(6, -6),) * 2 + (slice(5, -5),)  # borders are treated differently
    np.testing.assert_allclose(blurred[inside].numpy(), expected[inside], atol=1e-4)


def test_brightness_multiplies():
    ratio = change(Stream.BRIGHTNESS, VOLUME) / VOLUME
    assert 0.75 <= ratio.min() <= ratio.max() <= 1.25
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_contrast_stretches_about_the_mean_within_the_range():
    for number in range(8):
        changed = change(Stream.CONTRAST, VOLUME, number=number)
        mean = VOLUME.mean()
        factor = ((changed - mean) / (VOLUME - mean)).median()
        expected = (mean + factor * (VOLUME - mean)).clamp(VOLUME.min(), VOLUME.max())
        torch.testing.assert_close(changed, expected, rtol=1e-4, atol=1e-4)
        assert 0.75 <= factor <= 1.25


def test_gamma_keeps_order_mean_and_deviation():
    order = VOLUME.flatten().argsort()
    bent = set()
    for number in range(30):
        changed = change(Stream.GAMMA, VOLUME, number=number)
        assert (changed.flatten()[order].diff() >= -1e-5).all()
        torch.testing.assert_close(changed.mean(), VOLUME.mean(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(changed.std(), VOLUME.std(), rtol=1e-3, atol=1e-3)
        bent.add(bool(changed.median() > VOLUME.median()))
    assert bent == {True, False}


def test_low_resolution_loses_detail_only():
    changed = change(Stream.LOW_RESOLUTION, VOLUME)
    assert changed.shape == VOLUME.shape
    assert changed.std() < 0.6 * VOLUME.std()
    ramp = torch.arange(22.0)[:, None, None].expand(22, 18, 15)
    changed = change(Stream.LOW_RESOLUTION, ramp)
    torch.testing.assert_close(changed[3:-3], ramp[3:-3], rtol=0, atol=0.05)


@pytest.mark.parametrize("stream", [Stream.BLUR, Stream.LOW_RESOLUTION])
def test_nothing_is_mixed_across_coarse_axes(stream):
    slices = VOLUME[:1, :1].expand(22, 18, 15)  # differs along S alone
    torch.testing.assert_close(change(stream, slices, axes=(0, 1)), slices)
    assert not torch.allclose(change(stream, slices), slices)
    alike = VOLUME[..., :1].expand(22, 18, 15)  # constant along S
    changed = change(stream, alike, axes=(0, 1))
    torch.testing.assert_close(changed, changed[..., :1].expand(22, 18, 15))
    assert not torch.allclose(changed, alike)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_constant_images_stay_finite(value):
    augment = make_augmentation(**ALL)
    for number in range(5):
        crop = make_crop(number)
        crop.image.fill_(value)
        assert augment(crop)["image"].isfinite().all()


def test_channels_are_changed_one_by_one():
    augment = make_augmentation(**ALL)
    augment.intensities = {Stream.BRIGHTNESS: augment.intensities[Stream.BRIGHTNESS]}
    crop = make_crop()
    twice = Crop(0, crop.image.repeat(2, 1, 1, 1), crop.label, crop.present)
    factors = (augment(twice)["image"] / twice.image).mean(dim=(1, 2, 3))
    assert abs(factors[0] - factors[1]) > 1e-3
