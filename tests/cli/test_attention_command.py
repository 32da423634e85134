"""`attnseg attention`, files to files."""

import csv
import json
import os
import re

import nibabel as nib
import numpy as np
import pytest
import torch
from claiming import claimed, end
from typer.testing import CliRunner

from attnseg.cli.app import app
from attnseg.errors import DataError, RunError, UsageError
from attnseg.images import Geometry, Image, write_image, write_labels
from attnseg.inference import Job, predict
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

SHAPE = (18, 16, 13)


@pytest.fixture
def place(tmp_path):
    """Two scans, their references, and a model one of whose gates is forced to 1."""
    torch.manual_seed(0)
    net = AttentionUNet(3, 1, 3, channels=(4, 6, 8), strides=(2, 2), gate_finest=True)
    torch.nn.init.normal_(net.heads[0].weight, std=3.0)
    with torch.no_grad():
        net.gates["0"].psi.weight.normal_(std=3.0)
        net.gates["0"].psi.bias.zero_()
        net.gates["1"].psi.weight.zero_()
        net.gates["1"].psi.bias.fill_(20.0)
    spec = ModelSpec.model_validate(
        {
            "architecture": net.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["scan"],
            "labels": [{"value": v, "name": n} for v, n in ((0, "air"), (1, "liver"), (2, "a<b"))],
            "patch": (16, 16, 12),
        }
    )
    save_model(tmp_path / "model.safetensors", net, spec)
    for seed, name in enumerate(("one", "two")):
        array = np.random.default_rng(seed).normal(size=(1, *SHAPE)).astype(np.float32)
        image = Image(array, Geometry(SHAPE, np.diag([-1.0, 1.0, 1.5, 1.0])))
        write_image(tmp_path / "scans" / f"{name}.nii.gz", image)
        labels = np.zeros(SHAPE, np.uint8)
        labels[4:9, 3:9, 2:8], labels[10:14, 3:9, 2:8] = 1, 2
        write_labels(
            tmp_path / "refs" / f"{name}.nii.gz", labels, like=image, dtype=np.dtype(np.uint8)
        )
    return tmp_path


def call(place, *arguments):
    model = ["-m", str(place / "model.safetensors"), "-o", str(place / "out")]
    return CliRunner().invoke(app, ["attention", *map(str, arguments), *model])


def test_maps_figures_verdicts_and_a_page(place):
    done = call(place, place / "scans", "--ref", place / "refs", "--replaced", "1")
    assert done.exit_code == 0, done.output
    out = place / "out"
    assert {path.name for path in out.iterdir()} == {
        "attention.csv", "attention.html", "attention.json", "attention.jsonl",
        *(f"{n}_attention.nii.gz" for n in ("one", "two")),
        *(f"{n}_attention_overlay_gate{g}.png" for n in ("one", "two") for g in "01"),
    }  # fmt: skip
    maps = nib.load(out / "one_attention.nii.gz")
    assert maps.shape == (*SHAPE, 2)
    np.testing.assert_array_equal(maps.affine, nib.load(place / "scans" / "one.nii.gz").affine)
    assert maps.get_fdata()[..., 1].min() == pytest.approx(1.0, abs=1e-6)

    content = json.loads((out / "attention.json").read_text())
    finest, forced = content["gates"]
    assert content["dice_against"] == "reference"
    assert forced["constant"]
    assert "nearly constant (α = 1.00)" in forced["verdict"]
    assert not finest["constant"]
    assert finest["faithfulness"]["dice"]["open"] is not None
    assert [bool(scan["gates"][0]["faithfulness"]) for scan in content["scans"]] == [True, False]
    told = maps.get_fdata()[..., 0].mean()
    assert content["scans"][0]["gates"][0]["mean"] == pytest.approx(told, abs=1e-6)
    rows = list(csv.DictReader((out / "attention.csv").read_text().splitlines()))
    assert {row["scan"] for row in rows} == {"one.nii.gz", "two.nii.gz"}

    page = (out / "attention.html").read_text()
    assert forced["verdict"] in page
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page), "nothing is fetched"


