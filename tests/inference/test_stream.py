"""Windows, blending, streaming: identities and MONAI as the oracle."""

import numpy as np
import pytest
import torch

from attnseg.inference.stream import stream_windows
from attnseg.inference.windows import (
    gaussian_weights,
    padding_of,
    window_starts,
    windows_in_plane,
)
from attnseg.models import AttentionUNet

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


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("shape", [(35, 51, 35), (9, 30, 40), (20, 24, 16)])
def test_a_part_of_the_plane_is_bitwise_the_whole(shape, overlap):
    """Only the windows that reach into it are run, and every voxel sums the same in one order."""
    torch.manual_seed(1)
    net = AttentionUNet(3, 1, 3, channels=(4, 8), strides=(2,)).eval()
    volume = torch.randn(1, *shape)
    calls = []

    def network(patch):
        calls.append(1)
        return net(patch)

    with torch.no_grad():
        full = whole(volume, network, patch=PATCH, overlap=overlap)
        everything = len(calls)
        plane = (slice(3, 11), slice(shape[2] - 9, shape[2]))
        calls.clear()
        part = whole(volume, network, patch=PATCH, overlap=overlap, plane=plane)
    assert torch.equal(part, full[:, :, *plane])
    assert len(calls) <= everything


def test_rows_that_were_given_are_not_touched_again():
    volume = torch.randn(1, 60, 8, 8)
    rows, copies = [], []
    for _, block in stream_windows(volume, lambda p: p, patch=(16, 8, 8), overlap=0.5):
        rows.append(block)
        copies.append(block.clone())
    assert all(torch.equal(a, b) for a, b in zip(rows, copies, strict=True))


def test_windows_of_a_plane():
    """Of windows at 0, 4 and 8, eight long, those that share a voxel with 9 … 12."""
    found = windows_in_plane([[0, 4, 8], [0]], (8, 5), (slice(9, 12), slice(1, 4)))
    assert [window.source[0].start for window in found] == [4, 8]
    assert found[0].within == (slice(5, 8), slice(1, 4))
    assert found[0].target == (slice(0, 3), slice(0, 3))
    assert found[1].within == (slice(1, 4), slice(1, 4))
