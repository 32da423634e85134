"""α as images: on the scan to the bit, the same under every bound, without seams."""

import json

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import torch

from attnseg.errors import DataError
from attnseg.images import read_image, read_outline
from attnseg.inference import Job, Predictor, Scan, predict_cohort
from attnseg.inference.attention import GateReader
from attnseg.models import load_model
from attnseg.preprocessing import preprocess


def lively(model):
    """A predictor whose gates depend on what they see."""
    network, spec = load_model(model)
    torch.manual_seed(1)
    for gate in network.gates.values():
        torch.nn.init.normal_(gate.psi.weight, std=2.0)
        torch.nn.init.zeros_(gate.psi.bias)
    return Predictor(network, spec, device="cpu", backend="torch")


def test_maps_lie_on_the_scan_to_the_bit(make_model, make_scan, tmp_path):
    path = make_scan()
    predictor = lively(make_model(spacing=(1.5, 2.1, 1.3), channels=1))
    expected = predictor.attention(path)
    job = Job(attention=True)
    (outcome,) = predict_cohort([Scan("a", (path,))], predictor, tmp_path, model_id="m", job=job)
    assert outcome.state == "done", outcome.reason
    assert outcome.attention == ("a_attention.nii.gz",)
    scan, maps = nib.load(path), nib.load(tmp_path / "a_attention.nii.gz")
    for form in ("get_sform", "get_qform"):
        for ours, theirs in zip(getattr(maps, form)(True), getattr(scan, form)(True), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(maps.affine, scan.affine)
    values = maps.get_fdata().reshape(*scan.shape, -1)
    assert values.shape[-1] == len(expected)
    for index, alpha in enumerate(expected.values()):
        np.testing.assert_allclose(values[..., index], alpha, atol=0.5 / 65535 + 1e-6)
        assert alpha.std() > 0.01, "a test in which gates say something"


def test_the_order_of_gates_is_that_of_their_levels():
    from attnseg.models import AttentionUNet
    from attnseg.spec import ModelSpec

    torch.manual_seed(0)
    network = AttentionUNet(3, 1, 2, channels=(4, 4, 4), strides=(2, 2), gate_finest=True).eval()
    with torch.no_grad():
        network.gates["0"].psi.weight.zero_()
        network.gates["0"].psi.bias.fill_(-20.0)
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["scan"],
            "labels": [{"value": 0, "name": "air"}, {"value": 1, "name": "liver"}],
            "patch": (8, 8, 8),
        }
    )
    from attnseg.images import Geometry, Image

    image = Image(np.random.default_rng(0).normal(size=(1, 9, 8, 11)).astype(np.float32),
                  Geometry((9, 8, 11), np.eye(4)))  # fmt: skip
    maps = Predictor(network, spec, device="cpu").attention(image)
    assert list(maps) == ["0", "1"]
    assert maps["0"].max() < 1e-6
    assert maps["1"].min() > 0.5


def test_tiles_give_the_very_same_maps(make_model, make_scan):
    """However a scan is cut to stay within a bound."""
    path = make_scan(shape=(30, 150, 70), affine=np.eye(4))
    predictor = lively(make_model(spacing=(1.2, 1.0, 0.9)))
    reader, image = predictor.gates, read_image(path)
    volume, grid = preprocess(image, predictor.spec.preprocessing)
    whole = reader.plan(read_outline((path,)), source="scan")
    bound = int(whole.peak_bytes * 0.7)
    small = GateReader(
        predictor.networks, predictor.spec, predictor.device, overlap=0.5, max_ram=None
    )
    from attnseg.inference.budget import plan_scan

    cut = plan_scan(
        read_outline((path,)), predictor.spec, overlap=0.5, on_gpu=False, max_ram=bound,
        probabilities=True, outputs=2 * len(reader.gates),
    )  # fmt: skip
    assert cut.tiles != (1, 1)
    found = []
    for plan in (whole, cut):
        maps = np.full((len(reader.gates), *grid.source_shape), np.nan, np.float32)

        def take(start, plane, values, maps=maps):
            maps[:, start : start + values.shape[1], *plane] = values

        small.read(volume, grid, plan, take=take)
        found.append(maps)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.isnan(found[0]).any()


