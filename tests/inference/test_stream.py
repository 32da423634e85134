"""Windows, blending, streaming: identities and MONAI as the oracle."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnseg.images import Geometry
from attnseg.inference.stream import resample_rows, stream_windows
from attnseg.inference.windows import gaussian_weights, padding_of, window_starts
from attnseg.models import AttentionUNet
from attnseg.preprocessing import Grid, resample
from attnseg.spec import Preprocessing, ZScore

OVERLAPS = [0.0, 0.25, 0.5, 0.66, 0.9]
SHAPES = [(35, 51, 35), (33, 32, 32), (9, 11, 7), (20, 24, 16), (1, 40, 17), (21, 25, 15)]
PATCH = (20, 24, 16)


def whole(volume, network, **settings):
    rows = list(stream_windows(volume, network, **settings))
    starts = np.cumsum([0] + [block.shape[1] for _, block in rows])
    assert [start for start, _ in rows] == starts[:-1].tolist(), "rows in order, none twice"
    return torch.cat([block for _, block in rows], dim=1)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_identity_comes_back(shape, overlap):
    """A predictor that returns its input gives the image back, also where it is smaller."""
    volume = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    found = whole(volume, lambda patch: patch, patch=PATCH, overlap=overlap)
    # At an overlap of 0.9 a voxel is the float32 sum of a thousand weighted windows.
    torch.testing.assert_close(found, volume, atol=3e-4 if overlap > 0.8 else 2e-5, rtol=1e-5)


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.66])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_monais_sliding_window(shape, overlap):
    from monai.inferers import sliding_window_inference

    torch.manual_seed(0)
    net = AttentionUNet(3, 1, 3, channels=(4, 8), strides=(2,), gate_finest=True).eval()
    volume = torch.randn(1, *shape)
    with torch.no_grad():
        expected = sliding_window_inference(
            volume[None], PATCH, 1, net, overlap=overlap, mode="gaussian"
        )[0]
        found = whole(volume, net, patch=PATCH, overlap=overlap)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_windows_never_hold_the_whole_volume():
    """Whatever the length, a yielded block is at most a patch deep."""
    volume = torch.zeros(1, 200, 8, 8)
    depths = [
        rows.shape[1]
        for _, rows in stream_windows(volume, lambda p: p, patch=(16, 8, 8), overlap=0.5)
    ]
    assert max(depths) <= 16
    assert sum(depths) == 200


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "expected"),
    [
        (10, 10, 0.5, [0]),
        (11, 10, 0.5, [0, 1]),
        (20, 10, 0.5, [0, 5, 10]),
        (23, 10, 0.5, [0, 5, 10, 13]),
        (20, 10, 0.0, [0, 10]),
        (12, 10, 0.99, [0, 1, 2]),
    ],
)
def test_window_starts(size, patch, overlap, expected):
    assert window_starts(size, patch, overlap) == expected


def test_gaussian_weights_closed_form():
    weights = gaussian_weights((8, 4))
    sigma = (1.0, 0.5)
    for i, j in [(0, 0), (3, 1), (7, 2)]:
        distance = ((i - 3.5) / sigma[0]) ** 2 + ((j - 1.5) / sigma[1]) ** 2
        assert weights[i, j] == pytest.approx(max(np.exp(-distance / 2), 1e-3), rel=1e-5)


def test_padding_is_half_on_either_side():
    assert padding_of((5, 8, 9), (8, 8, 8)) == [(1, 2), (0, 0), (0, 0)]


def grid_between(shape, source):
    """A grid whose model shape is `shape` and whose scan has the shape `source`."""
    spacing = [n / m for n, m in zip(shape, source, strict=True)]
    spec = Preprocessing(spacing_mm=(1, 1, 1), normalization=(ZScore(),))
    grid = Grid.of(Geometry(source, np.diag([*spacing, 1])), spec)
    assert grid.shape == shape
    return grid


@pytest.mark.parametrize(
    ("shape", "source"),
    [
        ((16, 12, 10), (33, 25, 31)),
        ((16, 12, 10), (16, 30, 10)),
        ((33, 12, 10), (11, 12, 7)),
        ((5, 4, 3), (5, 4, 3)),
        ((1, 4, 3), (9, 4, 3)),
    ],
)
@pytest.mark.parametrize("depth", [1, 3, 7, 100])
def test_streamed_resampling_equals_resampling_the_whole(shape, source, depth):
    values = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    rows = [(i, values[:, i : i + depth]) for i in range(0, shape[0], depth)]
    found = list(resample_rows(rows, grid_between(shape, source)))
    assert found[0][0] == 0
    joined = torch.cat([block for _, block in found], dim=1)
    torch.testing.assert_close(joined, resample(values, source))
    if all(m >= n for n, m in zip(shape, source, strict=True)):
        expected = F.interpolate(values[None], size=source, mode="trilinear")[0]
        torch.testing.assert_close(joined, expected)


def test_resampled_blocks_stay_small(monkeypatch):
    from attnseg.inference import stream

    monkeypatch.setattr(stream, "_BLOCK_NUMBERS", 3 * 30 * 30 * 4)
    rows = [(0, torch.randn(3, 16, 15, 15))]
    blocks = [block for _, block in resample_rows(rows, grid_between((16, 15, 15), (32, 30, 30)))]
    assert max(block.shape[1] for block in blocks) <= 4
    assert sum(block.shape[1] for block in blocks) == 32
