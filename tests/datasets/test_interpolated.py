"""Masks whose values were interpolated are told of; labels that are thin in earnest are not."""

import io

import numpy as np
import PIL.Image
import pytest
from scipy.ndimage import rotate, zoom

from attnseg.datasets import find_dataset, find_problems, inspect_dataset
from attnseg.datasets.interpolated import count_between

BILINEAR, BICUBIC = PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.BICUBIC


def disc(seed: int, size: int = 128) -> np.ndarray:
    """`[rows, columns]`, of a disc and an ellipse."""
    y, x = np.mgrid[:size, :size]
    near = ((x - 60 - seed) ** 2 + (y - 64) ** 2 < 30**2) | ((x - 30) ** 2 / 4 + (y - 90) ** 2 < 64)
    return near.astype(np.uint8)


def distance(seed: int, shape: tuple[int, ...] = (30, 30, 24)) -> np.ndarray:
    """From a centre of a volume, in voxels."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    centre = np.array(shape) / 2 + np.random.default_rng(seed).normal(0, 1, 3)
    return np.sqrt(((grid - centre[:, None, None, None]) ** 2).sum(axis=0))


def rings(seed: int, *thicknesses: float) -> np.ndarray:
    """1 around 2 around 3 and so on, each so many voxels thick, the last one solid."""
    labels, radius = np.zeros((30, 30, 24), np.uint8), 10.5
    for value, thickness in enumerate((*thicknesses, 0), start=1):
        labels[distance(seed) < radius] = value
        radius -= thickness
    return labels


def resized(mask: np.ndarray, size: int, kind: PIL.Image.Resampling) -> np.ndarray:
    return np.asarray(PIL.Image.fromarray(mask).resize((size, size), kind))


def as_jpeg(mask: np.ndarray, quality: int) -> np.ndarray:
    """JPEG and back, as a PNG then holds it."""
    content = io.BytesIO()
    PIL.Image.fromarray(mask).save(content, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(content))


def smoothed(labels: np.ndarray, factor: float) -> np.ndarray:
    """Interpolated linearly and rounded: by half and back, or by a factor."""
    values = labels.astype(float)
    if factor == 0.5:
        values = zoom(values, 0.5, order=1)
        factor = 2
    return np.rint(zoom(values, factor, order=1)).astype(np.uint8)


@pytest.fixture
def warnings(tmp_path, save, save_picture, write_metadata):
    """Warnings of a data set of these masks, `[rows, columns]` or `[I, J, K]`."""

    def find(masks, **content):
        rng = np.random.default_rng(0)
        for number, mask in enumerate(masks):
            scan = rng.integers(0, 255, mask.shape).astype(np.uint8)
            write, suffix = (save_picture, ".png") if mask.ndim == 2 else (save, ".nii.gz")
            write(tmp_path / "images" / f"c{number}{suffix}", scan)
            write(tmp_path / "labels" / f"c{number}{suffix}", np.ascontiguousarray(mask))
        if content:
            write_metadata(tmp_path, **content)
        dataset = find_dataset(tmp_path)
        return [
            finding
            for finding in find_problems(dataset, inspect_dataset(dataset))
            if finding.severity == "warning"
        ]

    return find


@pytest.mark.parametrize(
    ("masks", "least"),
    [
        # The three of the case.
        ([resized(255 * disc(s), 64, BILINEAR) for s in range(4)], 20),
        ([as_jpeg(255 * disc(s, 128)[::2, ::2], 80) for s in range(4)], 10),
        ([smoothed(4 * (distance(s) < 8), 0.5) for s in range(3)], 3),
        # Further ones.
        ([resized(5 * disc(s), 256, BILINEAR) for s in range(3)], 4),
        ([resized(255 * disc(s), 100, BICUBIC) for s in range(3)], 100),
        ([as_jpeg(255 * disc(s), 30) for s in range(3)], 50),
        ([as_jpeg(4 * disc(s), 75) for s in range(3)], 2),
        ([smoothed(np.array([0, 10, 25, 40])[rings(s, 4, 4)], 0.7) for s in range(3)], 10),
        ([smoothed(4 * (distance(s) < 8), 3) for s in range(2)], 3),
        (
            [
                np.rint(rotate(6.0 * (distance(s) < 9), 7, order=1, reshape=False)).astype("u1")
                for s in range(2)
            ],
            4,
        ),
    ],
)
def test_values_that_lie_only_at_the_edges_of_others(warnings, masks, least):
    (finding,) = warnings(masks)
    assert finding.case == "dataset"
    assert int(finding.problem.split()[0]) >= least
    assert f"in {len(masks)} of {len(masks)} masks, such as that of c0" in finding.problem
    assert "resized by nearest neighbour" in finding.remedy


def test_declared_labels_do_not_hide_the_others(warnings):
    masks = [smoothed(4 * (distance(s) < 8), 0.5) for s in range(3)]
    (finding,) = warnings(masks, labels={"background": 0, "organ": 4})
    assert finding.problem.startswith("3 label values, such as 1, 2, 3, lie only at the edges")


def test_names_that_are_made_of_the_value_say_nothing(warnings):
    """As `attnseg convert` writes them for values that nobody declared."""
    masks = [smoothed(4 * (distance(s) < 8), 0.5) for s in range(3)]
    names = {f"label {value}": value for value in range(1, 5)}
    assert len(warnings(masks, labels={"background": 0, **names})) == 1


def retina(seed: int, thickness: int) -> np.ndarray:
    """Layers 1 to 8, one below the other."""
    y, x = np.mgrid[:100, :120]
    depth = (y - 30 - 8 * np.sin(x / 20 + seed)) / thickness
    return np.clip(np.ceil(depth), 0, 8).astype(np.uint8)


def thin_vessels(seed: int) -> np.ndarray:
    """Thirteen lines of a voxel, as of an angiogram."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((40, 40, 40), np.uint8)
    for value in range(1, 14):
        start, step = rng.uniform(8, 32, 3), rng.normal(size=3)
        line = start + np.linspace(0, 12, 40)[:, None] * step / np.linalg.norm(step)
        labels[tuple(np.clip(np.rint(line), 0, 39).astype(int).T)] = value
    return labels


