"""A tiny data set: bright boxes on noise, learnable in seconds; and settings of such runs."""

from pathlib import Path

import numpy as np

from attnseg.config import Config, load_config
from attnseg.images import Geometry, Image, write_image, write_labels

# Settings under which the boxes are learned.
LEARNING = {
    "model__channels": [8, 16],
    "training__epochs": 6,
    "training__steps_per_epoch": 25,
    "training__batch_size": 2,
    "training__learning_rate": 0.01,
    "training__ema_decay": 0.9,
}


def write_toy(folder: Path) -> Path:
    """Six cases of 20×18×12 voxels in paired folders, labels 1 and 7."""
    for number in range(6):
        generator = np.random.default_rng(number)
        labels = np.zeros((20, 18, 12), dtype=np.uint8)
        i, j, k = generator.integers(1, 5, 3)
        labels[i : i + 8, j : j + 8, k : k + 6] = 1
        labels[i + 10 : i + 14, j : j + 8, k : k + 6] = 7
        level = np.select([labels == 1, labels == 7], [60.0, 120.0], 5.0)
        array = (level + generator.normal(0, 5, labels.shape)).astype(np.float32)
        image = Image(array[None], Geometry(labels.shape, np.diag([1.5, 1.5, 2.0, 1.0])))
        write_image(folder / "images" / f"case{number}.nii.gz", image)
        write_labels(
            folder / "labels" / f"case{number}.nii.gz",
            labels,
            like=image,
            dtype=np.dtype(np.uint8),
        )
    return folder


def make_config(data: Path, **changes) -> Config:
    """Configuration of a run of seconds; dotted keys change it."""
    settings = {
        "data.root": str(data),
        "data.num_folds": 3,
        "model.patch": [16, 16, 8],
        "model.channels": [4, 8],
        "training.epochs": 2,
        "training.steps_per_epoch": 3,
        "training.batch_size": 1,
        "training.validation_cases": 1,
        "training.validation_every_epochs": 1,
    }
    return load_config(None, settings | {k.replace("__", "."): v for k, v in changes.items()})
