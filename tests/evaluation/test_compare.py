"""Two methods compared: closed forms, SciPy and Holm by hand, and what may be said of it."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import wilcoxon

from attnseg.errors import DataError, UsageError
from attnseg.evaluation import CaseResult, Evaluation, LabelResult, Score, paired_difference
from attnseg.evaluation.compare import compare, holm, size_groups, values, wilcoxon_p
from attnseg.evaluation.compare_report import DEFINITIONS, save_csv, to_json, verdict
from attnseg.evaluation.compare_table import print_comparison
from attnseg.evaluation.comparison import Comparison, Metric, find_metric

# Of a label the comparison takes value and name alone.
NOT_USED = (math.nan, (math.nan, math.nan), math.nan, math.nan, math.nan, 0, 0)


def score(dice: float, *, voxels: int = 100, predicted: int = 90, ml: bool = True) -> Score:
    volumes = (predicted / 1000, voxels / 1000) if ml else (None, None)
    return Score(dice, predicted, voxels, *volumes)


def evaluation(table: dict[str, dict[int, Score]], **others) -> Evaluation:
    cases = tuple(CaseResult(n, Path(n), Path(n), scores) for n, scores in table.items())
    present = sorted({v for s in table.values() for v in s if not math.isnan(s[v].dice)})
    labels = tuple(LabelResult(v, f"label{v}", *NOT_USED) for v in present)
    return Evaluation(cases, labels, **others)


def of_dices(dices, value: int = 1, **options) -> Evaluation:
    return evaluation({f"c{n:02}": {value: score(d, **options)} for n, d in enumerate(dices)})


def test_means_difference_and_counts_in_closed_form():
    found = compare(of_dices([0.5, 0.6, 0.7, 0.8]), of_dices([0.6, 0.6005, 0.8, 0.75]))
    label = found.labels[0]
    assert label.mean_a == pytest.approx(0.65)
    assert label.mean_b == pytest.approx(0.687625 + 0)
    assert label.difference.mean == pytest.approx(0.037625)
    assert (label.wins, label.ties, label.losses) == (2, 1, 1)
    assert label.difference == paired_difference(np.array(label.b), np.array(label.a))


def test_a_difference_of_just_the_margin_is_a_tie():
    label = compare(of_dices([0.5, 0.5, 0.5]), of_dices([0.501, 0.499, 0.5011])).labels[0]
    assert (label.wins, label.ties, label.losses) == (1, 2, 0)


def test_wilcoxon_is_scipys_with_zeros_left_out():
    d = np.array([0.1, -0.02, 0.0, 0.05, 0.07, -0.01, 0.3, 0.0, 0.04])
    assert wilcoxon_p(d) == pytest.approx(wilcoxon(d[d != 0]).pvalue, abs=0)
    assert wilcoxon_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 2**5)
    assert wilcoxon_p(np.zeros(4)) == 1.0
    assert math.isnan(wilcoxon_p(np.array([])))


def test_equal_differences_are_equal_ranks_whatever_their_last_bits():
    noisy = np.array([0.9 - 0.8, 0.1, -(0.4 - 0.3), 0.2, 0.5])
    assert wilcoxon_p(noisy) == wilcoxon_p(np.array([0.1, 0.1, -0.1, 0.2, 0.5]))


@pytest.mark.parametrize("n", range(1, 8))
def test_few_cases_and_ties_raise_no_warning(n):
    assert 0 < wilcoxon_p(np.full(n, 0.25)) <= 1


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.9: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.9.
    assert holm([0.9, 0.02, math.nan, 0.03, 0.01]) == pytest.approx(
        [0.9, 0.06, math.nan, 0.06, 0.04], nan_ok=True
    )
    assert holm([0.8, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_sizes_are_thirds_by_the_references_volume():
    sizes = [9, 1, 5, 2, 6, 10]
    a = np.zeros(6)
    b = np.array([0.3, 0.1, 0.2, 0.1, 0.2, 0.3])
    small, middle, large = size_groups(sizes, a, b)
    assert [(g.name, g.low, g.high, g.cases) for g in (small, middle, large)] == [
        ("small", 1, 2, 2),
        ("middle", 5, 6, 2),
        ("large", 9, 10, 2),
    ]
    assert [g.difference.mean for g in (small, middle, large)] == pytest.approx([0.1, 0.2, 0.3])
    assert size_groups([3] * 6, a, b)[0].cases == 6  # one size is one group
    assert size_groups(sizes[:5], a[:5], b[:5]) == ()


def test_volumes_are_pixels_where_millilitres_are_not_known():
    a, b = of_dices([0.5] * 6, ml=False), of_dices([0.6] * 6, ml=False)
    found = compare(a, b)
    assert found.volume_unit == "pixels"
    mixed = of_dices([0.5] * 6).cases + of_dices([0.5] * 6, ml=False).cases[:1]
    some = dataclasses.replace(a, cases=mixed)
    assert compare(some, some).volume_unit == "voxels"
    assert (a.distance_unit, some.distance_unit) == ("px", "mm/px")
    assert found.labels[0].sizes[0].low == 100
    assert compare(of_dices([0.5] * 6), of_dices([0.6] * 6)).labels[0].sizes[0].low == 0.1


def test_the_mean_over_labels_takes_the_labels_that_both_have():
    empty = score(math.nan, voxels=0, predicted=0)
    alarm = score(0.0, voxels=0, predicted=7)
    a = evaluation({"x": {1: score(0.5), 2: empty}, "y": {1: score(0.8), 2: score(0.6)}})
    b = evaluation({"x": {1: score(0.7), 2: alarm}, "y": {1: score(0.8), 2: score(0.8)}})
    found = compare(a, b)
    second = found.labels[1]
    assert (second.cases, second.left_out, second.alarms_a, second.alarms_b) == (("y",), 0, 0, 1)
    assert (second.wins, second.losses, second.lost_by("B", "false alarm")) == (1, 1, 1)
    assert found.overall.a == pytest.approx((0.5, 0.7))
    assert found.overall.b == pytest.approx((0.7, 0.8))
    assert "B marks it in 1 case(s) without it" in verdict(found)[2]


def test_cases_that_one_lacks_are_named():
    a = evaluation(
        {"x": {1: score(0.5)}, "y": {1: score(0.5)}, "w": {1: score(0.5)}},
        not_predicted=("n", "z"),
    )
    b = evaluation(
        {"x": {1: score(0.6)}, "z": {1: score(0.6)}},
        not_predicted=("n", "y"),
        failed={"w": "another grid"},
    )
    found = compare(a, b)
    assert (found.cases, found.only_a, found.only_b) == (("x",), ("y",), ("z",))
    assert (found.in_neither, found.failed) == (("n",), {"w": "B: another grid"})
    assert not found.complete
    with pytest.raises(DataError, match=r"no case that both A \(1\) and B \(1\) have"):
        compare(evaluation({"x": {1: score(0.5)}}), evaluation({"y": {1: score(0.5)}}))


def test_identical_masks_are_ties_and_no_claim_of_equality():
    found = compare(of_dices([0.5, 0.9, 0.7]), of_dices([0.5, 0.9, 0.7]))
    assert (found.labels[0].wins, found.labels[0].ties, found.labels[0].losses) == (0, 3, 0)
    assert found.labels[0].p == 1.0
    assert found.most_changed() == []
    assert verdict(found)[0] == (
        "On label1 both score the same in all 3 cases: no difference is seen here; other cases "
        "may show one."
    )


def test_the_verdict_says_what_the_interval_says():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.6, 0.8, 20)
    better = compare(of_dices(base), of_dices(base + 0.05 + rng.normal(0, 0.01, 20)))
    assert verdict(better)[0].startswith("B is better on label1 by 0.05")
    worse = compare(of_dices(base + 0.05), of_dices(base))
    assert verdict(worse)[0].startswith("A is better on label1 by 0.050 [0.050, 0.050]")
    same = compare(of_dices(base), of_dices(base + np.tile([0.05, -0.05], 10)))
    assert "neither is shown to be better" in verdict(same)[0]
    assert "compatible with these 20 cases at 95 %" in verdict(same)[0]
    one = compare(of_dices([0.5]), of_dices([0.6]))
    assert "in the only case; one case says nothing about others" in verdict(one)[0]
    few = compare(of_dices([0.5, 0.5, 0.6]), of_dices([0.6, 0.7, 0.8]))
    assert "it may be chance" in verdict(few)[0]
    assert "With 3 cases" in verdict(few)[-1]


def test_worst_and_most_changed_are_ten_each():
    base = np.linspace(0.3, 0.9, 15)
    found = compare(of_dices(base), of_dices(base + np.linspace(0, 0.07, 15)))
    assert found.worst() == [f"c{n:02}" for n in range(10)]
    assert found.most_changed() == [f"c{n:02}" for n in range(14, 4, -1)]


def test_of_distances_less_is_better_and_a_miss_is_lost(monkeypatch):
    from attnseg.evaluation import compare as module
    from attnseg.evaluation.comparison import METRICS

    # Any field of Score does as a distance here: the mean of the volumes is as good as another.
    monkeypatch.setitem(METRICS, "predicted_ml", Metric("predicted_ml", "D", 0.01, True, " mm"))
    missed = Score(0.0, 0, 100, None, 0.1)
    far = Score(0.5, 1, 100, 5.0, 0.1)
    near = Score(0.5, 1, 100, 2.0, 0.1)
    endless = Score(0.5, 1, 100, math.inf, 0.1)
    a = evaluation({"x": {1: far}, "y": {1: missed}, "z": {1: endless}, "u": {1: far}})
    b = evaluation({"x": {1: near}, "y": {1: near}, "z": {1: missed}, "u": {1: missed}})
    label = module.compare(a, b, metric="predicted_ml").labels[0]
    assert (label.cases, label.difference.mean) == (("x",), -3.0)
    assert (label.wins, label.ties, label.losses) == (2, 0, 1)
    assert (label.lost_by("A", "missed"), label.lost_by("B", "missed")) == (1, 1)
    assert (label.left_out, label.judged) == (1, False)
    (told,) = verdict(module.compare(a, b, metric="predicted_ml"))
    assert told.startswith("On label1 there is no verdict by D: A finds 3 of 4, B 2 of 4, and not")
    assert math.isnan(values(a, "predicted_ml")[1]["z"])


def test_values_are_fields_or_figures_of_a_score():
    @dataclasses.dataclass(frozen=True)
    class Full(Score):
        figures: Mapping[str, float] = dataclasses.field(default_factory=dict)

    found = evaluation(
        {
            "x": {1: Full(0.5, 9, 9, 0.1, 0.1, {"hd95_mm": 2.0})},
            "y": {1: Full(0.0, 0, 9, 0.0, 0.1, {"hd95_mm": math.inf})},
        }
    )
    assert values(found, "dice") == {1: {"x": 0.5, "y": 0.0}}
    assert values(found, "hd95_mm")[1] == pytest.approx({"x": 2.0, "y": math.nan}, nan_ok=True)


def test_an_unknown_metric():
    with pytest.raises(UsageError, match="--metric f1: not known; choose from dice"):
        find_metric("f1")


@pytest.fixture
def two_labels() -> Comparison:
    rng = np.random.default_rng(1)
    tables = [
        {
            f"c{n:02}": {v: score(float(rng.uniform(0.5, 0.9)), voxels=50 + n) for v in (1, 2)}
            for n in range(12)
        }
        for _ in "ab"
    ]
    return compare(*map(evaluation, tables))


def test_json_defines_every_number(two_labels):
    told = json.loads(json.dumps(to_json(two_labels), allow_nan=False))
    defined = {name.strip() for key in DEFINITIONS for name in key.split(",")}
    keys = {*told["mean_over_labels"], *told["labels"][0]} - {"value", "name"}
    assert keys <= defined
    assert told["labels"][0]["difference"] == two_labels.labels[0].difference.mean
    assert told["mean_over_labels"]["p_holm"] is None
    assert len(told["cases"]) == 12


def test_csv_has_a_line_per_case_and_label(two_labels, tmp_path):
    save_csv(two_labels, tmp_path / "o.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert len(lines) == 24
    assert [line["value"] for line in lines[:3]] == ["1", "2", "1"]
    first = lines[0]
    assert float(first["dice_a"]) == two_labels.labels[0].a[0]
    assert float(first["b_minus_a"]) == pytest.approx(
        float(first["dice_b"]) - float(first["dice_a"])
    )


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit(two_labels, width):
    stream = io.StringIO()
    print_comparison(two_labels, Console(file=stream, width=width, color_system=None))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    assert "…" not in stream.getvalue()
    assert any("B - A; positive: B is better" in line for line in lines)
