"""The pure parts of the benchmarks on small made inputs; every script tells its options."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import _common

    return _common


def write_validation(path, dice):
    """A `validation.json` of labels 2 "b" and 1 "a"; `dice` maps case → (a, b)."""
    cases = [
        {
            "name": name,
            "labels": {"1": {"dice": a}, **({} if b == "undrawn" else {"2": {"dice": b}})},
        }
        for name, (a, b) in dice.items()
    ]
    labels = [{"value": 2, "name": "b"}, {"value": 1, "name": "a"}]
    path.write_text(json.dumps({"labels": labels, "cases": cases}), encoding="utf-8")
    return path


def test_scores_are_read_by_case_and_label(common, tmp_path):
    dice = {"x": (0.5, None), "y": (0.75, 0.25), "z": (0.25, "undrawn")}
    scores = common.read_scores(write_validation(tmp_path / "v.json", dice))
    assert scores.cases == ("x", "y", "z")
    assert scores.labels == ("a", "b")
    np.testing.assert_equal(scores.dice, [[0.5, math.nan], [0.75, 0.25], [0.25, math.nan]])
    np.testing.assert_equal(scores.of_cases, [0.5, 0.5, 0.25])


def test_scores_are_those_that_attnseg_writes(common, tmp_path):
    from attnseg.evaluation import evaluate
    from attnseg.images import Geometry, Image, write_labels

    for folder, size in (("masks", 3), ("truth", 6)):
        labels = np.zeros((6, 5, 4), dtype=np.uint8)
        labels[:size] = 1
        image = Image(labels[None].astype(np.float32), Geometry(labels.shape, np.eye(4)))
        path = tmp_path / folder / "case.nii.gz"
        write_labels(path, labels, like=image, dtype=np.dtype(np.uint8))
    evaluate(tmp_path / "masks", tmp_path / "truth").save_json(tmp_path / "scores.json")
    assert common.read_scores(tmp_path / "scores.json").dice == pytest.approx(2 * 3 / 9)


def test_cases_are_paired_by_name(common):
    a = common.Scores(("x", "y", "z"), ("a",), np.array([[0.1], [0.2], [0.3]]))
    b = common.Scores(("z", "x", "w"), ("a",), np.array([[0.25], [0.0], [0.9]]))
    left, right = common.common_cases(a, b)
    assert left.cases == right.cases == ("x", "z")
    found = common.difference([a], [b])
    assert found["a"] == found["mean"]
    assert found["mean"]["difference"] == pytest.approx((0.1 + 0.05) / 2)
    low, high = found["mean"]["ci95"]
    assert (low, high) == (pytest.approx(0.05), pytest.approx(0.1))


def test_a_description_has_means_over_labels_and_every_case(common):
    dice = np.array([[0.5, np.nan], [0.75, 0.25], [0.25, 0.75]])
    found = common.describe(common.Scores(("x", "y", "z"), ("a", "b"), dice))
    assert found["mean_dice"] == 0.5
    assert found["labels"]["a"]["dice"] == 0.5
    assert found["ci95"][0] <= 0.5 <= found["ci95"][1]
    np.testing.assert_equal(found["cases"]["x"], [0.5, math.nan])


def test_results_are_plain_json(common, tmp_path, capsys):
    path = tmp_path / "results" / "r.json"
    common.write_result(path, settings={"data": Path("d")}, results={"a": (math.nan, 1.0)})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["settings"] == {"data": "d"}
    assert content["results"] == {"a": [None, 1.0]}
    assert content["machine"]["versions"]["torch"]
    assert str(path) in capsys.readouterr().out


def test_the_curve_has_the_validated_epochs(common, tmp_path):
    lines = [
        {"minutes": 0.5, "loss": 1.0},
        {"minutes": 1.0, "loss": 0.9, "dice": 0.6},
        {"minutes": 1.5, "loss": 0.8, "dice": math.nan},
        {"minutes": 2.0, "loss": 0.7, "dice": 0.8},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert common.curve(path) == [(1.0, 0.6), (2.0, 0.8)]


def test_tables_line_up(common):
    rows = [["network", "s"], ["a", 1.5], ["longer name", 10]]
    assert common.table(rows).splitlines() == [
        "network        s",
        "a            1.5",
        "longer name   10",
    ]


def test_steps_take_turns(common):
    order = []
    steps = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = common.in_turns(steps, rounds=2)
    assert order == list("abbaab")
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert common.spread([1.0, 2.0, 3.0, 4.0, 5.0])["quartile_1"] == 2.0


def test_arms_are_compared_with_the_first(common):
    import gates

    runs = {
        name: [common.Scores(("x", "y"), ("a",), np.full((2, 1), base + seed)) for seed in (0, 0.1)]
        for name, base in (("none", 0.5), ("grid", 0.6))
    }
    found = gates.compare(runs)
    assert found["arms"]["grid"]["mean_dice"] == [0.6, 0.7]
    assert found["differences"]["grid - none"]["a"]["difference"] == pytest.approx(0.1)
    text = gates.report(found, [3, 4])
    assert "seed 4" in text
    assert "0.1000 [" in text


def test_the_peers_patch_divides_by_its_strides(common):
    from _monai import fitting

    for patch in [(40, 56, 40), (20, 18, 9), (161, 160, 7), (3, 3, 3)]:
        shape = fitting(patch)
        assert len(shape.channels) == len(shape.strides) + 1
        for axis, (asked, n) in enumerate(zip(patch, shape.patch, strict=True)):
            total = math.prod(stride[axis] for stride in shape.strides)
            assert n % total == 0
            assert asked <= n < asked + total
            assert n // total >= 4 or total == 1


def test_the_peer_refuses_what_it_cannot_train_on(common, tmp_path):
    from _monai import refuse

    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.png").write_bytes(b"")
    with pytest.raises(SystemExit, match="--arms attnseg"):
        refuse(tmp_path)


SCRIPTS = ["hippocampus", "training", "gates", "startup", "gate", "network", "prediction"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_tells_its_options(common, name, monkeypatch, capsys):
    """As `python benchmarks/NAME.py --help` runs it, without loading torch and MONAI each time."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert not stop.value.code
    assert "--json" in capsys.readouterr().out


def test_the_interval_of_a_median_holds_it(common):
    found = common.median_interval([1.0] * 5 + [1.1] * 20 + [3.0] * 5)
    assert (found["median"], found["n"]) == (1.1, 30)
    assert found["ci95"] == [1.1, 1.1]
    low, high = common.median_interval(np.linspace(1, 2, 30))["ci95"]
    assert 1 < low < 1.5 < high < 2
