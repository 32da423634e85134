"""Small files on disk for the tests of `attnseg.datasets`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.images import Geometry, Image, write_image


@pytest.fixture
def touch() -> Callable[..., None]:
    """Make empty files; layouts look at names only."""

    def make(root: Path, *names: str) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()

    return make


@pytest.fixture
def save() -> Callable[..., Path]:
    """Write `[I, J, K]` or `[C, I, J, K]` voxels as NIfTI."""

    def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        channels = array if array.ndim == 4 else array[None]
        geometry = Geometry(channels.shape[1:], np.eye(4) if affine is None else affine)
        write_image(path, Image(channels, geometry))
        return path

    return write


@pytest.fixture
def write_metadata() -> Callable[..., None]:
    """Write `dataset.json`."""

    def write(root: Path, **content: object) -> None:
        (root / "dataset.json").write_text(json.dumps(content))

    return write


@pytest.fixture
def save_picture() -> Callable[..., Path]:
    """Write `[rows, columns]` or `[rows, columns, 3]` uint8 pixels in the format of the suffix."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(path)
        return path

    return write
