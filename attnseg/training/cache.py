"""Every case preprocessed once, kept as plain `.npy` files that are mapped, not loaded.

A patch reads only its own part of the file. The format is open and holds no pickles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.datasets import Case
from attnseg.files import atomic_path
from attnseg.images import read_case, read_labels
from attnseg.preprocessing import preprocess, preprocess_labels
from attnseg.spec import ModelSpec

# Voxels remembered per class: enough for every patch of a run to differ.
_VOXELS_PER_CLASS = 2000


@dataclass(frozen=True)
class CachedCase:
    """A preprocessed case on disk.

    Args:
        image: `[C, R, A, S]` float32, normalised, on the model's spacing.
        label: `[R, A, S]` int16, class indices.
        foreground: `[n, 4]` int32, rows of (class, r, a, s): a sample of labelled voxels.
    """

    image: Path
    label: Path
    foreground: Path

    def load(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image and label as memory maps, the foreground sample in memory."""
        return (
            np.load(self.image, mmap_mode="r", allow_pickle=False),
            np.load(self.label, mmap_mode="r", allow_pickle=False),
            np.load(self.foreground, allow_pickle=False),
        )


def cache_cases(
    cases: Sequence[Case],
    spec: ModelSpec,
    folder: Path,
    *,
    on_case: Callable[[str], None] = lambda name: None,
) -> list[CachedCase]:
    """Preprocess cases into `folder`; those that are there already are taken as they are.

    Raises:
        DataError: a case that cannot be read or used.
    """
    cached = []
    for case in cases:
        files = CachedCase(
            *(folder / f"{case.name}_{part}.npy" for part in ("image", "label", "foreground"))
        )
        # The foreground is written last: where it exists the case is complete.
        if not files.foreground.exists():
            _preprocess_case(case, spec, files)
        cached.append(files)
        on_case(case.name)
    return cached


def _preprocess_case(case: Case, spec: ModelSpec, files: CachedCase) -> None:
    assert case.label is not None, case.name
    image = read_case(case.images, num_channels=spec.architecture.in_channels)
    volume, _ = preprocess(image, spec.preprocessing)
    labels = preprocess_labels(
        read_labels(case.label), spec.preprocessing, label_values=spec.label_values
    ).numpy()
    _save(files.image, volume.numpy())
    _save(files.label, labels)
    _save(files.foreground, foreground_sample(labels, len(spec.labels), seed=0))


def foreground_sample(labels: np.ndarray, num_classes: int, *, seed: int) -> np.ndarray:
    """`[n, 4]` int32 rows (class, r, a, s): up to 2000 voxels of every class but the background."""
    generator = np.random.default_rng(seed)
    rows = [np.empty((0, 4), dtype=np.int32)]
    for index in range(1, num_classes):
        voxels = np.argwhere(labels == index)
        if len(voxels) > _VOXELS_PER_CLASS:
            voxels = voxels[generator.choice(len(voxels), _VOXELS_PER_CLASS, replace=False)]
        rows.append(np.insert(voxels, 0, index, axis=1).astype(np.int32))
    return np.concatenate(rows)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)
