"""A tiny trained-looking model, and scans with awkward geometry."""

from pathlib import Path

import numpy as np
import pytest
import torch

from attnseg.images import Geometry, Image, write_image
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec


@pytest.fixture
def make_model(tmp_path):
    def make(*, spacing=(1.0, 1.0, 1.0), values=(0, 1, 2), channels=1, name="model", **changes):
        torch.manual_seed(0)
        net = AttentionUNet(
            3, channels, len(values), channels=(4, 6), strides=(2,), gate_finest=True, **changes
        )
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
                "patch": (12, 16, 8),
            }
        )
        path = tmp_path / f"{name}.safetensors"
        save_model(path, net, spec)
        return path

    return make


OBLIQUE = np.array(
    [[-0.9, 0.2, 0.1, 12.5], [0.15, 0.1, -1.9, -40.25], [0.2, 1.1, 0.3, 7.0], [0, 0, 0, 1]]
)


@pytest.fixture
def make_scan(tmp_path):
    def make(name="scan", *, shape=(13, 17, 9), affine=OBLIQUE, channels=1, seed=0, folder="scans"):
        generator = np.random.default_rng(seed)
        array = generator.normal(100, 20, (channels, *shape)).astype(np.float32)
        path = Path(tmp_path / folder / f"{name}.nii.gz")
        write_image(path, Image(array, Geometry(shape, affine)))
        return path

    return make