def touching(seed: int) -> np.ndarray:
    """Instances, each a value of its own, that touch each other."""
    points = np.random.default_rng(seed).uniform(0, 80, (30, 2))
    y, x = np.mgrid[:80, :80]
    apart = np.hypot(y - points[:, :1, None], x - points[:, 1:, None])
    return np.where(apart.min(axis=0) < 8, apart.argmin(axis=0) + 1, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "masks",
    [
        [rings(s, 3, 4) for s in range(2)],  # oedema, tumour, core
        [rings(s, 1) for s in range(2)],  # a wall around a lumen
        [rings(s, 4, 1) for s in range(2)],  # the rim of a core
        [rings(s, 2, 2) for s in range(2)],
        [retina(s, 2) for s in range(2)],
        [thin_vessels(s) for s in range(2)],
        [touching(s) for s in range(2)],
        [np.array([0, 10, 25, 40])[rings(s, 3, 4)].astype(np.uint8) for s in range(2)],
        [255 * disc(s) for s in range(2)],
    ],
)
def test_labels_that_are_meant(warnings, masks):
    assert warnings(masks) == []


def test_labels_that_are_named_are_meant(warnings):
    """Three walls of a voxel each, as of an eye on MRI."""
    masks = [rings(s, 1, 1, 1) for s in range(2)]
    names = {"background": 0, "sclera": 1, "choroid": 2, "retina": 3, "vitreous": 4}
    assert warnings(masks, labels=names) == []


def test_voxels_to_ignore_are_neighbours_of_nothing():
    labels = np.zeros((9, 9, 1), np.uint8)
    labels[3:6, 3:6] = 255
    labels[4, 4] = 7
    counts = {0: 72, 7: 1, 255: 8}
    assert count_between(labels, counts, {7}) == {7: (1, 0)}
    labels[3, 3] = 0
    assert count_between(labels, counts, {7}) == {7: (1, 1)}
    assert count_between(labels, counts, {7}, ignore_label=255) == {7: (1, 0)}


def test_large_masks_are_sampled_evenly():
    labels = np.zeros((64, 64, 64), np.int64)
    labels[:, :, 8:] = 3
    labels[:, :, 4:8] = 2
    labels[::2, :, 4:8] = 1
    counts = {0: 64 * 64 * 4, 1: 64 * 32 * 4, 2: 64 * 32 * 4, 3: 64 * 64 * 56}
    found = count_between(labels, counts, {1, 2})
    assert 8000 <= sum(seen for seen, _ in found.values()) <= 10_000
    assert {1, 2} == found.keys()


@pytest.mark.parametrize("name", ["hippocampus", "head_neck_ct", "superalloy/train"])
def test_real_masks_have_no_warning(real_data, warnings, name):
    """Without their dataset.json, so that no name tells."""
    from attnseg.images import read_labels

    dataset = find_dataset(real_data / name)
    masks = [read_labels(case.label).array[0] for case in dataset.cases[:6]]
    assert warnings([mask[..., 0] if mask.shape[2] == 1 else mask for mask in masks]) == []
