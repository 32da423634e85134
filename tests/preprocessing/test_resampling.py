"""Resampling by matrices against torch's own interpolation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attnseg.preprocessing import apply_along, axis_matrix, resample, resample_labels

SIZES = [(1, 7), (7, 1), (5, 5), (5, 8), (8, 5), (31, 32), (32, 31), (60, 13), (13, 60), (2, 3)]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_axis_matrix_equals_interpolation_of_the_identity(n_in: int, n_out: int) -> None:
    """Column i of the matrix is the interpolated i-th unit vector."""
    units = torch.eye(n_in)[None, None]  # vectors lie along the last axis but one
    expected = F.interpolate(units, size=(n_out, n_in), mode="bilinear", antialias=True)[0, 0]
    matrix = axis_matrix(n_in, n_out)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(n_out))
    assert (matrix >= 0).all()


def test_axis_matrix_of_two_to_three_by_hand() -> None:
    expected = torch.tensor([[1, 0], [0.5, 0.5], [0, 1]])
    torch.testing.assert_close(axis_matrix(2, 3), expected)


def test_axis_matrix_of_four_to_two_by_hand() -> None:
    """Centres at 0.5 and 2.5, the triangle two voxels wide to either side, cut at the border."""
    weights = torch.tensor([[0.75, 0.75, 0.25, 0.0], [0.0, 0.25, 0.75, 0.75]])
    torch.testing.assert_close(axis_matrix(4, 2), weights / weights.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
def test_apply_along_equals_einsum(axis: int) -> None:
    volume, letters = noise(3, 4, 5, 6), "abcd"
    old = letters[axis]
    matrix = noise(7, volume.shape[axis])
    expected = torch.einsum(f"z{old},abcd->{letters.replace(old, 'z')}", matrix, volume)
    torch.testing.assert_close(apply_along(volume, matrix, axis), expected)


@pytest.mark.parametrize("shape", [(9, 11, 13), (8, 20, 9), (9, 7, 31), (8, 7, 9), (60, 60, 60)])
def test_upsampling_equals_trilinear_interpolation(shape: tuple[int, int, int]) -> None:
    volume = noise(2, 8, 7, 9)
    expected = F.interpolate(volume[None], size=shape, mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(resample(volume, shape), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 7), (20, 5), (16, 3), (1, 1), (31, 29), (15, 17)])
def test_2d_equals_antialiased_interpolation(shape: tuple[int, int]) -> None:
    volume = noise(3, 31, 17)
    expected = F.interpolate(volume[None], size=shape, mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(resample(volume, shape), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 7, 5), (12, 30, 8), (40, 9, 8), (1, 1, 1)])
def test_3d_equals_two_antialiased_interpolations_in_2d(shape: tuple[int, int, int]) -> None:
    volume = noise(2, 31, 17, 16)
    i, j, k = shape
    flat = F.interpolate(volume, size=(j, k), mode="bilinear", antialias=True)
    flat = F.interpolate(flat.flatten(2)[:, None], size=(i, j * k), mode="bilinear", antialias=True)
    torch.testing.assert_close(resample(volume, shape), flat.view(2, i, j, k), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_in", "n_out"), [(20, 33), (33, 20), (40, 13), (13, 40)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ramp_stays_a_ramp(n_in: int, n_out: int, axis: int) -> None:
    """New centres lie at (n + ½) · scale − ½ of the old grid; at the border the triangle is cut.

    Exact where the grid gets finer. A widened triangle of fractional width is off by up to a tenth
    of a voxel: torch's, which the tests above compare with, is so too.
    """
    shape, new = [4, 5, 6], [4, 5, 6]
    shape[axis], new[axis] = n_in, n_out
    ramp = torch.arange(n_in, dtype=torch.float32)
    volume = ramp.view([-1 if a == axis else 1 for a in range(3)]).expand(shape)
    scale = n_in / n_out
    centres = (torch.arange(n_out, dtype=torch.float64) + 0.5) * scale - 0.5
    reach = max(1.0, scale)
    inside = (centres >= reach - 1) & (centres <= n_in - reach)
    assert inside.sum() >= n_out - 4
    line = resample(volume[None], tuple(new))[0].movedim(axis, 0).flatten(1)
    expected = centres.float()[inside, None].expand(-1, line.shape[1])
    torch.testing.assert_close(line[inside], expected, rtol=0, atol=1e-5 if scale <= 1 else 0.1)


@pytest.mark.parametrize("shape", [(9, 17, 4), (31, 40, 16), (31, 1, 8)])
def test_a_constant_stays_constant(shape: tuple[int, int, int]) -> None:
    volume = torch.full((1, 31, 17, 8), 123.0)
    torch.testing.assert_close(resample(volume, shape), torch.full((1, *shape), 123.0))


def test_an_axis_that_keeps_its_size_is_untouched() -> None:
    volume = noise(2, 6, 7, 8)
    assert resample(volume, (6, 7, 8)) is volume
    # Slices along the last axis do not mix when only the others change.
    alone = torch.stack([resample(volume[..., k], (9, 5)) for k in range(8)], dim=-1)
    torch.testing.assert_close(resample(volume, (9, 5, 8)), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_keep_theirs(dtype: torch.dtype) -> None:
    volume = noise(1, 6, 7, 8).to(dtype)
    result = resample(volume, (9, 9, 9))
    assert result.dtype == dtype
    expected = resample(volume.float(), (9, 9, 9))
    tolerance = 0.03 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(result.float(), expected, rtol=tolerance, atol=tolerance)


def blobs(shape: tuple[int, ...], num_classes: int) -> Tensor:
    """Random labels in patches of a few voxels."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, num_classes, [-(-n // 3) for n in shape])
    for axis in range(len(shape)):
        small = small.repeat(3, axis=axis)
    return torch.from_numpy(small[tuple(slice(n) for n in shape)].astype(np.int16))


