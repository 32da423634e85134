"""All figures together: empty masks, regions, pictures, JSON, CSV and table."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from attnseg.errors import UsageError
from attnseg.evaluation import (
    FIGURES,
    Evaluation,
    bootstrap_interval,
    evaluate,
    surface_figures,
    table_lines,
)
from attnseg.evaluation.boxes import label_boxes
from attnseg.evaluation.statistics import bootstrap_intervals
from attnseg.images import Geometry, Image, read_labels, write_image

SPACING_MM = (1.0, 2.0, 5.0)


def mask_file(path: Path, labels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    geometry = Geometry(labels.shape, np.diag([*SPACING_MM, 1.0]))
    write_image(path, Image(labels[None].astype(np.int16), geometry))
    return path


def slab(**starts: int) -> np.ndarray:
    """Ten rows; `slab(l3=2)` labels rows 2 to 5 with 3: 4 × 6 × 4 voxels of 10 mm³."""
    labels = np.zeros((10, 6, 4), dtype=np.int16)
    for name, start in starts.items():
        labels[start : start + 4] = int(name[1:])
    return labels


@pytest.fixture
def found(tmp_path: Path) -> Evaluation:
    """Label 1 shifted by two rows, perfect, missed, made up, in neither; label 2 in the last."""
    pairs = {
        "shifted": (slab(l1=2), slab(l1=0)),
        "same": (slab(l1=2), slab(l1=2)),
        "missed": (slab(), slab(l1=2)),
        "false": (slab(l1=2), slab()),
        "other": (slab(l2=1), slab(l2=1)),
    }
    for name, (ours, theirs) in pairs.items():
        mask_file(tmp_path / "ours" / f"{name}.nii.gz", ours)
        mask_file(tmp_path / "theirs" / f"{name}.nii.gz", theirs)
    return evaluate(tmp_path / "ours", tmp_path / "theirs", full=True, tolerance_mm=2.0)


def figures(found: Evaluation, name: str, value: int = 1) -> dict[str, float]:
    (case,) = [case for case in found.cases if case.name == name]
    assert case.scores[value].figures.keys() == FIGURES.keys()
    return dict(case.scores[value].figures)


def test_figures_of_a_shifted_label(found: Evaluation) -> None:
    shifted = figures(found, "shifted")
    assert (shifted["iou"], shifted["sensitivity"], shifted["precision"]) == (1 / 3, 0.5, 0.5)
    assert shifted["volume_difference_ml"] == shifted["relative_volume_difference"] == 0
    assert (shifted["nsd"], shifted["hd95_mm"]) == (1.0, 2.0)
    assert 0 < shifted["assd_mm"] < 2
    assert (shifted["lesion_f1"], shifted["panoptic_quality"]) == (1.0, 0.0)


def test_the_rule_for_empty_masks(found: Evaluation) -> None:
    missed, alarm, neither = (figures(found, name) for name in ("missed", "false", "other"))
    for one in (missed, alarm):
        assert one["iou"] == one["nsd"] == one["lesion_f1"] == one["panoptic_quality"] == 0
        assert one["hd95_mm"] == one["assd_mm"] == math.inf
    assert missed["volume_difference_ml"] == pytest.approx(-0.96)
    assert missed["relative_volume_difference"] == -1
    assert math.isnan(alarm["relative_volume_difference"])
    assert np.isnan([*neither.values()]).all()
    label = found.labels[0]
    assert (label.cases, label.both_empty, label.missed, label.false_alarm) == (4, 1, 1, 1)
    assert (label.figures["nsd"].mean, label.figures["nsd"].cases) == (0.5, 4)
    assert (label.figures["hd95_mm"].mean, label.figures["hd95_mm"].cases) == (1.0, 2)
    assert label.figures["nsd"].ci95 == bootstrap_interval(np.array([1.0, 1.0, 0.0, 0.0]))
    assert math.isnan(found.labels[1].figures["nsd"].ci95[0])


def test_json_names_and_defines_every_figure(found: Evaluation, tmp_path: Path) -> None:
    found.save_json(tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert content == found.to_json(tmp_path)
    named = {word for key in content["definitions"] for word in key.split(", ")}
    assert content["labels"][0].keys() - {"value", "name"} <= named
    assert content["labels"][0]["figures"].keys() == FIGURES.keys() <= named
    assert (content["tolerance_mm"], content["distance_unit"]) == (2.0, "mm")
    assert content["mean_figures"]["nsd"] == (0.5 + 1.0) / 2
    (missed,) = [case for case in content["cases"] if case["name"] == "missed"]
    assert missed["labels"]["1"].keys() <= named
    assert missed["labels"]["1"]["hd95_mm"] is None
    assert missed["labels"]["1"]["nsd"] == 0.0


def test_csv_has_a_row_per_case_and_label(found: Evaluation, tmp_path: Path) -> None:
    found.save_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["value"]) for row in rows] == [
        (case.name, value) for case in found.cases for value in ("1", "2")
    ]
    cases = {case["name"]: case["labels"] for case in found.to_json()["cases"]}
    for row in rows:
        score = cases[row["case"]][row["value"]]
        assert [*row] == ["case", "value", "label", *score]
        unit = score.pop("distance_unit")
        read = {name: float(row[name]) if row[name] else None for name in score}
        assert read == score
        assert row["distance_unit"] == unit == "mm"


def test_table_within_100_columns(found: Evaluation) -> None:
    lines = table_lines(found)
    heading = next(line for line in lines if "95 %" in line)
    assert all(name in heading for name in ("Dice", "NSD", "HD95", "ASSD", "cases", "empty"))
    assert max(map(len, lines)) <= 100
    row = next(line.split() for line in lines if line.split()[:2] == ["1", "0.3750"])
    assd = f"{found.labels[0].figures['assd_mm'].mean:.2f}"
    assert row[3:] == ["0.5000", "1.00", assd, "2", "of", "4", "1"]
    row = next(line.split() for line in lines if "mean over labels" in line)
    assert row[-6:-4] == ["0.7500", "0.50"]
    assert row[-3:] == ["3", "of", "5"]
    assert "NSD at 2 mm; HD95 and ASSD in mm" in lines
    assert any(line.startswith("labels missed: 1, false alarms: 1;") for line in lines)


def test_nothing_more_is_found_than_was_asked_for(tmp_path: Path) -> None:
    path = mask_file(tmp_path / "a.nii.gz", slab(l1=1))
    found = evaluate(path, path)
    assert found.cases[0].scores[1].figures == found.labels[0].figures == {}
    assert "nsd" not in found.to_json()["definitions"]
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="must be 0 or a positive distance"):
            evaluate(path, path, full=True, tolerance_mm=wrong)


def test_regions_are_measured_whole(tmp_path: Path) -> None:
    """Predictions hold the region's value (2 inside 1), references the members (1 and 2)."""
    labels = np.zeros((10, 6, 4), dtype=np.int16)
    labels[2:8], labels[4:6] = 1, 2
    theirs = mask_file(tmp_path / "theirs" / "a.nii.gz", labels)
    ours = mask_file(tmp_path / "a.nii.gz", labels)
    scheme = {
        "labels": {"background": 0, "whole": [1, 2], "core": [2]},
        "regions_class_order": [1, 2],
    }
    (tmp_path / "theirs" / "dataset.json").write_text(json.dumps(scheme))
    found = evaluate(ours, theirs, full=True)
    assert [label.name for label in found.labels] == ["whole", "core"]
    for value in (1, 2):
        one = found.cases[0].scores[value].figures
        assert (one["nsd"], one["hd95_mm"], one["reference_lesions"]) == (1, 0, 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slices_have_contours(axis: int, tmp_path: Path) -> None:
    ours, theirs = np.zeros((12, 12), dtype=bool), np.zeros((12, 12), dtype=bool)
    ours[2:8, 3:9] = theirs[4:9, 3:8] = True
    files = [
        mask_file(tmp_path / f"{name}.nii.gz", np.expand_dims(mask, axis))
        for name, mask in (("ours", ours), ("theirs", theirs))
    ]
    found = evaluate(*files, full=True).cases[0].scores[1].figures
    spacing_mm = tuple(np.delete(SPACING_MM, axis))
    expected = surface_figures(ours, theirs, spacing_mm=spacing_mm)
    assert (found["nsd"], found["hd95_mm"], found["assd_mm"]) == (
        expected.nsd,
        expected.hd95_mm,
        expected.assd_mm,
    )


def test_pictures_are_measured_in_pixels(tmp_path: Path) -> None:
    from PIL import Image as Picture

    square = np.zeros((16, 16), dtype=np.uint8)
    square[4:9, 4:9] = 255
    Picture.fromarray(np.roll(square, 3, axis=1)).save(tmp_path / "ours.png")
    Picture.fromarray(square).save(tmp_path / "theirs.png")
    found = evaluate(tmp_path / "ours.png", tmp_path / "theirs.png", full=True)
    ((score),) = found.cases[0].scores.values()
    assert score.figures["hd95_mm"] == 3.0
    assert math.isnan(score.figures["volume_difference_ml"])
    content = found.to_json()
    assert content["distance_unit"] == "px"
    assert content["cases"][0]["labels"]["255"]["distance_unit"] == "px"
    assert "NSD at 1 px; HD95 and ASSD in px" in table_lines(found)


def test_boxes_of_all_labels() -> None:
    labels = np.zeros((8, 7, 6), dtype=np.int32)
    labels[1:3, 2:5, 3:4], labels[7, 0, 5] = 3, 5
    expected = {3: np.s_[1:3, 2:5, 3:4], 5: np.s_[7:8, 0:1, 5:6]}
    assert label_boxes(labels, {3, 4, 5}) == expected
    assert label_boxes(np.asfortranarray(labels), {3, 5}) == expected
    labels[labels == 5] = -70000
    assert label_boxes(labels, {3, -70000}) == {3: expected[3], -70000: expected[5]}
    assert label_boxes(labels, set()) == {}


def test_intervals_of_columns_equal_those_of_each() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((12, 5))
    table[:3, 1] = table[4:, 2] = table[1:, 3] = table[:, 4] = np.nan
    for column, interval in zip(table.T, bootstrap_intervals(table), strict=True):
        np.testing.assert_allclose(interval, bootstrap_interval(column), rtol=1e-12)


def test_iou_and_dice_of_real_masks_agree(real_data: Path) -> None:
    path = sorted((real_data / "hippocampus" / "labelsTr").glob("*.nii.gz"))[0]
    assert read_labels(path).array.any()
    found = evaluate(path, path, full=True)
    for score in found.cases[0].scores.values():
        assert (score.dice, score.figures["iou"], score.figures["panoptic_quality"]) == (1, 1, 1)
