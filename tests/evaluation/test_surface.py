"""Surface figures: closed forms, and DeepMind's surface-distance as oracle."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from attnseg.evaluation import Surface, surface_figures
from attnseg.images import read_labels

ONE = (1.0, 1.0, 1.0)


def oracle(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, ...], tolerance: float
) -> list[float]:
    """NSD, HD95, ASSD of two masks that are not empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that SciPy has moved since
        import surface_distance as peer

        found = peer.compute_surface_distances(reference, prediction, spacing_mm)
    distances = np.concatenate([found["distances_gt_to_pred"], found["distances_pred_to_gt"]])
    areas = np.concatenate([found["surfel_areas_gt"], found["surfel_areas_pred"]])
    return [
        peer.compute_surface_dice_at_tolerance(found, tolerance),
        peer.compute_robust_hausdorff(found, 95),
        (distances * areas).sum() / areas.sum(),
    ]


def numbers(surface: Surface) -> list[float]:
    return [surface.nsd, surface.hd95_mm, surface.assd_mm]


def box(*sides: slice, shape: tuple[int, ...] = (24, 22, 20)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[sides] = True
    return mask


def ball(radius: float, *, size: int = 41) -> np.ndarray:
    i, j, k = np.indices((size, size, size)) - size // 2
    return np.asarray(i * i + j * j + k * k <= radius * radius)


CUBE = box(slice(4, 12), slice(5, 13), slice(6, 14))


def test_a_mask_agrees_with_itself() -> None:
    for mask in (CUBE, box(slice(3, 4), slice(3, 4), slice(3, 4)), np.ones((2, 3, 4), dtype=bool)):
        for tolerance in (0.0, 1.0):
            found = surface_figures(mask, mask, spacing_mm=ONE, tolerance_mm=tolerance)
            assert found == Surface(1.0, 0.0, 0.0)


def test_empty_masks() -> None:
    empty = np.zeros_like(CUBE)
    assert np.isnan(numbers(surface_figures(empty, empty, spacing_mm=ONE))).all()
    for pair in ((CUBE, empty), (empty, CUBE)):
        assert surface_figures(*pair, spacing_mm=ONE) == Surface(0.0, math.inf, math.inf)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_voxels_apart(axis: int) -> None:
    """Two voxels n apart: the eight corners of each; the near four n − 1 away, the far four n."""
    spacing_mm = (0.5, 2.0, 3.0)
    one = box(slice(2, 3), slice(2, 3), slice(2, 3))
    other = np.roll(one, 6, axis=axis)
    step = spacing_mm[axis]
    found = surface_figures(one, other, spacing_mm=spacing_mm, tolerance_mm=5 * step)
    assert numbers(found) == pytest.approx([0.5, 6 * step, 5.5 * step])
    assert surface_figures(one, other, spacing_mm=spacing_mm, tolerance_mm=4.9 * step).nsd == 0
    assert surface_figures(one, other, spacing_mm=spacing_mm, tolerance_mm=6 * step).nsd == 1


def test_spheres_around_one_centre() -> None:
    """Every element lies about four voxels from the other sphere."""
    half = (0.5, 0.5, 0.5)
    found = surface_figures(ball(10), ball(14), spacing_mm=half, tolerance_mm=1.0)
    # Elements lie up to a voxel's half diagonal beside the sphere; the nearest lies on this side.
    assert 1.5 < found.assd_mm < 2.0
    assert 1.5 < found.hd95_mm < 2.4
    assert found.nsd == 0
    near = surface_figures(ball(10), ball(14), spacing_mm=half, tolerance_mm=2.6)
    assert near.nsd == 1.0


@pytest.mark.parametrize("spacing_mm", [ONE, (0.7, 1.3, 3.0)])
@pytest.mark.parametrize("shape", [(9, 8, 7), (9, 8)])
@pytest.mark.parametrize("many", [0, 1 << 16])
def test_noise_holds_every_code_and_equals_the_oracle(
    spacing_mm: tuple[float, ...],
    shape: tuple[int, ...],
    many: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the tree, and as large dense masks are, by a distance transform."""
    monkeypatch.setattr("attnseg.evaluation.surface._MANY", many)
    rng = np.random.default_rng(0)
    spacing_mm = spacing_mm[: len(shape)]
    for share in (0.02, 0.3, 0.5, 0.8):
        ours, theirs = rng.random(shape) < share, rng.random(shape) < share
        ours.flat[0] = theirs.flat[-1] = True
        found = surface_figures(ours, theirs, spacing_mm=spacing_mm, tolerance_mm=1.0)
        assert numbers(found) == pytest.approx(oracle(ours, theirs, spacing_mm, 1.0), abs=1e-9)


def test_areas_equal_the_oracles_tables() -> None:
    from surface_distance import lookup_tables

    from attnseg.evaluation.surface import _areas

    for spacing_mm in (ONE, (0.5, 2.0, 7.0)):
        expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
        np.testing.assert_allclose(_areas(spacing_mm), expected, rtol=1e-12)
        expected = lookup_tables.create_table_neighbour_code_to_contour_length(spacing_mm[:2])
        np.testing.assert_allclose(_areas(spacing_mm[:2]), expected, rtol=1e-12)


def test_blocks_memory_order_and_edges_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    other = np.roll(CUBE, (2, 1, 3), axis=(0, 1, 2))
    other[20:, 20:, 18:] = True  # at the edge of the array
    spacing_mm = (0.7, 1.3, 3.0)
    expected = oracle(CUBE, other, spacing_mm, 2.0)
    monkeypatch.setattr("attnseg.evaluation.surface._BLOCK", 300)
    for a in (CUBE, np.asfortranarray(CUBE)):
        found = surface_figures(a, other, spacing_mm=spacing_mm, tolerance_mm=2.0)
        assert numbers(found) == pytest.approx(expected, abs=1e-9)


def test_thirty_real_pairs_equal_the_oracle(real_data: Path) -> None:
    paths = sorted((real_data / "hippocampus" / "labelsTr").glob("*.nii.gz"))[:30]
    for number, path in enumerate(paths):
        mask = read_labels(path)
        labels, moved = (
            mask.array[0],
            np.roll(mask.array[0], (number % 3, number % 2, 1), (0, 1, 2)),
        )
        spacing_mm = mask.geometry.spacing_mm if number % 2 else (0.7, 1.3, 2.0)
        for value in (1, 2):
            ours, theirs = moved == value, labels == value
            found = surface_figures(ours, theirs, spacing_mm=spacing_mm)
            assert numbers(found) == pytest.approx(oracle(ours, theirs, spacing_mm, 1.0), abs=1e-6)
