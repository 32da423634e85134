"""Regions, labels to ignore, labels that were not drawn, and pictures, counted by hand."""

import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.errors import DataError
from attnseg.evaluation import compare_files, evaluate, match_files, region_counts
from attnseg.images import Geometry, Image, write_image
from attnseg.spec import Region

REGIONS = (
    Region(name="whole", members=(1, 2, 3), value=7),
    Region(name="core", members=(2, 3), value=2),
    Region(name="enhancing", members=(3,), value=300),
)


def volume(path: Path, *values: int) -> Path:
    """A mask of `[n, 1, 1]` voxels of 10 mm³."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.array(values, np.int16).reshape(1, -1, 1, 1)
    write_image(path, Image(array, Geometry(array.shape[1:], np.diag([1.0, 2.0, 5.0, 1.0]))))
    return path


def picture(path: Path, *values: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.array([values], np.uint8)).save(path)
    return path


def pair(folder: Path, predicted: tuple, reference: tuple, name: str = "a"):
    ours = volume(folder / "ours" / f"{name}.nii.gz", *predicted)
    return name, ours, volume(folder / "theirs" / f"{name}.nii.gz", *reference)


def scores(found, case: int = 0) -> dict[int, float]:
    return {value: score.dice for value, score in found.cases[case].scores.items()}


def test_regions_contain_what_is_nested_in_them(tmp_path: Path) -> None:
    # Written: the last region that has the voxel. Drawn: base labels.
    predicted, drawn = (0, 7, 2, 300, 300, 0), (1, 1, 2, 3, 0, 3)
    counts = region_counts(np.array(predicted), np.array(drawn), REGIONS)
    assert counts == {7: (3, 4, 5), 2: (2, 3, 3), 300: (1, 2, 2)}
    found = compare_files(
        [pair(tmp_path, predicted, drawn)], label_names={7: "whole"}, regions=REGIONS
    )
    assert scores(found) == {2: 4 / 6, 7: 6 / 9, 300: 2 / 4}
    assert [label.name for label in found.labels] == ["2", "whole", "300"]
    assert found.cases[0].scores[7].reference_ml == pytest.approx(0.05)


def test_perfect_regions_score_one_whatever_the_written_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 4, (9, 8, 7))
    written = np.zeros_like(drawn)
    for region in REGIONS:
        written[np.isin(drawn, region.members)] = region.value
    found = region_counts(written, drawn, REGIONS)
    assert {value: counts.dice for value, counts in found.items()} == {
        region.value: 1 for region in REGIONS
    }


def test_overlapping_regions_count_for_the_last(tmp_path: Path) -> None:
    left, right = (
        Region(name="left", members=(1, 2), value=1),
        Region(name="right", members=(2, 3), value=2),
    )
    # The voxel of label 2 belongs to both, and can be written as one of them only.
    counts = region_counts(np.array([1, 2, 2]), np.array([1, 2, 3]), (left, right))
    assert counts == {1: (1, 1, 2), 2: (2, 2, 2)}


def test_a_region_that_neither_mask_has_is_both_empty(tmp_path: Path) -> None:
    pairs = [
        pair(tmp_path, (7, 0), (1, 0), "a"),
        pair(tmp_path, (2, 0), (2, 0), "b"),
    ]
    found = compare_files(pairs, label_names={}, regions=REGIONS)
    assert [(label.value, label.cases, label.both_empty) for label in found.labels] == [
        (2, 1, 1),
        (7, 2, 0),
    ]


def test_ignored_voxels_are_in_no_count(tmp_path: Path) -> None:
    a = pair(tmp_path, (1, 1, 2, 0, 2), (1, 255, 255, 255, 1))
    found = compare_files([a], label_names={}, ignore_label=255)
    assert scores(found) == {1: 2 * 1 / (1 + 2), 2: 0.0}
    assert found.cases[0].scores[1].predicted_voxels == 1
    assert set(scores(compare_files([a], label_names={}))) == {1, 2, 255}
    regions = compare_files([a], label_names={}, ignore_label=255, regions=REGIONS[:2])
    assert regions.cases[0].scores[7].reference_voxels == 2


def test_labels_that_were_not_drawn_are_not_scored(tmp_path: Path) -> None:
    pairs = [
        pair(tmp_path, (1, 2, 0, 0), (1, 0, 0, 0), "a"),
        pair(tmp_path, (1, 1, 2, 2), (1, 0, 2, 2), "b"),
        pair(tmp_path, (0, 1, 3, 3), (0, 1, 0, 0), "c"),
    ]
    found = compare_files(pairs, label_names={}, labels_present={"a": (1,), "c": (1, 2)})
    assert scores(found, 0) == {1: 1.0}
    assert scores(found, 1) == {1: 2 / 3, 2: 1.0}
    assert scores(found, 2)[1] == 1
    assert math.isnan(scores(found, 2)[2])  # drawn, and neither mask has it
    assert [(label.value, label.cases, label.both_empty) for label in found.labels] == [
        (1, 3, 0),
        (2, 1, 1),
    ]
    assert found.cases[0].mean_dice == 1
    assert list(found.to_json()["cases"][0]["labels"]) == ["1"]


def test_regions_with_a_member_that_was_not_drawn_are_not_scored(tmp_path: Path) -> None:
    a = pair(tmp_path, (7, 2, 300), (1, 2, 0))
    found = compare_files([a], label_names={}, regions=REGIONS, labels_present={"a": (2, 3)})
    assert scores(found) == {2: 2 / 3, 300: 0.0}


def test_dataset_json_beside_the_references_tells_it_all(tmp_path: Path) -> None:
    pair(tmp_path, (7, 2, 300, 300), (1, 2, 3, 9), "a")
    pair(tmp_path, (7, 2, 300, 300), (1, 2, 0, 9), "b")
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 9}
    content = {
        "labels": labels,
        "regions_class_order": [7, 2, 300],
        "labels_present": {"b": [2, 3], "not_predicted_yet": [1]},
    }
    (tmp_path / "theirs" / "dataset.json").write_text(json.dumps(content))
    found = evaluate(tmp_path / "ours", tmp_path / "theirs")
    assert scores(found, 0) == {2: 1, 7: 1, 300: 1}
    assert scores(found, 1) == {2: 2 / 3, 300: 0}
    assert [label.name for label in found.labels] == ["core", "whole", "enhancing"]


def test_pictures_are_paired_and_counted_in_pixels(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    picture(ours / "a.png", 1, 1, 0, 0)
    picture(ours / "b_0000.png", 1, 0, 0, 0)
    picture(theirs / "a.tif", 1, 0, 0, 0)
    picture(theirs / "b.png", 1, 0, 0, 0)
    picture(theirs / "c.png", 1, 0, 0, 0)
    found = evaluate(ours, theirs)
    assert [scores(found, n) for n in range(2)] == [{1: 2 / 3}, {1: 1.0}]
    assert found.not_predicted == ("c",)
    content = found.to_json()["cases"][0]["labels"]["1"]
    assert (content["predicted_voxels"], content["reference_voxels"]) == (2, 1)
    assert content["predicted_ml"] is content["reference_ml"] is None
    picture(ours / "a.png", 1, 0, 0)
    with pytest.raises(DataError, match=r"shape \(3, 1, 1\) where .* has \(4, 1, 1\)"):
        evaluate(ours / "a.png", theirs / "a.tif")


def test_a_mask_and_a_picture_of_one_name_are_one_too_many(tmp_path: Path) -> None:
    volume(tmp_path / "ours" / "a.nii.gz", 1)
    picture(tmp_path / "ours" / "a.png", 1)
    volume(tmp_path / "theirs" / "a.nii.gz", 1)
    with pytest.raises(DataError, match=r"a\.nii\.gz and a\.png are both case a; keep one"):
        match_files(tmp_path / "ours", tmp_path / "theirs")


@pytest.mark.parametrize("declared", [False, True])
def test_references_of_0_and_255_against_predictions_of_0_and_1(
    tmp_path: Path, declared: bool
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    picture(ours / "a.png", 1, 1, 0, 0)
    picture(theirs / "a.png", 255, 0, 0, 0)
    picture(ours / "b.png", 0, 0, 0, 0)
    picture(theirs / "b.png", 0, 255, 0, 0)
    if declared:
        (theirs / "dataset.json").write_text('{"labels": {"background": 0, "nucleus": 1}}')
        (ours / "a.png").unlink()  # so that nothing else says that the label is 1
    found = evaluate(ours, theirs)
    (label,) = found.labels
    assert (label.value, label.name) == (1, "nucleus" if declared else "1")
    expected = [0.0] if declared else [2 / 3, 0.0]
    assert [scores(found, n)[1] for n in range(len(found.cases))] == expected


def test_255_stays_where_it_is_a_label_or_ignored(tmp_path: Path) -> None:
    a = ("a", picture(tmp_path / "ours.png", 255, 0), picture(tmp_path / "theirs.png", 255, 255))
    assert scores(compare_files([a], label_names={})) == {255: 2 / 3}
    assert scores(compare_files([a], label_names={}, label_values=(0, 255))) == {255: 2 / 3}
    assert scores(compare_files([a], label_names={}, label_values=(0, 1))) == {1: 2 / 3}
    ours = picture(tmp_path / "ours.png", 1, 1)
    theirs = picture(tmp_path / "theirs.png", 0, 255)
    found = compare_files(
        [("a", ours, theirs)], label_names={}, label_values=(0, 1), ignore_label=255
    )
    assert scores(found) == {1: 0.0}
    assert found.cases[0].scores[1].predicted_voxels == 1
