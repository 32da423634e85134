"""Folds are balanced, the same every time, keep their cases, and keep patients together."""

import random

import pytest

from attnseg.datasets import find_dataset, fold_cases, load_splits, make_splits, save_splits
from attnseg.errors import ConfigError, DataError

NAMES = [f"case_{number:03d}" for number in range(23)]


def fold_of(splits: list[list[str]]) -> dict[str, int]:
    return {name: number for number, fold in enumerate(splits) for name in fold}


def test_splits_are_balanced_complete_and_independent_of_order():
    splits = make_splits(NAMES)
    assert sorted(map(len, splits)) == [4, 4, 5, 5, 5]
    assert sorted(fold_of(splits)) == NAMES
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert make_splits(shuffled) == splits


def test_splits_are_the_same_on_every_machine():
    # By their SHA-256 the names come in the order d f c b e a g and are dealt in turn.
    assert make_splits(list("abcdefg"), num_folds=3) == [["b", "d", "g"], ["e", "f"], ["a", "c"]]


def test_cases_keep_their_fold_when_others_come_and_go():
    before = make_splits(NAMES)
    kept = [name for name in NAMES if name not in ("case_003", "case_010", "case_011")]
    added = [f"new_{number}" for number in range(9)]
    after = make_splits([*kept, *added], existing=before)
    assert {name: fold_of(after)[name] for name in kept} == {
        name: fold_of(before)[name] for name in kept
    }
    assert sorted(fold_of(after)) == sorted([*kept, *added])
    assert max(map(len, after)) - min(map(len, after)) <= 1


def test_patients_stay_together():
    names = [f"{patient}_ph{phase:02d}" for patient in "ABCDEFG" for phase in (0, 7, 9)]
    splits = make_splits(names, num_folds=3, patient_pattern=r"(.*)_ph\d+")
    folds = [{name[0] for name in fold} for fold in splits]
    assert sorted(map(len, folds)) == [2, 2, 3]
    assert sum(map(len, folds)) == 7
    grown = make_splits(
        [*names, "C_ph11"], num_folds=3, existing=splits, patient_pattern=r"(.*)_ph\d+"
    )
    assert fold_of(grown)["C_ph11"] == fold_of(splits)["C_ph00"]


def test_real_patients_stay_together(real_data):
    names = [case.name for case in find_dataset(real_data / "ventricle").cases]
    splits = make_splits(names, patient_pattern=r"(.*)_ph\d+")
    assert [len(fold) for fold in splits] == [12] * 5
    patients = [{name.rsplit("_", 1)[0] for name in fold} for fold in splits]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 30


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is no regular expression"),
        ("case_.*", "has no group"),
        ("(patient.*)", "finds no patient in case 'case_000'"),
        ("case(x)?", "finds no patient in case 'case_000'"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(pattern: str, message: str):
    with pytest.raises(ConfigError, match=message):
        make_splits(NAMES, patient_pattern=pattern)


def test_too_few_patients_are_refused():
    with pytest.raises(DataError, match=r"4 patient\(s\) cannot fill 5 folds; add cases or set"):
        make_splits(NAMES[:4])
    with pytest.raises(DataError, match=r"1 patient\(s\) cannot fill 2 folds"):
        make_splits(["a_1", "a_2", "a_3"], num_folds=2, patient_pattern="(.)_")


def test_existing_splits_that_do_not_fit_are_refused():
    existing = [["a_1", "b_1"], ["a_2", "c_1"]]
    names = ["a_1", "a_2", "b_1", "c_1"]
    assert make_splits(names, num_folds=2, existing=existing) == existing
    with pytest.raises(DataError, match=r"patient 'a' has cases in the folds \[0, 1\]"):
        make_splits(names, num_folds=2, existing=existing, patient_pattern="(.)_")
    with pytest.raises(ConfigError, match="3 folds asked for where the splits have 2"):
        make_splits(names, num_folds=3, existing=existing)
    with pytest.raises(DataError, match="fold 1 has no case left"):
        make_splits(["a_1", "b_1"], num_folds=2, existing=existing)


def test_fold_cases():
    splits = [["a", "c"], ["b", "gone"]]
    assert fold_cases(splits, ["c", "b", "a"], 0) == (["b"], ["c", "a"])
    assert fold_cases(splits, ["c", "b", "a"], 1) == (["c", "a"], ["b"])
    with pytest.raises(ConfigError, match="fold 2 does not exist; choose one of 0 to 1"):
        fold_cases(splits, ["a"], 2)
    with pytest.raises(DataError, match="case 'd' is in no fold"):
        fold_cases(splits, ["a", "d"], 0)


def test_splits_on_disk(tmp_path):
    splits = make_splits(NAMES)
    save_splits(tmp_path / "splits.json", splits)
    assert load_splits(tmp_path / "splits.json") == splits
    text = (tmp_path / "splits.json").read_text()
    (tmp_path / "splits.json").write_bytes(text.encode("utf-16"))  # as Notepad may save it
    assert load_splits(tmp_path / "splits.json") == splits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no readable splits"),
        ("[]", "no readable splits"),
        ('{"version": 1, "folds": [{}]}', "no readable splits .*KeyError: 'validation'"),
        ('{"version": 2, "folds": []}', "splits of version 2"),
        (
            '{"version": 1, "folds": [{"validation": ["a"]}, {"validation": ["a"]}]}',
            "case 'a' is listed twice",
        ),
    ],
)
def test_damaged_splits_are_refused(tmp_path, text: str, message: str):
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_splits(path)
    path.unlink()
    with pytest.raises(DataError, match="no readable splits"):
        load_splits(path)
