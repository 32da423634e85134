"""Scores that were written are read as they were; what is none of ours is one line."""

import json
from pathlib import Path

import pytest

from attnseg.errors import DataError
from attnseg.evaluation.scores_file import read_scores

CASE = {
    "name": "a",
    "prediction": "masks/a.nii.gz",
    "reference": "../labels/a.nii.gz",
    "mean_dice": 0.9,
    "labels": {"1": {"dice": 0.9, "hd95_mm": None}},
}
SCORES = {
    "mean_dice": 0.9,
    "sd": None,
    "ci95": [None, None],
    "labels": [{"value": 1, "name": "liver", "mean": 0.9, "ci95": [0.8, 1], "cases": 1}],
    "cases": [CASE],
    "failed": {},
    "more": {"of": ["a later version"]},
}


def test_scores_are_read_as_they_were_written_and_paths_are_found(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii.gz").touch()
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    found = read_scores(tmp_path / "scores.json")
    assert found is not None
    (case,) = found["cases"]
    assert case["prediction"] == str(tmp_path / "masks" / "a.nii.gz")
    assert case["reference"] == CASE["reference"], "nothing lies there: as it stands"
    assert found | {"cases": [CASE]} == SCORES


def test_none_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_scores(tmp_path / "scores.json") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"failed": 2**63 - 1}, r"failed: Input should be a valid dictionary"),
        ({"labels": None}, r"labels: Input should be a valid list"),
        ({"labels": [{"value": "1", "name": "liver"}]}, r"labels\.0\.value: "),
        ({"cases": [{"name": "a"}]}, r"cases\.0\.prediction: Field required"),
        ({"cases": [CASE | {"labels": {"1": 3}}]}, r"cases\.0\.labels\.1: "),
        ({"ci95": [1]}, r"ci95: "),
        ({"mean_dice": "0.9"}, r"mean_dice: "),
    ],
)
def test_what_is_no_scores_is_one_line(tmp_path: Path, change: dict, told: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(SCORES | change))
    with pytest.raises(
        DataError, match=rf"scores\.json: no scores .*{told}.*make it again"
    ) as error:
        read_scores(path)
    assert "\n" not in str(error.value)


def test_what_is_no_json_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    for text in ("[" * 100_000, "{", "9" * 5000):
        path.write_text(text)
        with pytest.raises(DataError, match=r"scores\.json: n"):
            read_scores(path)