def test_a_rerun_writes_the_maps_that_are_missing(make_model, make_scan, tmp_path):
    scans = [Scan("a", (make_scan(),))]
    predictor = lively(make_model())
    predict_cohort(scans, predictor, tmp_path, model_id="m")
    states = [
        predict_cohort(scans, predictor, tmp_path, model_id="m", job=Job(attention=True))[0].state
        for _ in range(2)
    ]
    assert states == ["done", "skipped"]
    lines = [json.loads(x) for x in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [line["attention"] for line in lines] == [[], ["a_attention.nii.gz"]]


def test_pictures_have_png(make_model, make_picture, tmp_path):
    path = make_picture()
    predictor = lively(make_model(slice_axis=2, patch=(12, 16, 8), channels=1))
    expected = predictor.attention(path)
    job = Job(attention=True)
    (outcome,) = predict_cohort([Scan("p", (path,))], predictor, tmp_path, model_id="m", job=job)
    assert outcome.attention == ("p_attention_gate0.png",), outcome.reason
    grey = np.asarray(PIL.Image.open(tmp_path / "p_attention_gate0.png"))
    theirs = expected["0"][..., 0]
    shown = grey if grey.shape == theirs.shape else grey.T
    np.testing.assert_allclose(shown / 255, theirs, atol=0.6 / 255)
    assert {p.name for p in tmp_path.glob("*.png")} >= {"p.png", "p_attention_gate0.png"}


def seam_ratio(alpha, starts, patch):
    """Largest jump between neighbours at an edge of a window, in that elsewhere."""
    jumps = [np.abs(np.diff(alpha, axis=axis)) for axis in range(3)]
    at, elsewhere = 0.0, 0.0
    for axis, jump in enumerate(jumps):
        edges = {s - 1 for s in starts[axis]} | {s + patch[axis] - 1 for s in starts[axis]}
        for index in range(jump.shape[axis]):
            largest = float(jump.take(index, axis=axis).max())
            if index in edges:
                at = max(at, largest)
            else:
                elsewhere = max(elsewhere, largest)
    return at / elsewhere


def test_seams_of_windows_cannot_be_seen(make_model, make_scan):
    from attnseg.inference.windows import window_starts

    shape = (40, 44, 30)
    path = make_scan(shape=shape, affine=np.eye(4))
    predictor = lively(make_model(patch=(16, 16, 12)))
    alpha = predictor.attention(path)["0"]
    starts = [window_starts(n, p, 0.5) for n, p in zip(shape, (16, 16, 12), strict=True)]
    assert seam_ratio(alpha, starts, (16, 16, 12)) < 2


def test_a_bound_cuts_alpha_into_tiles(make_model, make_scan, monkeypatch):
    """What the process holds before counts; what the plan adds to it keeps to the rest."""
    from attnseg.inference import attention

    monkeypatch.setattr(attention, "resident_bytes", lambda: 1 << 30)
    monkeypatch.setattr(attention, "peak_during", lambda window: 1 << 20)
    network, spec = load_model(make_model(patch=(16, 16, 16)))
    outline = read_outline((make_scan(shape=(40, 200, 180), affine=np.eye(4)),), num_channels=1)

    def plan(max_ram):
        reader = GateReader([network], spec, torch.device("cpu"), overlap=0.5, max_ram=max_ram)
        return reader.plan(outline, source="a.nii")

    whole = plan(1 << 40)
    assert whole.tiles == (1, 1)
    added = whole.peak_bytes - (1 << 30)
    for share in (0.8, 0.6):
        bound = (1 << 30) + int(share * added)
        cut = plan(bound)
        assert np.prod(cut.tiles) > 1
        assert cut.peak_bytes <= bound
        assert cut.windows > whole.windows
    with pytest.raises(DataError, match=r"a\.nii: needs 1\.\d+G even in the smallest tiles"):
        plan(1 << 30)


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
def test_memory_stays_within_the_bound(make_model, make_scan, tmp_path):
    """In a process of its own, with all that it loads."""
    import subprocess
    import sys

    path = make_scan(shape=(160, 200, 180), affine=np.eye(4))
    model = make_model(patch=(40, 40, 40))
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from attnseg.cli.app import main\n"
        "sys.argv = ['attnseg', 'predict', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        # Of this process alone: ru_maxrss remembers the process that started it.
        "status = Path('/proc/self/status').read_text()\n"
        "print('PEAK', int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) * 1024)\n"
    )
    arguments = [str(path), "-m", str(model), "-o", str(tmp_path / "out"), "--save-attention"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--max-ram", "900M", "--overlap", "0.25"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    peak = int(done.stdout.rsplit("PEAK", 1)[1])
    assert peak <= 900 * 2**20
    assert (tmp_path / "out" / "scan_attention.nii.gz").exists()
