"""Probabilities: written class by class, given as an array, the labels' own."""

import nibabel as nib
import numpy as np
import pytest
import torch

from attnseg.images import read_image
from attnseg.inference import Job, Predictor, find_scans, predict_cohort

REGIONS = (
    {"name": "whole", "members": (1, 2), "value": 7},
    {"name": "core", "members": (2,), "value": 3},
)


@pytest.mark.parametrize("regions", [(), REGIONS], ids=["classes", "regions"])
def test_probabilities_are_those_that_decided(make_model, make_scan, tmp_path, regions):
    model = make_model(spacing=(0.8, 1.2, 1.5), regions=regions)
    path = make_scan()
    predictor = Predictor.load(model, device="cpu")
    found = predictor.predict(path, probabilities=True)
    shares = found.probabilities
    assert shares.shape == (len(regions) or 3, *found.labels.shape)
    if regions:
        expected = np.where(shares[1] > 0.5, 3, np.where(shares[0] > 0.5, 7, 0))
    else:
        np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)
        expected = np.array(predictor.spec.label_values)[shares.argmax(axis=0)]
    np.testing.assert_array_equal(found.labels, expected)
    np.testing.assert_array_equal(predictor.predict(path).labels, found.labels)

    (outcome,) = predict_cohort(
        find_scans([path], num_channels=1), predictor, tmp_path / "out", model_id="x",
        job=Job(probabilities=True),
    )  # fmt: skip
    assert outcome.probabilities == "scan_probabilities.nii.gz"
    stored = nib.load(tmp_path / "out" / outcome.probabilities)
    np.testing.assert_allclose(stored.affine, read_image(path).geometry.affine)
    np.testing.assert_allclose(np.moveaxis(stored.get_fdata(), -1, 0), shares, atol=1 / 65535)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "manifest.jsonl", "scan.nii.gz", "scan_probabilities.nii.gz",
    ]  # fmt: skip
    np.testing.assert_array_equal(nib.load(tmp_path / "out" / "scan.nii.gz").dataobj, found.labels)


def test_attention_comes_along_where_asked(make_model, make_scan):
    predictor = Predictor.load(make_model(), device="cpu")
    path = make_scan()
    assert predictor.predict(path).attention is None
    maps = predictor.predict(path, attention=True).attention
    assert list(maps) == ["0"]
    np.testing.assert_array_equal(maps["0"], predictor.attention(path)["0"])


def test_empty_windows_run_once(make_model):
    """Windows of one value give what they gave before, bit for bit, without the network."""
    from attnseg.inference.backends import once_where_constant

    calls = []

    def network(patches):
        calls.append(1)
        return patches.cumsum(dim=2) * 0.1

    run = once_where_constant(network)
    air, other = torch.full((1, 2, 4, 4, 4), -1.5), torch.randn(1, 2, 4, 4, 4)
    first = run(air)
    assert torch.equal(run(air.clone()), first)
    assert len(calls) == 1
    run(other)
    run(other)
    assert len(calls) == 3
    two_values = air.clone()
    two_values[:, 1] = 2.0
    assert torch.equal(run(two_values), network(two_values))
    assert torch.equal(run(air), first)
