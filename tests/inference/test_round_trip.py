"""Scan → preprocessing → a network that returns its input → mask → file → read back.

Every voxel must come home, whatever the affine: its own voxel where the model's spacing is the
scan's, half a voxel in mm at most where it is not.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnseg.images import (
    Geometry,
    Image,
    Outline,
    read_image,
    read_labels,
    write_image,
    write_labels,
)
from attnseg.inference import Predictor
from attnseg.models import AttentionUNet
from attnseg.preprocessing import Grid, preprocess
from attnseg.spec import ModelSpec

VALUES = (0, 7, 205, 40_000)
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


class Draw(NamedTuple):
    """One scan and how a model wants to see it."""

    affine: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    suffix: str
    resampled: bool


spacings = st.floats(0.2, 8.0)


@st.composite
def draws(draw: st.DrawFn, *, resampled: bool) -> Draw:
    """Any rotation (oblique, or axes permuted and flipped), spacings, origin and size."""
    shape = draw(st.tuples(*[st.integers(1, 60)] * 3))
    if draw(st.booleans()):
        shape = (*shape[:2], 1)  # 2D in 3D
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    if draw(st.booleans()):  # along the patient's axes, in any order and direction
        rotation = np.eye(3)[:, generator.permutation(3)] * generator.choice((-1.0, 1.0), 3)
    spacing = np.array(draw(st.tuples(*[spacings] * 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = generator.uniform(-500, 500, 3)
    geometry = Geometry(shape, affine)
    wanted = [geometry.spacing_mm[axis] for axis, _ in geometry.ras_axes]
    labels = np.array(VALUES)[generator.integers(0, len(VALUES), shape)]
    if resampled:
        wanted = [mm * draw(st.floats(0.4, 2.5)) for mm in wanted]
        labels = np.zeros(shape, dtype=np.int64)
        labels[box(generator, shape)] = 205
    patch = draw(st.tuples(*[st.integers(8, 40)] * 3))
    return Draw(affine, labels, tuple(wanted), patch, draw(st.sampled_from(SUFFIXES)), resampled)


def box(generator: np.random.Generator, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A part of the grid, a third of each axis or more."""
    ends = []
    for n in shape:
        width = int(generator.integers(-(-n // 3), n + 1))
        start = int(generator.integers(0, n - width + 1))
        ends.append(slice(start, start + width))
    return tuple(ends)


def predictor_of(spacing_mm: tuple[float, ...], patch: tuple[int, ...]) -> Predictor:
    """Its network gives back its input: one channel a class."""
    classes = len(VALUES)
    network = AttentionUNet(3, classes, classes, channels=(2, 2), strides=(2,))
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {
                "spacing_mm": spacing_mm,
                "normalization": [{"scheme": "ct", "low": 0, "high": 1, "mean": 0, "std": 1}]
                * classes,
            },
            "channel_names": [f"class {value}" for value in VALUES],
            "labels": [{"value": value, "name": f"label {value}"} for value in VALUES],
            "patch": patch,
        }
    )
    predictor = Predictor(network, spec, device="cpu")

    def identity(window: Tensor) -> Tensor:
        return window

    predictor.runner = SimpleNamespace(  # type: ignore[assignment]
        for_scan=lambda on_window: identity, window_bytes=0, base_bytes=0
    )
    return predictor


def there_and_back(draw: Draw, folder: Path) -> tuple[np.ndarray, Image, Image]:
    """Labels read back from the mask's file, the mask, and the scan as it was read."""
    classes = (draw.labels == np.array(VALUES).reshape(-1, 1, 1, 1)).astype(np.float32)
    source = folder / "scan.nii.gz"
    write_image(source, Image(classes, Geometry(draw.labels.shape, draw.affine)))
    scan = read_image(source, num_channels=len(VALUES))
    predictor = predictor_of(draw.spacing_mm, draw.patch)
    volume, grid = preprocess(scan, predictor.spec.preprocessing)
    outline = Outline(scan.geometry, len(VALUES), 0)
    labels = predictor.segment(
        volume, grid, predictor.plan(outline, source="scan"), geometry=scan.geometry
    )
    mask = folder / f"mask{draw.suffix}"
    write_labels(mask, labels, like=scan, dtype=predictor.label_type)
    back = read_labels(mask)
    return back.array[0], back, scan


def check_exact(draw: Draw) -> None:
    with tempfile.TemporaryDirectory() as folder:
        labels, mask, scan = there_and_back(draw, Path(folder))
    np.testing.assert_array_equal(labels, draw.labels)
    check_place(draw, mask, scan)


def check_within_half_a_voxel(draw: Draw) -> None:
    with tempfile.TemporaryDirectory() as folder:
        labels, mask, scan = there_and_back(draw, Path(folder))
    check_place(draw, mask, scan)
    assert set(np.unique(labels)) <= {0, 205}
    widths = []
    for axis, own, model in voxels_mm(draw, scan.geometry):
        before, after = extent(draw.labels, axis), extent(labels, axis)
        assert before is not None
        widths.append((before[1] - before[0] + 1) * own / model)
        if after is not None:
            # Centres of voxels that changed sides, from where the label really ends.
            moved = [a - b for b, a in zip(before, after, strict=True)]
            changed = max(map(abs, moved))
            off_mm = (changed - 0.5) * own
            assert off_mm <= 0.5 * max(own, model) + 1e-6, (axis, before, after, own, model)
            # Nor does the whole go anywhere.
            assert abs(sum(moved)) / 2 * own <= 0.5 * max(own, model) + 1e-6
    # What is thinner than a voxel of the model may be lost to it, nothing else.
    assert (labels != 0).any() or min(widths) <= 1


def voxels_mm(draw: Draw, geometry: Geometry) -> list[tuple[int, float, float]]:
    """Axis of the file, the scan's voxel, and the model's as a whole number of them fits."""
    spec = predictor_of(draw.spacing_mm, draw.patch).spec.preprocessing
    grid = Grid.of(geometry, spec)
    sizes = zip(geometry.ras_axes, grid.source_shape, grid.shape, strict=True)
    own = geometry.spacing_mm
    return [(axis, own[axis], own[axis] * n / m) for (axis, _), n, m in sizes]


def extent(labels: np.ndarray, axis: int) -> tuple[int, int] | None:
    """First and last index of what is labelled, along one axis."""
    others = tuple(other for other in range(3) if other != axis)
    found = np.flatnonzero((labels != 0).any(axis=others))
    return (int(found[0]), int(found[-1])) if found.size else None


def check_place(draw: Draw, mask: Image, scan: Image) -> None:
    """The mask's voxels lie where the scan's do: bit for bit in NIfTI, to 10⁻⁹ in text headers."""
    if draw.suffix.startswith(".nii"):
        np.testing.assert_array_equal(mask.geometry.affine, scan.geometry.affine)
    np.testing.assert_allclose(mask.geometry.affine, scan.geometry.affine, rtol=1e-9, atol=1e-9)
    # What a NIfTI header keeps of the drawn affine is float32.
    np.testing.assert_allclose(scan.geometry.affine, draw.affine, rtol=1e-6, atol=1e-4)


@given(draws(resampled=False))
@settings(max_examples=100)
def test_every_voxel_comes_home(draw: Draw) -> None:
    torch.set_num_threads(1)
    check_exact(draw)


@given(draws(resampled=True))
@settings(max_examples=100)
def test_resampled_labels_stay_within_half_a_voxel(draw: Draw) -> None:
    torch.set_num_threads(1)
    check_within_half_a_voxel(draw)


@pytest.mark.slow
@given(st.one_of(draws(resampled=False), draws(resampled=True)))
def test_ten_thousand_round_trips(draw: Draw) -> None:
    """10,000 under `make soak`, a twentieth in `make test`: the profile says how many."""
    torch.set_num_threads(1)
    (check_within_half_a_voxel if draw.resampled else check_exact)(draw)
