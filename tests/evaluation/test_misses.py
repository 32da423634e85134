"""Structures that a method misses, or makes up, have no distance: verdicts and means say so."""

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from attnseg.evaluation import CaseResult, Evaluation, Score, evaluate, table_lines
from attnseg.evaluation.compare import compare
from attnseg.evaluation.compare_report import save_csv, to_json, verdict
from attnseg.evaluation.compare_table import print_comparison
from attnseg.evaluation.comparison import Comparison
from attnseg.evaluation.results import summarise
from attnseg.images import Geometry, Image, write_image
from attnseg.visualization.compare_page import compare_page
from attnseg.visualization.report_parts import label_table

NOTHING = "nothing"  # neither mask has the label


def score(distance: float | str | None, *, reference: bool = True, size: int = 100) -> Score:
    """A label at a distance in mm; None: missed, or made up where the reference lacks it."""
    if distance == NOTHING:
        figures = {"hd95_mm": math.nan, "assd_mm": math.nan, "nsd": math.nan}
        return Score(math.nan, 0, 0, 0.0, 0.0, figures)
    if distance is None:
        predicted, size = (0, size) if reference else (50, 0)
        figures = {"hd95_mm": math.inf, "assd_mm": math.inf, "nsd": 0.0}
        return Score(0.0, predicted, size, predicted / 1000, size / 1000, figures)
    figures = {"hd95_mm": distance, "assd_mm": distance / 2, "nsd": 1 - distance / 10}
    return Score(1 - distance / 10, size, size, size / 1000, size / 1000, figures)


def method(*labels: list[Score], start: int = 0) -> Evaluation:
    """Scores of each label, case by case."""
    cases = [
        CaseResult(f"c{start + n:02}", Path("p"), Path("r"), dict(enumerate(scores, start=1)))
        for n, scores in enumerate(zip(*labels, strict=True))
    ]
    results = [
        summarise(value, f"organ{value}", scores)
        for value, scores in enumerate(labels, start=1)
        if not all(math.isnan(each.dice) for each in scores)
    ]
    return Evaluation(tuple(cases), tuple(results), tolerance_mm=1.0)


def found(*distances: float | None) -> list[Score]:
    return [score(each, size=100 + n) for n, each in enumerate(distances)]


ALL_THREE_MM, A_THIRD_NEARER = found(*[3.0] * 40), found(*[1.5] * 15, *[None] * 25)


def printed(comparison: Comparison) -> str:
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=100, color_system=None))
    return " ".join(stream.getvalue().split())


@pytest.mark.parametrize(("metric", "title"), [("hd95_mm", "HD95"), ("assd_mm", "ASSD")])
def test_no_verdict_by_a_distance_where_one_misses_what_the_other_finds(metric, title):
    """40 cases: B finds 15 structures 1.5 mm off and misses 25; A finds all, 3 mm off."""
    comparison = compare(method(ALL_THREE_MM), method(A_THIRD_NEARER), metric=metric)
    (label,) = comparison.labels
    assert (label.wins, label.ties, label.losses, label.left_out) == (15, 0, 25, 0)
    assert (len(label.cases), label.of, label.present) == (15, 40, 40)
    assert math.isnan(label.p)
    assert math.isnan(label.p_holm)
    (told,) = verdict(comparison)
    assert told.startswith(
        f"On organ1 there is no verdict by {title}: A finds 40 of 40, B 15 of 40, and not the same "
        "ones; distances are compared on the 15 case(s) that both found (B - A is "
    )
    assert told.endswith("say nothing of the others. B wins 15, ties 0 and loses 25 case(s).")
    text = printed(comparison)
    assert "– 15/0/25 15 of 40" in text
    assert "is better on" not in text
    page = compare_page(comparison, {}, {"A": "a"})
    assert "there is no verdict by" in page
    assert '<td class="number">15 of 40</td>' in page
    assert "B - A of 15 of 40 case(s), 25 lost by B without a number" in page


def test_it_is_the_same_the_other_way_round():
    comparison = compare(method(A_THIRD_NEARER), method(ALL_THREE_MM), metric="hd95_mm")
    (label,) = comparison.labels
    assert (label.wins, label.ties, label.losses, label.judged) == (25, 0, 15, False)
    assert "A finds 15 of 40, B 40 of 40" in verdict(comparison)[0]


def test_overlaps_have_the_misses_in_their_means():
    for metric in ("dice", "nsd"):
        comparison = compare(method(ALL_THREE_MM), method(A_THIRD_NEARER), metric=metric)
        (told,) = verdict(comparison)
        assert told.startswith("A is better on organ1 by 0.381 [")
        assert told.endswith(". A finds 40 of 40, B 15 of 40.")
        assert (comparison.labels[0].wins, comparison.labels[0].losses) == (15, 25)


