"""What a scan will take, told from its header, and kept to."""

import json
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from attnseg.errors import DataError
from attnseg.images import Geometry, Outline, read_outline
from attnseg.inference import Predictor, budget
from attnseg.inference import windows as windows_module
from attnseg.inference.budget import multiply_adds, plan_scan
from attnseg.inference.export import BLOCK, Blocks
from attnseg.inference.stream import ROWS
from attnseg.inference.windows import padding_of, window_starts, windows_in_plane
from attnseg.models import AttentionUNet, load_spec
from attnseg.preprocessing import Grid, preprocess


def outline(shape=(60, 150, 140)):
    return Outline(Geometry(shape, np.eye(4)), 1, math.prod(shape) * 2)


@pytest.mark.parametrize("gate", ["none"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_work_is_that_of_the_convolutions(blocks, gate):
    network = AttentionUNet(
        3, 2, 3, channels=(4, 6, 8), strides=((1, 2, 2), 2), kernel_sizes=((1, 3, 3), 3, 3),
        blocks_per_level=blocks, block="plain", gate=gate,
    )  # fmt: skip
    found = []

    def count(module, inputs, output):
        if module.weight.shape[2:].numel() == module.stride[0] * module.stride[1] * 2:
            return
        found.append(output[0, 0].numel() * module.weight.numel())

    for part in (network.encoder, network.decoder):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.register_forward_hook(count)
    up = []
    for module in network.upsamplings:
        module.register_forward_hook(
            lambda m, i, o: up.append(i[0][0, 0].numel() * m.weight.numel())
        )
    network(torch.zeros(1, 2, 8, 12, 16))
    assert multiply_adds(network.architecture, (8, 12, 16)) == pytest.approx(sum(found) + sum(up))


def test_fewest_windows_within_the_bound(make_model):
    spec = load_spec(make_model(values=tuple(range(30)), patch=(16, 16, 16)))
    free = plan_scan(outline(), spec, overlap=0.5, on_gpu=False)
    assert free.tiles == (1, 1)
    plans = []
    for share in (1.0, 0.8, 0.6, 0.5):
        bound = int(free.peak_bytes * share)
        plans.append(plan_scan(outline(), spec, overlap=0.5, on_gpu=False, max_ram=bound))
        assert plans[-1].peak_bytes <= bound
    assert plans[0].tiles == (1, 1)
    windows = [plan.windows for plan in plans]
    assert windows == sorted(windows)
    assert windows[0] == free.windows < windows[-1]
    with pytest.raises(DataError, match=r"x\.nii: needs 0\.\d+G even in the smallest tiles, more"):
        plan_scan(outline(), spec, overlap=0.5, on_gpu=False, max_ram=1 << 20, source="x.nii")


def test_a_gpus_memory_is_bounded_apart(make_model):
    spec = load_spec(make_model(values=tuple(range(30)), patch=(16, 16, 16)))
    free = plan_scan(outline(), spec, overlap=0.5, on_gpu=True)
    assert free.gpu_bytes > free.predicting_bytes, "the sums are there"
    half = plan_scan(outline(), spec, overlap=0.5, on_gpu=True, max_vram=free.gpu_bytes // 2)
    assert half.windows > free.windows
    with pytest.raises(DataError, match="more than --max-vram"):
        plan_scan(outline(), spec, overlap=0.5, on_gpu=True, max_vram=1 << 10)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((9, 140, 130), 1.0), ((20, 200, 65), 1.3), ((5, 7, 300), 0.7), ((30, 64, 128), 1.0)],
)
def test_windows_are_counted_as_if_they_were_listed(make_model, shape, spacing, overlap):
    """For every tiling, tile by tile: the windows that reach into it, and the largest sums."""
    patch = (12, 16, 8)
    spec = load_spec(make_model(spacing=(spacing, 1.0, spacing), patch=patch))
    grid = Grid.of(Geometry(shape, np.eye(4)), spec.preprocessing)
    blocks, padding = Blocks.of(grid), padding_of(grid.shape, patch)
    size = [n + sum(pair) for n, pair in zip(grid.shape, padding, strict=True)]
    first, *others = (window_starts(n, p, overlap) for n, p in zip(size, patch, strict=True))
    tilings = budget._tilings(grid, patch, overlap, bounded=True)
    assert len(tilings) == len(blocks.a) * len(blocks.s)
    for tiling in tilings:
        windows, sums = 0, []
        for tile in blocks.tiles(*tiling.tiles):
            plane = tuple(
                slice(part.start + low, part.stop + low)
                for part, (low, _) in zip(tile.plane, padding[1:], strict=True)
            )
            windows += len(first) * len(windows_in_plane(others, patch[1:], plane))
            (a, s), (out_a, out_s) = tile.plane, tile.out
            rows = max(part.source.stop - part.source.start for part in tile.rows)
            numbers = (a.stop - a.start) * (s.stop - s.start)
            numbers *= 3 * (patch[0] + 2 * (ROWS + rows)) + 3 * patch[0]
            numbers += 3 * 3 * math.prod(BLOCK)
            numbers += 3 * 3 * BLOCK[0] * (out_a.stop - out_a.start) * (out_s.stop - out_s.start)
            sums.append(4 * numbers)
        assert tiling.windows == windows
        assert tiling.sum_bytes(3, patch[0], probabilities=True) == max(sums)


def test_a_giant_is_planned_without_listing_its_windows(make_model, monkeypatch):
    """Its millions of windows are never made, nor are its tiles."""
    monkeypatch.setattr(windows_module, "PlaneWindow", None)
    monkeypatch.setattr(Blocks, "tiles", None)
    spec = load_spec(make_model(values=tuple(range(30)), patch=(16, 16, 16)))
    giant = outline((800, 2000, 2000))
    free = plan_scan(giant, spec, overlap=0.5, on_gpu=False)
    assert free.windows == 99 * 249 * 249
    bound = int(0.9 * free.peak_bytes)
    cut = plan_scan(giant, spec, overlap=0.5, on_gpu=False, max_ram=bound)
    assert cut.peak_bytes <= bound
    assert cut.windows > free.windows


def test_labels_do_not_depend_on_the_bound(make_model, make_scan):
    """Nor do tiles run other windows than the plan counts, which repeats those that they share."""
    model = make_model(values=tuple(range(9)), spacing=(1.3, 1.1, 1.2))
    path = make_scan(shape=(14, 150, 90), affine=np.diag([1.0, -0.9, 1.1, 1]))
    predictor = Predictor.load(model, device="cpu", backend="torch")
    image, outline = predictor.read(path), predictor.outline(path)
    volume, grid = preprocess(image, predictor.spec.preprocessing)
    plan_of = partial(plan_scan, outline, predictor.spec, overlap=0.5, on_gpu=False)
    whole = plan_of()
    plans = [whole, *(plan_of(max_ram=int(whole.peak_bytes * share)) for share in (0.9, 0.8, 0.65))]
    assert [plan.tiles for plan in plans] == [(1, 1), (1, 2), (2, 2), (3, 1)]
    found = []
    for plan in plans:
        calls = []
        on_window = partial(calls.append, 1)
        found.append(
            predictor.segment(volume, grid, plan, geometry=image.geometry, on_window=on_window)
        )
        assert len(calls) == plan.windows
        np.testing.assert_array_equal(found[-1], found[0])
    assert len(np.unique(found[0])) > 5
    assert plans[0].windows < plans[1].windows < plans[2].windows


def test_outline_of_channels_in_files(make_scan):
    paths = tuple(make_scan(f"c{i}", shape=(5, 6, 7)) for i in range(2))
    found = read_outline(paths, num_channels=2)
    assert found.geometry.shape == (5, 6, 7)
    assert found.channels == 2
    assert found.stored_bytes == 2 * 5 * 6 * 7 * 4


_BOUNDED = """
import json, sys
from attnseg.cli.app import main
sys.argv = ["attnseg", "predict", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
lines = open("/proc/self/status").read().splitlines()
print(json.dumps([int(l.split()[1]) * 1024 for l in lines if l.startswith("VmHWM")]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.usefixtures("all_threads")
def test_the_bound_is_kept(make_model, make_scan, tmp_path):
    """The process's high-water mark stays below what was allowed, and the mask is the same."""
    model = make_model(values=tuple(range(60)), patch=(32, 32, 32))
    path = make_scan(shape=(100, 170, 180), affine=np.eye(4))

    def run(name, *options):
        done = subprocess.run(
            [sys.executable, "-c", _BOUNDED, str(path), "-m", str(model), "-o",
             str(tmp_path / name), "--backend", "torch", "--overlap", "0.25", *options],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (peak,) = json.loads(done.stdout.splitlines()[-1])
        return peak, (tmp_path / name / "scan.nii.gz").read_bytes()

    free, expected = run("free")
    bound = 550 << 20
    assert free > bound, "or there is nothing to bound"
    peak, found = run("bound", "--max-ram", "550M")
    assert peak <= bound
    assert found == expected
    (line,) = (tmp_path / "bound" / "manifest.jsonl").read_text().splitlines()
    assert math.prod(json.loads(line)["tiles"]) > 1
