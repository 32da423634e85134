"""`attnseg plan`: look, measure, write; and back into `attnseg train`."""

import json

import pytest


def test_a_plan_is_told_measured_and_written(attnseg, dataset):
    result = attnseg("plan", dataset, "--explain", "--set", "model.channels=[4,8]")
    assert result.code == 0, result.err
    assert "plan: 3D, patch" in result.out
    assert "data: 3 cases, median 18×16×10 voxels of 1 × 1 × 1.5 mm" in result.out
    assert "stored as: LPS 3" in result.out
    assert f"1: {8 * 8 * 6 * 1.5 / 1000:.3g} ml" in result.out
    assert "s a step, peak memory" in result.out
    assert "spacing_mm: median of 3 cases" in result.out
    assert "plan.json written; train it with: attnseg train" in result.out
    plan = json.loads((dataset.parent / "plan.json").read_text())
    assert plan["probe"]["seconds_per_step"] > 0
    assert plan["disk_mb"] == pytest.approx(3 * 18 * 16 * 10 * 6 / 1e6, abs=0.1)


def test_hours_become_epochs_and_a_gpu_that_is_not_here_is_not_measured(attnseg, dataset):
    options = ("--set", "model.channels=[4,8]", "--set", "training.steps_per_epoch=10")
    assert attnseg("plan", dataset, "--hours", "0.1", *options).code == 0
    plan = json.loads((dataset.parent / "plan.json").read_text())
    expected = 360 / (10 * plan["probe"]["seconds_per_step"])
    assert plan["epochs"] == int(expected)
    result = attnseg("plan", dataset, "--gpu-memory", "8G", "-o", "gpu.json", *options)
    assert "not measured" in result.out
    assert json.loads((dataset.parent / "gpu.json").read_text())["probe"] is None
    refused = attnseg("plan", dataset, "--gpu-memory", "8G", "--hours", "1", *options)
    assert refused.code == 2
    assert "--hours needs a measurement" in refused.err
    assert attnseg("plan", dataset, "--gpu-memory", "much").code == 2
    assert attnseg("plan", dataset, "--hours", "0.000001", *options).code == 2


@pytest.mark.slow
def test_an_edited_plan_is_trained(attnseg, dataset, small):
    assert attnseg("plan", dataset, "--no-probe", *small).code == 0
    path = dataset.parent / "plan.json"
    plan = json.loads(path.read_text())
    plan["spec"]["patch"] = [8, 16, 8]
    plan["batch_size"] = 3
    plan["epochs"] = 2
    path.write_text(json.dumps(plan))
    one_step = ("--set", "training.steps_per_epoch=1", "--set", "data.num_folds=3")
    result = attnseg("train", dataset, "--plan", "plan.json", "-o", "runs/a", *one_step)
    assert result.code == 0, result.err
    run = dataset.parent / "runs" / "a"
    assert json.loads((run / "plan.json").read_text())["spec"]["patch"] == [8, 16, 8]
    lines = (run / "fold0" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    plan["spec"]["channel_names"] = ["PET"]
    path.write_text(json.dumps(plan))
    refused = attnseg("train", dataset, "--plan", "plan.json", "-o", "runs/b")
    assert refused.code == 1
    assert "its channels are ('PET',)" in refused.err
    path.write_text("{}")
    assert "plan.json: spec: Field required" in attnseg("train", dataset, "--plan", path).err