def test_equal_numbers_of_misses_are_not_the_same_misses():
    a = method(found(*[3.0] * 15, *[None] * 5))
    same, others = found(*[1.5] * 15, *[None] * 5), found(*[None] * 5, *[1.5] * 15)
    comparison = compare(a, method(same), metric="hd95_mm")
    (told,) = verdict(comparison)
    assert told == (
        "B is better on organ1 by 1.500 mm [1.500, 1.500]. A finds 15 of 20, B 15 of 20."
    )
    label = comparison.labels[0]
    assert (label.wins, label.losses, label.left_out, label.of) == (15, 0, 5, 20)
    comparison = compare(a, method(others), metric="hd95_mm")
    assert "no verdict by HD95: A finds 15 of 20, B 15 of 20, and not" in verdict(comparison)[0]
    assert (comparison.labels[0].wins, comparison.labels[0].losses) == (15, 5)


def test_nothing_that_both_found_is_no_comparison():
    comparison = compare(
        method(found(3.0, 3.0, None)), method(found(None, None, 2.0)), metric="hd95_mm"
    )
    (told,) = verdict(comparison)
    assert "the 0 case(s) that both found, and say nothing" in told
    assert (comparison.labels[0].wins, comparison.labels[0].losses) == (1, 2)
    assert comparison.worst() == comparison.most_changed() == ["c00", "c01", "c02"]
    assert "nan" not in compare_page(comparison, {}, {"A": "a"})
    assert "organ1 missed by A" in printed(comparison)


@pytest.mark.parametrize("metric", ["hd95_mm", "dice"])
def test_false_alarms_are_lost_cases(metric):
    """Fifteen structures nearer, and made up in 25 cases that have none."""
    clear = [*found(*[3.0] * 15), *[score(NOTHING)] * 25]
    alarming = [*found(*[1.5] * 15), *[score(None, reference=False)] * 25]
    for a, b, winner in ((clear, alarming, "B"), (alarming, clear, "A")):
        comparison = compare(method(a), method(b), metric=metric)
        (label,) = comparison.labels
        expected = (15, 25) if winner == "B" else (25, 15)
        assert (label.wins, label.losses, label.left_out) == (*expected, 0)
        assert (label.present, label.of, label.judged) == (15, 40, False)
        (told,) = verdict(comparison)
        assert f"there is no verdict by {comparison.metric.title}: {winner} scores better" in told
        assert f"but {winner} marks it in 25 case(s) without it. B wins" in told


def test_a_few_false_alarms_stand_beside_a_verdict():
    a = [*found(*[3.0] * 30), score(NOTHING), score(None, reference=False)]
    b = [*found(*[1.5] * 30), *[score(None, reference=False)] * 2]
    for metric in ("dice", "hd95_mm"):
        comparison = compare(method(a), method(b), metric=metric)
        label = comparison.labels[0]
        assert (label.wins, label.losses, label.judged) == (30, 1, True)
        (told,) = verdict(comparison)
        assert told.startswith("B is better on organ1 by ")
        assert "B marks it in 2 case(s) without it, in 1 of them alone." in told


def test_one_label_with_misses_leaves_the_others_their_verdict():
    near, far = found(*np.linspace(1.0, 1.4, 12)), found(*np.linspace(2.0, 2.7, 12))
    missing = [*near[:-1], score(None)]
    comparison = compare(method(far, far, far), method(near, missing, near), metric="hd95_mm")
    overall, first, second, third = verdict(comparison)
    assert "mean over labels there is no verdict by HD95: A finds 36 of 36, B 35 of 36" in overall
    assert "on the 35 structure(s) that both found" in overall
    assert first.startswith("B is better on organ1 by 1.1")
    assert third.startswith("B is better on organ3 by 1.1")
    assert "On organ2 there is no verdict" in second
    # Holm's method goes over the two labels that are tested.
    assert comparison.labels[0].p_holm == pytest.approx(2 * comparison.labels[0].p)
    # In the mean over labels the case is lost for B, for its other labels are not at fault.
    whole = comparison.overall
    assert (whole.wins, whole.losses, len(whole.cases), whole.of) == (11, 1, 12, 12)
    assert comparison.worst()[0] == comparison.most_changed()[0] == "c11"


def test_faults_of_both_in_one_case_leave_it_to_the_numbers():
    a = method([score(3.0), score(None)], [score(None), score(2.0)], found(2.0, 2.0))
    b = method([score(None), score(1.0)], [score(2.0), score(1.0)], found(1.0, 1.0))
    comparison = compare(a, b, metric="hd95_mm")
    assert (comparison.overall.wins, comparison.overall.losses) == (2, 0)


