"""Damaged DICOM series: one line of our own, or read; nothing else."""

import re
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hostile import Sample, attack
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from source_series import repack, write_series
from test_hostile_masks import change_element

from attnseg.images import Geometry, read_image
from attnseg.images.dicom import find_series

GRID = Geometry((12, 10, 4), np.diag([-0.8, -0.9, 2.5, 1.0]))


def read_series(path: Path) -> None:
    for series in find_series(path):
        read_image(series)


def pack(image: Dataset, index: int) -> None:
    image.compress(RLELossless, generate_instance_uid=False)


def folder_sample(folder: Path) -> Sample:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return Sample(".", files, edits=(change_element,))


def deflate(image: Dataset, index: int) -> None:
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def archive_sample(folder: Path, values: np.ndarray) -> Sample:
    """Deflated images, packed once more."""
    write_series(folder, GRID, values=values, change=deflate)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return Sample("ct.zip", {"ct.zip": packed.getvalue()})


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 3000, GRID.shape).astype(np.int16)


@pytest.mark.slow
def test_hostile_series(
    tmp_path: Path, full: Callable[[int], int], real_data: Path, values: np.ndarray
) -> None:
    write_series(tmp_path / "plain", GRID, values=values)
    write_series(tmp_path / "packed", GRID, values=values, change=pack)
    multi = real_data / "edge" / "dicom" / "dcmqi" / "23x38x3" / "multiframe" / "mf.dcm"
    samples = [
        folder_sample(tmp_path / "plain"),
        folder_sample(tmp_path / "packed"),
        archive_sample(tmp_path / "zip", values),
        Sample("mf.dcm", {"mf.dcm": multi.read_bytes()}, edits=(change_element,)),
    ]
    tally = attack(read_series, samples, count=full(500), seed=5, folder=tmp_path / "attack")
    assert not tally.failures, tally.failures
    assert min(tally.read, tally.refused) > tally.total // 10


@pytest.mark.slow
def test_hostile_jpeg(tmp_path: Path, full: Callable[[int], int], values: np.ndarray) -> None:
    """GDCM's copy of libjpeg says a line of its own on damaged data, which no setting keeps back;
    that alone is let pass."""
    write_series(tmp_path / "plain", GRID, values=values)
    repack(tmp_path / "plain", tmp_path / "jpeg", "JPEGLosslessProcess14_1")
    samples = [folder_sample(tmp_path / "jpeg")]
    tally = attack(read_series, samples, count=full(300), seed=6, folder=tmp_path / "attack")
    said = re.compile(r"mutation \d+ of \.: said on the screen: b'[^']*(JPEG|Huffman)[^']*'")
    assert not [failure for failure in tally.failures if not said.fullmatch(failure)]
    assert min(tally.read, tally.refused) > tally.total // 10