def test_a_scan_without_reference_fails_alone(place):
    (place / "refs" / "two.nii.gz").unlink()
    done = call(place, place / "scans", "--ref", place / "refs", "--replaced", "0")
    assert done.exit_code == 3
    assert "no mask of two" in done.output
    content = json.loads((place / "out" / "attention.json").read_text())
    assert [scan["name"] for scan in content["scans"]] == ["one.nii.gz"]


def test_a_reference_on_another_grid_is_refused(place):
    other = Image(np.zeros((1, 4, 4, 4), np.float32), Geometry((4, 4, 4), np.eye(4)))
    path = place / "refs" / "one.nii.gz"
    write_labels(path, np.ones((4, 4, 4), np.uint8), like=other, dtype=np.dtype(np.uint8))
    done = call(place, place / "scans" / "one.nii.gz", "--ref", path)
    assert isinstance(done.exception, DataError)
    assert "another grid" in str(done.exception)
    assert not list((place / "out").glob("*")) if (place / "out").exists() else True


def test_a_network_without_gates_is_refused(place):
    net = AttentionUNet(3, 1, 3, channels=(4, 6, 8), strides=(2, 2), gate="none")
    from attnseg.models import load_spec

    spec = load_spec(place / "model.safetensors")
    save_model(
        place / "model.safetensors",
        net,
        spec.model_copy(update={"architecture": net.architecture}),
    )
    done = call(place, place / "scans")
    assert isinstance(done.exception, DataError)
    assert "has no gates; train one with --gates" in str(done.exception)


def test_maps_of_another_scan_of_the_name_are_not_overwritten(place):
    """Of whom a map is stands beside it; the same scan's maps are made anew."""
    scan = place / "scans" / "one.nii.gz"
    assert call(place, scan, "--replaced", "0").exit_code == 0
    other = place / "patientB" / "one.nii.gz"
    other.parent.mkdir()
    other.write_bytes((place / "scans" / "two.nii.gz").read_bytes())
    before = {path.name: path.read_bytes() for path in (place / "out").iterdir()}
    result = CliRunner().invoke(
        app,
        ["attention", str(other), "-m", str(place / "model.safetensors"), "-o", str(place / "out")],
    )
    assert isinstance(result.exception, UsageError)
    for path in (scan, other):
        assert str(path) in str(result.exception)
    assert {path.name: path.read_bytes() for path in (place / "out").iterdir()} == before
    # Nor by α that `attnseg predict` would write, nor the other way round.
    with pytest.raises(UsageError, match=r"one_attention\.nii\.gz was made of"):
        predict([other], place / "out", model=place / "model.safetensors", job=Job(attention=True))
    assert call(place, scan, "--replaced", "0").exit_code == 0
    line = json.loads((place / "out" / "attention.jsonl").read_text().splitlines()[-1])
    assert line["scan"]["sources"][0]["path"] == os.path.relpath(scan, place / "out")


def test_the_second_of_two_in_one_folder_ends_in_one_line(place):
    with claimed(place / "out", "attention") as other:
        result = call(place, place / "scans", "--replaced", 0)
        assert isinstance(result.exception, RunError)
        assert f"is being written to by process {other.pid} (attnseg test, " in str(
            result.exception
        )
        assert not list((place / "out").glob("*.nii.gz"))


def test_maps_that_a_prediction_is_writing_are_left_to_it(place):
    with claimed(place / "out", "two_attention.nii.gz") as other:
        result = call(place, place / "scans", "--replaced", 0)
        end(other)
    assert result.exit_code == 3
    assert f"✗ two: its maps are being written by process {other.pid} " in result.output
    assert {path.name for path in (place / "out").glob("*.nii.gz")} == {"one_attention.nii.gz"}