@pytest.mark.parametrize("shape", [(17, 23, 13), (9, 12, 29), (25, 12, 10)])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_labels_equal_the_largest_share_of_interpolated_memberships(
    shape: tuple[int, int, int], num_classes: int
) -> None:
    labels = blobs((9, 12, 10), num_classes)
    members = F.one_hot(labels.long(), num_classes).movedim(-1, 0).float()
    shares = F.interpolate(members[None], size=shape, mode="trilinear", align_corners=False)[0]
    result = resample_labels(labels, shape, num_classes=num_classes)
    assert result.dtype == labels.dtype
    first, second = shares.topk(2, dim=0).values
    decided = first - second > 1e-5
    assert decided.float().mean() > 0.9
    assert torch.equal(result[decided].long(), shares.argmax(dim=0)[decided])
    # Where shares are equal one of the equal ones wins, never a third.
    share = shares.gather(0, result[None].long())[0]
    torch.testing.assert_close(share, first, rtol=0, atol=1e-5)


def test_of_equal_shares_the_lower_index_wins() -> None:
    labels = torch.tensor([1, 2], dtype=torch.int16).view(2, 1, 1)
    assert resample_labels(labels, (3, 1, 1), num_classes=3).flatten().tolist() == [1, 1, 2]
    labels = labels.flip(0)
    assert resample_labels(labels, (3, 1, 1), num_classes=3).flatten().tolist() == [2, 1, 1]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_rounding_does_not_decide_between_equal_shares(order: tuple[int, int]) -> None:
    """Both shares are ½, exactly; in float32 one comes out as 0.49999997."""
    corners = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0]).view(2, 2, 2)
    labels = torch.tensor(order, dtype=torch.int16)[corners]
    result = resample_labels(labels, (3, 5, 5), num_classes=2)
    assert result[1, 3, 1] == 0


def test_labels_of_equal_sizes_are_the_same_object() -> None:
    labels = blobs((9, 12, 10), 4)
    assert resample_labels(labels, (9, 12, 10), num_classes=4) is labels


@pytest.mark.parametrize("shape", [(4, 5, 3), (30, 30, 30), (1, 1, 1), (9, 4, 40)])
def test_labels_are_never_invented(shape: tuple[int, int, int]) -> None:
    labels = blobs((9, 12, 10), 6)
    labels[(labels == 0) | (labels == 3)] = 5
    found = set(resample_labels(labels, shape, num_classes=6).unique().tolist())
    assert found <= {1, 2, 4, 5}


def test_a_label_alone_fills_the_new_grid() -> None:
    labels = torch.full((5, 6, 7), 2, dtype=torch.int16)
    assert (resample_labels(labels, (9, 3, 11), num_classes=4) == 2).all()