def test_json_and_csv_keep_what_has_no_number(tmp_path: Path):
    comparison = compare(method(ALL_THREE_MM), method(A_THIRD_NEARER), metric="hd95_mm")
    told = json.loads(json.dumps(to_json(comparison), allow_nan=False))
    label = told["labels"][0]
    assert (label["cases"], label["of"], label["judged"], label["p"]) == (15, 40, False, None)
    assert (label["found_a"], label["found_b"], label["missed_a"], label["missed_b"]) == (
        40, 15, 0, 25,
    )  # fmt: skip
    assert [(each["cases"], each["of"]) for each in label["sizes"]] == [(14, 14), (1, 13), (0, 13)]
    assert told["cases"]["c39"] == {
        "organ1": {"a": 3.0, "b": None, "difference": None, "lost_by": "B"}
    }
    save_csv(comparison, tmp_path / "o.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert [line["lost_by"] for line in lines] == [""] * 15 + ["B"] * 25
    assert (lines[39]["hd95_mm_a"], lines[39]["hd95_mm_b"]) == ("3.0", "")


def test_masks_that_one_method_lacks_are_told_before_any_verdict():
    a, b = method(found(*[3.0] * 20)), method(found(*[1.5] * 16))
    for metric in ("dice", "nsd", "hd95_mm"):
        lines = verdict(compare(a, b, metric=metric))
        assert lines[0].startswith(
            "All that follows is about the 16 case(s) that both have; in no number are 4 of which "
            "B has no mask. "
        )
        assert lines[1].startswith("B is better on organ1")


def test_a_mean_of_few_among_many_cases_is_called_narrow():
    rare = [*found(*[2.0] * 3), *[score(NOTHING)] * 15]
    nearer = [*found(*[1.0] * 3), *[score(NOTHING)] * 15]
    comparison = compare(
        method(rare, found(*[2.0] * 18)), method(nearer, found(*[1.0] * 18)), metric="hd95_mm"
    )
    assert verdict(comparison)[-1].startswith("With 3 cases (organ1) these intervals are narrower")
    assert "3 of 3" in printed(comparison)


def mask(path: Path, **starts: int) -> None:
    labels = np.zeros((10, 6, 4), np.int16)
    for name, start in starts.items():
        labels[start : start + 3] = int(name[1:])
    path.parent.mkdir(exist_ok=True)
    write_image(path, Image(labels[None], Geometry(labels.shape, np.diag([-1.0, -1.0, 2.0, 1.0]))))


@pytest.fixture
def scored(tmp_path: Path) -> Evaluation:
    """Label 1 found in three of ten cases; label 2 never, and made up in another."""
    for n in range(10):
        mask(tmp_path / "ref" / f"c{n}.nii.gz", l1=2, **({"l2": 6} if n < 2 else {}))
        made_up = {"l2": 6} if n == 9 else {}
        mask(tmp_path / "out" / f"c{n}.nii.gz", **({"l1": 3} if n < 3 else {}), **made_up)
    return evaluate(tmp_path / "out", tmp_path / "ref", full=True)


def test_means_of_distances_say_over_how_many_cases(scored: Evaluation):
    distances = [label.figures["hd95_mm"] for label in scored.labels]
    assert [(each.cases, each.of) for each in distances] == [(3, 10), (0, 3)]
    assert scored.labels[0].figures["nsd"].cases == 10
    told = scored.to_json()
    assert told["labels"][0]["figures"]["hd95_mm"]["cases"] == 3
    assert told["labels"][0]["figures"]["hd95_mm"]["of"] == 10
    assert told["mean_figures_over"]["assd_mm"] == {
        "labels": 1, "of_labels": 2, "cases": 3, "of": 13,
    }  # fmt: skip
    assert "mean_figures_over" in told["definitions"]
    lines = [" ".join(line.split()) for line in table_lines(scored)]
    first, second = (next(x for x in lines if x.startswith(f"{n} 0.")) for n in (1, 2))
    assert first.endswith(" 0.3000 1.00 0.52 3 of 10 0")
    assert second.endswith(" 0.0000 – – 0 of 3 7")
    assert "labels missed: 9, false alarms: 1; these have no HD95 and ASSD, whose" in lines[-3]
    assert lines[-1] == "without any HD95 and ASSD, in no mean over labels: 1 (2)"


def test_the_pages_of_runs_say_it_too(scored: Evaluation):
    page = label_table(scored.to_json(), {})
    of_metric = {
        table.split("<th>")[1].split("</th>")[0]: re.findall(r">(\d+ of \d+)<", table)
        for table in page.split("<table>")[1:]
    }
    assert of_metric["hd95 mm"] == of_metric["assd mm"] == ["3 of 10"]
    assert of_metric["nsd"] == ["10 of 10", "3 of 3"]
