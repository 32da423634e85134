"""From the model's grid to the scan's: exact, in blocks, decided without looking where it can."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnseg.images import Geometry
from attnseg.inference import export
from attnseg.inference.export import Blocks, Classes, Regions, label_rows, resample_rows
from attnseg.preprocessing import Grid, resample
from attnseg.spec import Preprocessing, ZScore

SIZES = [
    ((16, 12, 10), (33, 25, 31)),
    ((30, 50, 40), (61, 99, 130)),
    ((33, 70, 90), (11, 66, 80)),
    ((40, 36, 1), (80, 72, 1)),
    ((25, 12, 70), (25, 80, 70)),
]


def grid_between(shape, source):
    """A grid whose model shape is `shape` and whose scan has the shape `source`."""
    spacing = [n / m for n, m in zip(shape, source, strict=True)]
    spec = Preprocessing(spacing_mm=(1, 1, 1), normalization=(ZScore(),))
    grid = Grid.of(Geometry(source, np.diag([*spacing, 1])), spec)
    assert grid.shape == shape
    return grid


def in_rows(values, depth):
    return [(i, values[:, i : i + depth]) for i in range(0, values.shape[1], depth)]


def joined(blocks):
    blocks = list(blocks)
    assert blocks[0][0] == 0
    return torch.cat([block for _, block in blocks], dim=-3)


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


def organs(shape, classes=6, seed=0):
    """Smooth logits with large one-sided parts, as networks give them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, *[max(2, n // 6) for n in shape], generator=generator)
    coarse[:, 0] += 1.5
    return 8 * F.interpolate(coarse, size=shape, mode="trilinear")[0]


@pytest.mark.parametrize("decoder", [Classes(), Regions()], ids=["classes", "regions"])
@pytest.mark.parametrize(("shape", "source"), SIZES)
@pytest.mark.parametrize("kind", ["organs", "noise", "one"])
def test_decided_as_if_all_had_been_resampled(shape, source, decoder, kind):
    values = organs(shape)
    if kind == "noise":
        values = torch.randn(values.shape, generator=torch.Generator().manual_seed(3))
    if kind == "one":
        values = -values.abs() - 1
        values[2] += 100
    grid = grid_between(shape, source)
    found = joined(label_rows(in_rows(values, 16), grid, decoder))
    full = joined(resample_rows(in_rows(values, 16), grid))
    if isinstance(decoder, Classes):
        expected = full.argmax(dim=0)
    else:
        expected = torch.zeros_like(full[0], dtype=torch.int64)
        for index, region in enumerate(full, start=1):
            expected[region > 0] = index
    assert found.dtype == torch.int16
    assert torch.equal(found.long(), expected)
    assert len(expected.unique()) > 1 or kind == "one"


def test_classes_that_cannot_win_are_not_resampled(monkeypatch):
    """Of 40 classes, two meet in the middle: nowhere are more than two interpolated."""
    values = torch.full((40, 40, 60, 60), -25.0)
    values[[7, 23]] = -20.0
    values[7, :, :, :30] = 9
    values[23, :, :, 30:] = 9
    seen = []
    resampled = export._resampled
    monkeypatch.setattr(
        export,
        "_resampled",
        lambda block, parts: seen.append(len(block)) or resampled(block, parts),
    )
    grid = grid_between((40, 60, 60), (80, 180, 180))
    found = joined(label_rows(in_rows(values, 16), grid, Classes()))
    assert set(seen) == {2}
    assert len(seen) < len(Blocks.of(grid).rows) * 9, "blocks of one class are decided at once"
    assert (found[:, :, :89] == 7).all()
    assert (found[:, :, 91:] == 23).all()


def test_equal_logits_go_to_the_first_class():
    values = torch.zeros(3, 4, 4, 4)
    assert (
        joined(label_rows(in_rows(values, 4), grid_between((4, 4, 4), (8, 8, 8)), Classes())) == 0
    ).all()


def test_logits_that_are_not_numbers_leave_every_class_in():
    values = organs((8, 8, 8))
    values[1, 0, 0, 0] = np.nan
    found = joined(label_rows(in_rows(values, 8), grid_between((8, 8, 8), (16, 16, 16)), Classes()))
    full = joined(resample_rows(in_rows(values, 8), grid_between((8, 8, 8), (16, 16, 16))))
    known = ~full.isnan().any(dim=0)
    assert torch.equal(found[known].long(), full.argmax(dim=0)[known])


@pytest.mark.parametrize("tiles", [(1, 2), (2, 1), (3, 2), (9, 9)])
@pytest.mark.parametrize(
    ("shape", "source"), [((20, 60, 90), (40, 150, 200)), ((20, 90, 99), (9, 80, 90))]
)
def test_tiles_are_bitwise_the_whole(shape, source, tiles):
    """Each tile sees only its own plane of the model's grid."""
    values = organs(shape, seed=5) + torch.randn(
        6, *shape, generator=torch.Generator().manual_seed(1)
    )
    grid = grid_between(shape, source)
    labels = joined(label_rows(in_rows(values, 16), grid, Classes()))
    full = joined(resample_rows(in_rows(values, 16), grid))
    covered = torch.zeros(source)
    for tile in Blocks.of(grid).tiles(*tiles):
        rows = in_rows(values[:, :, *tile.plane], 16)
        assert torch.equal(
            joined(label_rows(rows, grid, Classes(), blocks=tile)), labels[:, *tile.out]
        )
        assert torch.equal(joined(resample_rows(rows, grid, blocks=tile)), full[:, :, *tile.out])
        covered[:, *tile.out] += 1
    assert (covered == 1).all()


def test_rows_wait_no_longer_than_they_must():
    """The first rows of the scan are there before the last ones of the model's grid."""
    given = []

    def rows():
        for start in range(0, 64, 16):
            given.append(start)
            yield start, torch.randn(2, 16, 4, 4)

    first = next(iter(label_rows(rows(), grid_between((64, 4, 4), (128, 4, 4)), Classes())))
    assert first[0] == 0
    assert given == [0]
