"""albumentations: in step with the sampling of volumes, for images of any range and channels."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from attnseg.config import AugmentationConfig
from attnseg.training.augmentation_2d import intensities, resample
from attnseg.training.draws import Stream, generator
from attnseg.training.warp import Warp, draw_warp
from attnseg.training.warp import resample as resample_volume

CPU = torch.device("cpu")
PICTURE = torch.from_numpy(np.random.default_rng(0).normal(2, 3, (40, 33)).astype(np.float32))


def change(stream, channel, *, number=0, axes=(0, 1)):
    return intensities(axes)[stream](channel, generator(0, stream, number))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_sampling_is_that_of_volumes(slice_axis, channels):
    """OpenCV rounds positions to 1/32 pixel."""
    draws = np.random.default_rng(channels)
    patch, shape = [24, 20, 17], [30, 26, 21]
    patch[slice_axis] = shape[slice_axis] = 1
    # Smooth, so that a 1/32 pixel changes little; and a label of wide areas, −1 among them.
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = [
        np.sin(0.2 * c + sum((0.1 + 0.05 * c) * grid for grid in grids)) for c in range(channels)
    ]
    image = torch.from_numpy(np.stack(waves).astype(np.float32))
    label = torch.from_numpy((sum(grids) // 9 - 1).astype(np.int16))[None]
    warp = draw_warp(
        AugmentationConfig(spatial_probability=1, elastic_probability=1),
        tuple(patch),
        (1.0, 1.0, 1.0),
        affine=draws,
        elastic=draws,
    )
    x = warp.coordinates([(n - 1) / 2 for n in shape], device=CPU)
    ours, mask = resample(image, label, x, slice_axis=slice_axis)
    theirs, reference = resample_volume(image, label, x)
    assert ours.shape == (channels, *patch)
    assert mask.shape == (1, *patch)
    assert mask.dtype == torch.int16
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.03)
    assert (mask == reference).float().mean() > 0.98
    assert mask.min() == -1


def test_a_quarter_turn_is_numpys():
    draws = np.random.default_rng(1)
    image = draws.normal(size=(3, 9, 9, 1)).astype(np.float32)
    label = draws.integers(-1, 3, (1, 9, 9, 1)).astype(np.int16)
    matrix = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    x = Warp((9, 9, 1), matrix).coordinates((4, 4, 0), device=CPU)
    turned, mask = resample(torch.from_numpy(image), torch.from_numpy(label), x, slice_axis=2)
    np.testing.assert_allclose(turned.numpy(), np.rot90(image, -1, axes=(1, 2)), atol=1e-5)
    np.testing.assert_array_equal(mask.numpy(), np.rot90(label, -1, axes=(1, 2)))


def test_both_dimensions_have_the_same_changes():
    from attnseg.training.intensity import intensities as of_volumes

    assert set(intensities((0, 1))) == set(of_volumes((0, 1, 2)))


@pytest.mark.parametrize("stream", list(intensities((0, 1))))
def test_changes_are_draws_of_the_generator_alone(stream):
    first, other = (change(stream, PICTURE, number=number) for number in (0, 1))
    assert first.shape == PICTURE.shape
    assert first.dtype == torch.float32
    assert torch.equal(first, change(stream, PICTURE))
    assert not torch.equal(first, other)
    assert not torch.equal(first, PICTURE)


@pytest.mark.parametrize("stream", [s for s in intensities((0, 1)) if s != Stream.NOISE])
def test_the_range_of_the_image_does_not_matter(stream):
    """Moved and stretched before or after: the same. Eight bits would show."""
    for scale, shift in ((1000.0, -7000.0), (0.01, 3.0)):
        moved = change(stream, PICTURE * scale + shift)
        torch.testing.assert_close(
            (moved - shift) / scale, change(stream, PICTURE), rtol=0, atol=2e-2 * scale**-0.3
        )


def test_brightness_multiplies_what_is_above_the_darkest_pixel():
    for number in range(10):
        changed = change(Stream.BRIGHTNESS, PICTURE, number=number)
        low = PICTURE.min()
        ratio = ((changed - low) / (PICTURE - low))[PICTURE - low > 0.5]
        assert 0.74 < ratio.mean() < 1.26
        assert ratio.std() < 1e-4, "the brightest pixels are not cut off"


def test_contrast_stretches_about_the_mean_within_the_range():
    for number in range(8):
        changed = change(Stream.CONTRAST, PICTURE, number=number)
        mean = PICTURE.mean()
        factor = ((changed - mean) / (PICTURE - mean)).median()
        expected = (mean + factor * (PICTURE - mean)).clamp(PICTURE.min(), PICTURE.max())
        torch.testing.assert_close(changed, expected, rtol=1e-3, atol=1e-3)
        assert 0.74 <= factor <= 1.26


def test_gamma_keeps_order_mean_and_deviation():
    order = PICTURE.flatten().argsort()
    bent = set()
    for number in range(30):
        changed = change(Stream.GAMMA, PICTURE, number=number)
        assert (changed.flatten()[order].diff() >= -1e-5).all()
        torch.testing.assert_close(changed.mean(), PICTURE.mean(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(changed.std(), PICTURE.std(), rtol=1e-3, atol=1e-3)
        bent.add(bool(changed.median() > PICTURE.median()))
    assert bent == {True, False}


def test_blur_and_low_resolution_smooth():
    for stream in (Stream.BLUR, Stream.LOW_RESOLUTION):
        changed = change(stream, PICTURE)
        assert changed.diff(dim=0).std() < 0.8 * PICTURE.diff(dim=0).std()
        torch.testing.assert_close(changed.mean(), PICTURE.mean(), rtol=0.05, atol=0)


def test_low_resolution_leaves_coarse_axes_alone():
    rows = PICTURE[:, :1].expand(40, 33).contiguous()
    torch.testing.assert_close(change(Stream.LOW_RESOLUTION, rows, axes=(1,)), rows)


@pytest.mark.parametrize("stream", list(intensities((0, 1))))
@pytest.mark.parametrize("value", [0.0, -3.0])
def test_constant_images_stay_finite(stream, value):
    flat = torch.full((9, 7), value)
    for number in range(6):
        assert change(stream, flat, number=number).isfinite().all()


IMPORT = """
import sys
asked = []
# urllib3, where something brings it, looks whether this machine has IPv6 by binding a socket to
# the machine itself; nothing leaves it.
def note(event, arguments):
    here = event == "socket.__new__" or (event == "socket.bind" and arguments[1][0] == "::1")
    if event.startswith("socket.") and not here:
        asked.append(event)
sys.addaudithook(note)
import {module}
print(asked, "albumentations" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "loaded"),
    [
        ("attnseg.training.pipeline", False),
        ("attnseg.training.augmentation_2d", True),
    ],
)
def test_importing_opens_no_socket_and_volumes_do_without(module, loaded):
    code = IMPORT.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {loaded}"
