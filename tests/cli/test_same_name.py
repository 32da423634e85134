"""Two patients whose scans have the same file name, predicted into the same folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from attnseg.images import Geometry, Image, read_labels, write_image
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

SHAPES = {"patientA": (16, 18, 12), "patientB": (20, 15, 14)}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,))
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1.5, 1.5, 2), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["CT"],
            "labels": [{"value": 0, "name": "background"}, {"value": 1, "name": "liver"}],
            "patch": (16, 16, 12),
        }
    )
    save_model(tmp_path / "model.safetensors", network, spec)
    for seed, (patient, shape) in enumerate(SHAPES.items()):
        values = np.random.default_rng(seed).normal(40, 60, (1, *shape)).astype(np.float32)
        geometry = Geometry(shape, np.diag([1.5, 1.5, 2, 1]))
        write_image(tmp_path / patient / "ct.nii.gz", Image(values, geometry))
    return tmp_path


def test_the_second_patient_never_gets_the_first_ones_mask(attnseg, place: Path) -> None:
    a, b = (place / patient / "ct.nii.gz" for patient in SHAPES)
    common = ["-m", place / "model.safetensors", "-o", place / "out", "--backend", "torch"]
    assert attnseg("predict", a, *common).code == 0
    for options in ([], ["--overlap", "0.25"], ["--overwrite"], ["--dry-run"], ["--verify"]):
        result = attnseg("predict", b, *common, *options)
        assert result.code == 2
        assert str(a) in result.err
        assert str(b) in result.err
        assert "Traceback" not in result.err
    assert read_labels(place / "out" / "ct.nii.gz").geometry.shape == SHAPES["patientA"]
    again = attnseg("predict", a, *common, "--verify")
    assert (again.code, "ct: done before" in again.err) == (0, True)
    other = attnseg("predict", b, *common[:3], place / "outB", *common[4:])
    assert other.code == 0
    assert read_labels(place / "outB" / "ct.nii.gz").geometry.shape == SHAPES["patientB"]
    assert attnseg("predict", a, b, *common).code == 2
