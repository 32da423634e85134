"""`benchmarks/prediction.py`: its measuring, its made inputs, and tiny runs of its parts."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
PEERS = FOLDER.parent / ".venv-nnunet"
DATA = FOLDER.parents[1] / "shared" / "data" / "hippocampus"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


needs_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)


@needs_linux
def test_a_calls_memory_is_counted_above_what_was_there():
    """In a process of its own: one that ran other tests has freed pages to give, which count."""
    program = (
        "import json, _measure, numpy as np\n"
        "before = np.ones(4_000_000)\n"
        "call = lambda: float((before * np.ones(8_000_000)[::2]).sum())\n"
        "print(json.dumps(_measure.measured(call)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    result, figures = json.loads(done.stdout)
    assert result == 4_000_000
    assert 64 < figures["above_mb"] < 160
    assert figures["peak_mb"] == pytest.approx(figures["start_mb"] + figures["above_mb"])


@pytest.mark.slow
@needs_linux
def test_a_commands_memory_is_that_of_all_its_processes(tmp_path):
    import _measure

    child = "import time; block = b'x' * 60_000_000; time.sleep(2)"
    parent = (
        "import subprocess, sys\n"
        f"children = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]\n"
        "assert not any(each.wait() for each in children)"
    )
    figures = _measure.watched([sys.executable, "-c", parent], log=tmp_path / "log.txt")
    assert figures["seconds"] > 1
    assert 60 < figures["peak_mb"] < 110
    assert 120 < figures["together_mb"] < 220


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path):
    import _measure

    with pytest.raises(RuntimeError, match="no such scan"):
        _measure.watched([sys.executable, "-c", "exit('no such scan')"], log=tmp_path / "log.txt")
    with pytest.raises(RuntimeError, match="no such scan"):
        _measure.told([sys.executable, "-c", "exit('no such scan')"])


def test_arms_take_turns_and_the_warm_up_does_not_count():
    import _measure

    order = []

    def call(name):
        order.append(name)
        return {"seconds": float(len(order))}

    found = _measure.in_rounds("ab", call, rounds=2, warm_up=True)
    assert order == list("baabba")
    assert [each["seconds"] for each in found["a"]] == [3.0, 6.0]


def test_smooth_logits_are_of_a_dozen_organs():
    import _made

    logits = _made.smooth_logits(25, (24, 30, 26))
    found = np.unique(logits.argmax(axis=0))
    assert 6 <= len(found) <= 13
    assert found.max() <= 12
    assert logits.dtype == np.float32


def test_larger_scans_hold_the_same_and_monais_need_grows_with_them(tmp_path, monkeypatch):
    import _made

    monkeypatch.setattr(_made, "BASE_SHAPE", (12, 10, 8))
    small, large = _made.large_scan(1).array, _made.large_scan(8).array
    assert large.shape == (1, 24, 20, 16)
    np.testing.assert_array_equal(large[:, 12:, 10:, 8:], small)
    spec = _made.write_tiny(tmp_path / "tiny.safetensors", 3)
    # 24×20×16 voxels at 0.8, 0.8, 1 mm are 13×11×11 at 1.5 mm.
    assert _made.monai_need_mb(spec, 8) == pytest.approx(4 * 3 * (7680 + 13 * 11 * 11) / 1e6)


def test_labels_that_differ_in_more_than_ties_stop_the_benchmark():
    import _prediction

    a = np.zeros((10, 20, 30), dtype=np.uint8)
    b = a.copy()
    b[0, 0, 0] = 1
    assert _prediction.compare({"a": a, "b": b})["agree"]["b = a"] == pytest.approx(1 - 1 / 6000)
    b[:5] = 1
    with pytest.raises(SystemExit, match="b = a in 50"):
        _prediction.compare({"a": a, "b": b})


def test_ratios_are_taken_round_by_round():
    import _prediction

    found = {
        "a": [{"seconds": 1.0}, {"seconds": 2.0}, {"seconds": 1.0}],
        "b": [{"seconds": 4.0}, {"seconds": 8.0}, {"seconds": 5.0}],
    }
    assert _prediction.ratios(found, "a")["b"]["median"] == 4.0
    assert _prediction.summarised(found)["b"]["seconds"]["median"] == 5.0


def test_attnseg_gets_the_layers_of_nnunets_plan():
    import _peers

    from attnseg.models import build_network
    from attnseg.spec import ModelSpec

    base = ModelSpec.model_validate(
        {
            "architecture": {
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 3,
                "channels": (4, 8, 16),
                "strides": ((2, 2, 2), (2, 2, 1)),
                "kernel_sizes": ((3, 3, 3),) * 3,
                "deep_supervision": 1,
            },
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["MRI"],
            "labels": [{"value": value, "name": str(value)} for value in range(3)],
            "patch": (40, 56, 40),
        }
    )
    plans = json.loads(json.dumps(_peers.USUAL_PLANS))
    plans |= {"patch_size": [40, 56, 48], "spacing": [3.0, 1.0, 1.5]}
    spec = _peers.same_layers(plans, base)
    assert spec.patch == (48, 56, 40)
    assert spec.preprocessing.spacing_mm == (1.5, 1.0, 3.0)
    assert spec.architecture.channels == (32, 64, 128, 256)
    network = build_network(spec.architecture)
    convolutions = [name for name, _ in network.encoder.named_parameters() if "conv" in name]
    assert len(convolutions) == 8, "two a level, as in nnU-Net's plan"


def test_without_an_environment_the_peer_is_left_out(tmp_path):
    import _peers

    assert "--install-peers" in _peers.peer_environment(tmp_path / "none", install=False)


def test_results_of_other_parts_are_kept(tmp_path):
    import prediction

    path = tmp_path / "p.json"
    assert prediction.kept(path, ["export"]) == {}
    path.write_text(json.dumps({"results": {"export": 1, "growth": 2}}), encoding="utf-8")
    assert prediction.kept(path, ["export"]) == {"growth": 2}


def test_the_figure_has_a_panel_for_what_was_measured(tmp_path):
    from _prediction_plot import draw

    spread = {"median": 2.0, "quartile_1": 1.5, "quartile_3": 2.5, "n": 3}
    figures = {"seconds": spread, "above_mb": spread, "together_mb": spread}
    row = {"classes": 3, "voxels": 10**6, "attnseg": {"ns_per_voxel": 9.0, "peak_mb": 500.0}}
    results = {
        "export": {"smooth": {"arms": {"attnseg": figures, "nnU-Net default": figures}}},
        "network": {"machine": {}, "40×56×40": {"attnseg torch": {"seconds": spread}}},
        "cohort": {"arms": {"attnseg, own model": figures}, "used": {"scans": 20}},
        "growth": {"rows": [row, row | {"monai": "left out"}]},
        "nnU-Net": {},
    }
    draw(results, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000
    draw({}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.slow
def test_export_growth_and_network_run_small(tmp_path):
    """The whole script on small sizes; MONAI's labels agree with attnseg's where they must."""
    found = run_small(tmp_path, "export", "network", "growth", "--peers", tmp_path / "none")
    assert set(found["export"]["smooth"]["arms"]) == {"attnseg"}
    assert found["network"]["16×24×16"]["attnseg torch"]["seconds"]["median"] > 0
    (row,) = found["growth"]["rows"]
    assert row["agree"]["monai = attnseg"] > 0.999
    assert row["attnseg"]["ns_per_voxel"] > 0


@pytest.mark.slow
def test_nnunets_export_gives_the_same_labels(tmp_path):
    if not (PEERS / ".installed").exists():
        pytest.skip("no nnU-Net here: benchmarks/prediction.py --install-peers makes .venv-nnunet")
    found = run_small(tmp_path, "export", "--peers", PEERS)
    for kind in ("smooth", "noise"):
        assert min(found["export"][kind]["agree"].values()) > 0.999


@pytest.mark.slow
def test_a_small_cohort_runs_by_every_arm_that_is_there(tmp_path):
    if not DATA.exists():
        pytest.skip(f"no data at {DATA}")
    data = few_cases(tmp_path / "data", 4)
    found = run_small(tmp_path, "cohort", "--data", data, "--peers", PEERS)["cohort"]
    assert {"attnseg, same layers", "attnseg, own model"} < set(found["arms"])
    assert found["used"]["scans"] == 2
    for arm in found["arms"].values():
        assert not math.isnan(arm["together_mb"]["median"])


def few_cases(folder, count):
    """The first cases of hippocampus as a set of their own, so that planning takes a moment."""
    content = json.loads((DATA / "dataset.json").read_text(encoding="utf-8"))
    content |= {"training": content["training"][:count], "numTraining": count}
    for case in content["training"]:
        for path in case.values():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(DATA / path, folder / path)
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def run_small(folder, *arguments):
    """The results of a run on sizes that take seconds."""
    script = [sys.executable, FOLDER / "prediction.py", "--only", *arguments]
    sizes = "--classes 5 --shape 24 20 22 --target 36 44 50 --export-rounds 1 --channels 4 8"
    sizes += (
        " --windows 16x24x16 --rounds 1 --scans 2 --cohort-rounds 1 --factors 1 --growth-classes 3"
    )
    where = ["--work", folder / "work", "--json", folder / "p.json", "--plot", folder / "p.png"]
    subprocess.run([*script, *sizes.split(), *where], check=True, cwd=FOLDER.parent)
    return json.loads((folder / "p.json").read_text(encoding="utf-8"))["results"]
