"""Tiny trained-looking models in 3D and 2D, and scans with awkward geometry."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from attnseg.images import Geometry, Image, write_image
from attnseg.inference import Job
from attnseg.inference.predict import predict
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec


@pytest.fixture
def make_model(tmp_path):
    """Write a model file; with `slice_axis` the network is 2D and its patch 1 along that axis."""

    def make(
        *,
        spacing=(1.0, 1.0, 1.0),
        values=(0, 1, 2),
        channels=1,
        name="model",
        seed=0,
        slice_axis=None,
        patch=(12, 16, 8),
        regions=(),
        mirror_axes=(),
        fingerprint=None,
        **changes,
    ):
        torch.manual_seed(seed)
        dims = 3 if slice_axis is None else 2
        settings = {"channels": (4, 6), "strides": (2,), "gate_finest": True} | changes
        net = AttentionUNet(dims, channels, len(regions or values), **settings)
        # Louder heads: random weights alone would call everything the same class.
        torch.nn.init.normal_(net.heads[0].weight, std=3.0)
        spec = ModelSpec.model_validate(
            {
                "architecture": net.architecture,
                "preprocessing": {
                    "spacing_mm": spacing,
                    "normalization": [{"scheme": "zscore"}] * channels,
                },
                "channel_names": [f"channel {i}" for i in range(channels)],
                "labels": [{"value": v, "name": f"organ {v}"} for v in values],
                "regions": regions,
                "patch": tuple(1 if axis == slice_axis else n for axis, n in enumerate(patch)),
                "mirror_axes": mirror_axes,
                "fingerprint": fingerprint or {},
            }
        )
        path = tmp_path / f"{name}.safetensors"
        save_model(path, net, spec)
        return path

    return make


def _oblique():
    """Voxel axes far from the patient's, permuted and flipped, at right angles."""
    rough = np.array([[-0.9, 0.2, 0.1], [0.15, 0.1, -1.9], [0.2, 1.1, 0.3]])
    spacing = np.linalg.norm(rough, axis=0)
    u, _, vt = np.linalg.svd(rough / spacing)
    affine = np.eye(4)
    affine[:3, :3] = (u @ vt) * spacing
    affine[:3, 3] = 12.5, -40.25, 7.0
    return affine


OBLIQUE = _oblique()


@pytest.fixture
def make_scan(tmp_path):
    def make(name="scan", *, shape=(13, 17, 9), affine=OBLIQUE, channels=1, seed=0, folder="scans"):
        generator = np.random.default_rng(seed)
        array = generator.normal(100, 20, (channels, *shape)).astype(np.float32)
        path = Path(tmp_path / folder / f"{name}.nii.gz")
        write_image(path, Image(array, Geometry(shape, affine)))
        return path

    return make


@pytest.fixture
def make_picture(tmp_path):
    """Write noise as a picture, grey or in colour."""

    def make(name="picture.png", *, rows=23, columns=31, colour=False, seed=0, folder="pictures"):
        generator = np.random.default_rng(seed)
        shape = (rows, columns, 3) if colour else (rows, columns)
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)
        return path

    return make


@pytest.fixture
def run(make_model, tmp_path, capsys):
    """Predict into one folder: name → state, and what was said."""
    model = make_model()

    def call(*inputs, output="out", job=None, how=predict, **settings):
        settings = {"model": model, "job": job or Job()} | settings
        outcomes = how(list(inputs), tmp_path / output, device="cpu", **settings)
        states = {each.name: each.state for each in outcomes} if how is predict else outcomes
        return states, capsys.readouterr().err

    return call


@pytest.fixture
def two_patients(make_scan):
    """The same file name, shape and place, of two patients."""
    return tuple(
        make_scan("ct", folder=f"patient{each}", seed=seed) for seed, each in enumerate("AB")
    )
