"""A data set made from nothing: CT-like abdomens with organ masks, to try every command on."""

import json
from pathlib import Path

import numpy as np

from attnseg.datasets.anatomy import LABELS, Abdomen
from attnseg.files import write_text
from attnseg.images import Geometry, Image, write_image, write_labels

# How the voxel axes of successive cases run, as (world axis, sign) per voxel axis: RAS, LPS, LAS,
# and PIR, which is how sagittal series are stored. Real archives mix such orders too.
_STORED_AXES = (
    ((0, 1), (1, 1), (2, 1)),
    ((0, -1), (1, -1), (2, 1)),
    ((0, -1), (1, 1), (2, 1)),
    ((1, -1), (2, -1), (0, 1)),
)
# Half the scanned block of the average patient, on which `anatomy` is built.
_HALF_EXTENT_MM = np.array([100.0, 90.0, 96.0])
_DEFAULT_SHAPE = np.array([80, 72, 48])


def make_phantoms(
    folder: Path,
    *,
    num_train: int,
    num_test: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (80, 72, 48),
) -> None:
    """Write a Decathlon data set of random abdomens.

    The same seed gives the same voxels. Every case has all four organs; their size, shape and place
    and the grid's spacing, tilt and order of axes differ from case to case.

    Args:
        folder: made if it is missing; files of the same names are replaced.
        num_train: cases in `imagesTr`, listed in dataset.json under `training`.
        num_test: cases in `imagesTs`, with masks in `labelsTs` for evaluation.
        seed: of all random numbers.
        shape: voxels along right, front, up; fewer voxels are larger, the patient stays whole.
    """
    folder = Path(folder)
    names = [f"phantom_{index:03d}.nii.gz" for index in range(num_train + num_test)]
    for index, name in enumerate(names):
        part = "Tr" if index < num_train else "Ts"
        image, labels = make_phantom(index, seed=seed, shape=shape)
        write_image(folder / f"images{part}" / name, image)
        write_labels(folder / f"labels{part}" / name, labels, like=image, dtype=np.dtype(np.uint8))
    metadata = {
        "name": "Phantoms",
        "description": "Random CT-like abdomens, drawn by attnseg; not patients",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(value): name for value, name in LABELS.items()}},
        "numTraining": num_train,
        "numTest": num_test,
        "training": [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}
            for name in names[:num_train]
        ],
        "test": [f"./imagesTs/{name}" for name in names[num_train:]],
    }
    write_text(folder / "dataset.json", json.dumps(metadata, indent=1) + "\n")


def make_phantom(index: int, *, seed: int, shape: tuple[int, int, int]) -> tuple[Image, np.ndarray]:
    """One scan (int16 HU `[1, I, J, K]`) and its mask (uint8 `[I, J, K]`), as stored in a file."""
    rng = np.random.default_rng([seed, index])
    geometry = _random_geometry(rng, np.array(shape), _STORED_AXES[index % len(_STORED_AXES)])
    points = _patient_points(geometry)
    edge_mm = float(np.mean(geometry.spacing_mm))
    patient = Abdomen(points, rng, edge_mm=edge_mm)
    noise = rng.uniform(8, 14) * _grainy_noise(rng, geometry.shape)
    scan = patient.hounsfield.reshape(geometry.shape) + noise
    scan = np.clip(np.rint(scan), -1024, 3071).astype(np.int16)
    return Image(scan[None], geometry), patient.labels.reshape(geometry.shape)


def _random_geometry(
    rng: np.random.Generator, ras_shape: np.ndarray, stored_axes: tuple[tuple[int, int], ...]
) -> Geometry:
    """A grid of about the body's size, tilted by a few degrees, somewhere in the scanner."""
    in_plane, slices = rng.uniform(2.2, 2.8), rng.uniform(3.5, 5.0)
    ras_spacing_mm = np.array([in_plane, in_plane, slices]) * _DEFAULT_SHAPE / ras_shape
    tilt = _rotation(np.radians(rng.uniform(2, 7, 3) * rng.choice([-1, 1], 3)))
    columns = [tilt[:, world] * sign * ras_spacing_mm[world] for world, sign in stored_axes]
    i, j, k = (int(ras_shape[world]) for world, _ in stored_axes)
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, axis=1)
    middle = rng.uniform((-15, -150, -600), (15, -100, 200))
    affine[:3, 3] = middle - affine[:3, :3] @ (np.array([i - 1, j - 1, k - 1]) / 2)
    return Geometry((i, j, k), affine)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """`[3, 3]` rotation about x, then y, then z by angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _patient_points(geometry: Geometry) -> np.ndarray:
    """`[3, N]` float32 places of the voxels in the average patient, who fills the scanned block.

    The axes stay the patient's own (x to the right), whatever way the grid is stored.
    """
    voxels = np.indices(geometry.shape).reshape(3, -1) - (np.array(geometry.shape)[:, None] - 1) / 2
    from_middle_mm = geometry.affine[:3, :3] @ voxels
    half_extent_mm = np.empty(3)
    for voxel_axis, (world_axis, _) in enumerate(geometry.closest_axes):
        extent = geometry.shape[voxel_axis] * geometry.spacing_mm[voxel_axis]
        half_extent_mm[world_axis] = extent / 2
    return (from_middle_mm * (_HALF_EXTENT_MM / half_extent_mm)[:, None]).astype(np.float32)


def _grainy_noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """`[I, J, K]` noise of unit variance, alike in neighbours, as reconstruction leaves it."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    for axis in range(3):
        noise = 0.5 * noise + 0.25 * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    # Each pass leaves 1/4 + 2/16 of the variance.
    return noise / np.float32(0.375**1.5)
