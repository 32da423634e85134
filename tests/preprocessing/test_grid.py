"""Scan to network input and back: no voxel lost, none moved by more than half its size."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from attnseg.errors import DataError
from attnseg.images import Geometry, Image
from attnseg.preprocessing import (
    Grid,
    apply_along,
    normalize,
    preprocess,
    preprocess_labels,
    resample,
)
from attnseg.spec import ClipZScore, Preprocessing, ZScore

SIGNED_PERMUTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]
VALUES = (0, -1, 205, 500)
# Stored axes run along −S, +R, −A.
SIR = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]])


def spec(*spacing: float, channels: int = 1) -> Preprocessing:
    i, j, k = spacing
    return Preprocessing(spacing_mm=(i, j, k), normalization=(ZScore(),) * channels)


def geometry(
    shape: tuple[int, int, int], spacing: tuple[float, ...], axes: np.ndarray | None = None
) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if axes is None else axes) @ np.diag(spacing)
    return Geometry(shape, affine)


def test_sizes_of_the_models_grid() -> None:
    # Along R, A, S: 20 × 2 mm, 30 × 3 mm, 10 × 1 mm.
    grid = Grid.of(geometry((10, 20, 30), (1.0, 2.0, 3.0), SIR), spec(1.0, 4.5, 2.5))
    assert grid.source_shape == (20, 30, 10)
    assert grid.shape == (40, 20, 4)
    assert grid.axes.permutation == (1, 2, 0)
    assert grid.axes.flips == (False, True, True)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(1.0, 700), (1.0009, 700), (0.9991, 700), (1.0011, 699), (0.9989, 701), (2.0, 350)],
)
def test_a_spacing_that_differs_by_a_rounding_is_the_same(wanted: float, expected: int) -> None:
    grid = Grid.of(geometry((700, 4, 4), (1.0, 1.0, 1.0)), spec(wanted, 1.0, 1.0))
    assert grid.shape == (expected, 4, 4)


@pytest.mark.parametrize("wanted", [0.3, 0.99, 1.01, 1.7, 4.0, 100.0])
def test_the_physical_extent_is_kept(wanted: float) -> None:
    grid = Grid.of(geometry((60, 13, 1), (1.0, 2.5, 8.0)), spec(wanted, wanted, wanted))
    for n, m, mm in zip(grid.shape, grid.source_shape, (1.0, 2.5, 8.0), strict=True):
        assert n >= 1
        assert n == 1 or abs(n * wanted - m * mm) <= wanted / 2 + 1e-9


def scan(place: Geometry, channels: int = 1) -> Image:
    rng = np.random.default_rng(0)
    return Image(rng.gamma(2.0, 50.0, (channels, *place.shape)).astype(np.float32), place)


def test_preprocess_equals_its_parts_done_by_others() -> None:
    """nibabel turns the axes, torch interpolates."""
    place = geometry((6, 7, 8), (2.0, 3.0, 1.5), SIR)
    image = scan(place, channels=2)
    ct = ClipZScore(low=20.0, high=150.0, mean=100.0, std=40.0)
    wanted = Preprocessing(spacing_mm=(1.5, 1.0, 1.0), normalization=(ZScore(), ct))
    volume, grid = preprocess(image, wanted)
    assert volume.dtype == torch.float32
    assert grid == Grid.of(place, wanted)
    assert tuple(volume.shape) == (2, 14, 12, 12)
    for channel, scheme in enumerate(wanted.normalization):
        normalized = normalize(image.array[channel], scheme, source="a")
        turned = nib.as_closest_canonical(nib.Nifti1Image(normalized, place.affine))
        expected = F.interpolate(
            torch.from_numpy(np.ascontiguousarray(turned.dataobj))[None, None],
            size=(14, 12, 12),
            mode="trilinear",
        )[0, 0]
        torch.testing.assert_close(volume[channel], expected, rtol=0, atol=1e-5)


def test_the_same_grid_leaves_values_alone() -> None:
    place = geometry((6, 7, 8), (2.0, 3.0, 1.5), SIR)
    image = scan(place)
    volume, grid = preprocess(image, spec(3.0, 1.5, 2.0))
    assert grid.matrices_back() == (None, None, None)
    normalized = normalize(image.array[0], ZScore(), source="a")
    np.testing.assert_array_equal(grid.axes.undo(volume.numpy())[0], normalized)


def test_matrices_back_only_where_sizes_differ() -> None:
    grid = Grid.of(geometry((6, 7, 8), (2.0, 3.0, 1.5)), spec(2.0, 1.0, 1.5))
    none, matrix, also_none = grid.matrices_back()
    assert none is None
    assert also_none is None
    assert matrix is not None
    assert tuple(matrix.shape) == (7, 21)


def test_the_number_of_channels_is_checked() -> None:
    with pytest.raises(
        DataError, match=r"image: 1 channel\(s\) where the model expects 2"
    ) as error:
        preprocess(scan(geometry((3, 3, 3), (1.0, 1.0, 1.0))), spec(1.0, 1.0, 1.0, channels=2))
    assert "\n" not in str(error.value)


def test_labels_are_resampled_as_classes() -> None:
    place = geometry((4, 1, 1), (2.0, 1.0, 1.0), np.diag([-1.0, 1.0, 1.0]))
    labels = Image(np.array([500, 500, -1, 0], dtype=np.int16).reshape(1, 4, 1, 1), place)
    result = preprocess_labels(labels, spec(1.0, 1.0, 1.0), label_values=VALUES)
    assert result.dtype == torch.int16
    # Turned to run to the right, each voxel twice: 0, −1, 500, 500 as positions in VALUES.
    assert result.flatten().tolist() == [0, 0, 1, 1, 3, 3, 3, 3]


def test_an_unknown_label_is_refused() -> None:
    labels = Image(np.full((1, 2, 2, 2), 3), geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    with pytest.raises(DataError, match=r"label value 3 is not one of \[0, -1, 205, 500\]"):
        preprocess_labels(labels, spec(1.0, 1.0, 1.0), label_values=VALUES)


def test_ignored_voxels_are_minus_one_and_vote_like_a_class() -> None:
    place = geometry((6, 1, 1), (1.0, 1.0, 1.0))
    labels = Image(np.array([500, 500, 255, 255, 0, 255]).reshape(1, 6, 1, 1), place)
    values = (0, 1, 500)
    same = preprocess_labels(labels, spec(1.0, 1.0, 1.0), label_values=values, ignore_label=255)
    assert same.dtype == torch.int16
    assert same.flatten().tolist() == [2, 2, -1, -1, 0, -1]
    coarse = preprocess_labels(labels, spec(2.0, 1.0, 1.0), label_values=values, ignore_label=255)
    assert coarse.flatten().tolist() == [2, -1, -1]  # of equal shares the lower index wins
    fine = preprocess_labels(labels, spec(0.5, 1.0, 1.0), label_values=values, ignore_label=255)
    assert fine.flatten().tolist() == [2, 2, 2, 2, -1, -1, -1, -1, 0, 0, -1, -1]
    with pytest.raises(DataError, match=r"label value 255 is not one of \[0, 1, 500\]"):
        preprocess_labels(labels, spec(1.0, 1.0, 1.0), label_values=values)


def test_ignoring_is_resampling_with_one_more_class() -> None:
    rng = np.random.default_rng(1)
    place = geometry((9, 7, 5), (1.0, 2.0, 3.0), SIR)
    values = rng.choice([0, 3, -9], place.shape)
    wanted = spec(1.7, 0.9, 2.0)
    labels = Image(values[None], place)
    found = preprocess_labels(labels, wanted, label_values=(0, 3), ignore_label=-9)
    as_class = preprocess_labels(labels, wanted, label_values=(-9, 0, 3))
    torch.testing.assert_close(found, as_class - 1)


def test_a_picture_is_not_resampled() -> None:
    place = Geometry((9, 7, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
    image = scan(place, channels=3)
    volume, grid = preprocess(image, spec(1.0, 1.0, 1.0, channels=3))
    assert grid.matrices_back() == (None, None, None)
    assert tuple(volume.shape) == (3, 9, 7, 1)
    # x points to the left and y to the back, the network's axes to the right and to the front.
    normalized = normalize(image.array[1], ZScore(), source="a")
    np.testing.assert_array_equal(volume[1], normalized[::-1, ::-1])


@st.composite
def places(draw: st.DrawFn) -> Geometry:
    """Any orientation and rotation, anisotropic up to 1 : 30, sheared a little, often thin."""
    floats = st.floats
    affine = np.eye(4)
    turn = draw(st.sampled_from(SIGNED_PERMUTATIONS))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        angle = draw(floats(-np.pi, np.pi))
        plane = np.eye(3)
        plane[[i, j], [i, j]] = np.cos(angle)
        plane[i, j], plane[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ plane
    shear = np.eye(3)
    shear[0, 2] = draw(floats(-0.2, 0.2))
    affine[:3, :3] = turn @ shear @ np.diag(draw(st.tuples(*[floats(0.3, 9.0)] * 3)))
    affine[:3, 3] = draw(st.tuples(*[floats(-200.0, 200.0)] * 3))
    sizes = draw(st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6)))
    i, j, k = draw(st.permutations(sizes))
    return Geometry((i, j, k), affine)


def check_identity(place: Geometry, seed: int) -> None:
    values = np.random.default_rng(seed).choice(np.array(VALUES), place.shape)
    axes = Grid.of(place, spec(1.0, 1.0, 1.0)).axes
    same = spec(*axes.permute(place.spacing_mm))
    indices = preprocess_labels(Image(values[None], place), same, label_values=VALUES)
    assert tuple(indices.shape) == axes.permute(place.shape)
    back = Grid.of(place, same).axes.undo(np.array(VALUES)[indices.numpy()])
    np.testing.assert_array_equal(back, values)


@given(places(), st.integers(0, 1000))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_labels_there_and_back_keep_every_voxel(place: Geometry, seed: int) -> None:
    check_identity(place, seed)


@pytest.mark.slow
@given(places(), st.integers(0, 1000))
def test_more_labels_there_and_back(place: Geometry, seed: int) -> None:
    check_identity(place, seed)


def check_way_back(place: Geometry, wanted: tuple[float, float, float]) -> int:
    """Send each voxel's own indices to the model's grid and back; count the voxels inside.

    A voxel that comes back as (i, j, k) + e lies |e · spacing| mm from its place along each axis.
    """
    grid = Grid.of(place, spec(*wanted))
    indices = np.indices(place.shape).astype(np.float32)
    volume = torch.from_numpy(np.ascontiguousarray(grid.axes.apply(indices)))
    volume = resample(volume, grid.shape)
    for axis, matrix in enumerate(grid.matrices_back()):
        if matrix is not None:
            volume = apply_along(volume, matrix, axis + 1)
    back = grid.axes.undo(volume.numpy())

    inside = np.ones(grid.source_shape, dtype=bool)
    for axis, (n, m) in enumerate(zip(grid.source_shape, grid.shape, strict=True)):
        if n != m:  # at the border the triangle is cut: two voxels of the coarser grid
            margin = int(np.ceil(2 * max(1.0, n / m)))
            keep = np.zeros(n, dtype=bool)
            keep[margin : n - margin] = True
            inside &= keep.reshape([-1 if other == axis else 1 for other in range(3)])
    inside = grid.axes.undo(inside)
    spacing = np.array(place.spacing_mm)[:, None]
    distance_mm = np.abs(back - indices)[:, inside] * spacing
    assert (distance_mm < 0.25 * spacing).all()  # half a voxel is the promise
    return int(inside.sum())


@given(places(), st.tuples(*[st.floats(0.5, 8.0)] * 3))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_positions_there_and_back_stay_within_half_a_voxel(
    place: Geometry, wanted: tuple[float, float, float]
) -> None:
    check_way_back(place, wanted)


@pytest.mark.parametrize("axes", SIGNED_PERMUTATIONS[::7])
@pytest.mark.parametrize("wanted", [(1.0, 1.0, 1.0), (3.1, 0.9, 2.0), (1.7, 5.0, 0.6)])
def test_positions_inside_a_larger_scan(
    axes: np.ndarray, wanted: tuple[float, float, float]
) -> None:
    place = geometry((40, 28, 30), (1.1, 2.3, 1.6), axes)
    assert check_way_back(place, wanted) > 1000
