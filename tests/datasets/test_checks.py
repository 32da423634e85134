"""Rules across cases, on facts made by hand, and on the faults planted in a real data set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from attnseg.datasets import (
    Case,
    CaseFacts,
    Dataset,
    Finding,
    find_dataset,
    find_problems,
    inspect_dataset,
    raise_if_fatal,
)
from attnseg.datasets.facts import unreadable_case
from attnseg.errors import DataError
from attnseg.spec import Region


def facts(name: str, *values: int, digest: str = "", findings: tuple[Finding, ...] = ()):
    counts = {0: 100, **dict.fromkeys(values, 5)}
    return CaseFacts(name, findings, label_counts=counts, label_digest=digest or name)


def dataset(
    names: dict[int, str],
    problems: tuple[Finding, ...] = (),
    *,
    present: dict[str, tuple[int, ...]] | None = None,
    regions: tuple[Region, ...] = (),
) -> Dataset:
    names_of_cases = ["a", *(present or {})]
    cases = tuple(
        Case(name, (Path(f"{name}.nii"),), None, (present or {}).get(name))
        for name in dict.fromkeys(names_of_cases)
    )
    return Dataset(Path("root"), "msd", cases, ("CT",), names, problems, regions=regions)


def found(names: dict[int, str], *cases: CaseFacts) -> list[tuple[str, str, str]]:
    return [(f.case, f.severity, f.problem) for f in find_problems(dataset(names), cases)]


def test_sound_cases_have_no_findings():
    assert found({1: "x", 2: "y"}, facts("a", 1), facts("b", 1, 2), facts("c", 1, 2)) == []
    assert found({}, facts("a", 1), facts("b", 1)) == []


def test_findings_of_folder_and_files_are_kept():
    of_folder, of_case = Finding("z", "fatal", "p", "r"), Finding("a", "harmless", "q", "s")
    cases = [facts("a", 1, findings=(of_case,)), facts("b", 1)]
    assert find_problems(dataset({1: "x"}, (of_folder,)), cases) == [of_folder, of_case]


def test_an_undeclared_value_of_one_case_is_fatal():
    cases = [facts("a", 1), facts("b", 1, 9, *range(20, 25)), facts("c", 1)]
    problem = "label value(s) 9, 20, 21, 22, 23, … (6 values) occur in this case only"
    assert found({1: "x"}, *cases) == [("b", "fatal", problem)]
    assert found({}, *cases) == [("b", "fatal", problem)]


def test_an_undeclared_value_of_several_cases_is_a_warning():
    problem = "label value(s) 3, 4 occur in the masks but are not declared"
    cases = [facts("a", 1, 4), facts("b", 1, 3), facts("c", 3, 4)]
    assert found({1: "x"}, *cases) == [("dataset", "harmless", problem)]
    assert found({}, *cases) == []


def test_a_declared_value_that_no_mask_has_is_a_warning():
    problem = "no mask has the declared label(s) 2 (y)"
    cases = [facts("a", 1), facts("b", 1)]
    assert found({1: "x", 2: "y"}, *cases) == [("dataset", "harmless", problem)]


def test_masks_without_any_foreground_are_fatal():
    problem = "no mask has any voxel that is not 0"
    assert found({1: "x"}, facts("a"), facts("b")) == [("dataset", "fatal", problem)]


def test_a_value_in_no_region_is_fatal():
    region = Region(name="whole", members=(1, 2), value=1)
    cases = [facts("a", 1, 2, 4), facts("b", 1, 2, 4)]
    data = dataset({1: "x", 2: "y"}, regions=(region,))
    assert [(f.case, f.severity, f.problem) for f in find_problems(data, cases)] == [
        ("dataset", "fatal", "label value(s) 4 occur in the masks but in no region")
    ]


def test_a_label_that_labels_present_does_not_list_is_fatal():
    data = dataset({1: "x", 2: "y"}, present={"a": (1,), "b": (1, 2), "c": (2,)})
    cases = [facts("a", 1, 2), facts("b", 1, 2), facts("c", 2), facts("d", 1, 2)]
    assert [(f.case, f.severity, f.problem) for f in find_problems(data, cases)] == [
        ("a", "fatal", "its mask has label value(s) 2, not in its labels_present")
    ]


def test_a_label_that_few_masks_lack_may_not_have_been_drawn():
    names = {1: "x", 2: "y"}
    some = [facts(name, 1, 2) for name in "abcdefg"]
    problem = "2 of 9 masks, such as that of v, lack the label 2 (y)"
    assert found(names, *some, facts("v", 1), facts("w", 1)) == [("dataset", "harmless", problem)]
    (finding,) = find_problems(dataset(names), [*some, facts("v", 1)])
    assert "list the labels that were under `labels_present`" in finding.remedy
    # A label that a quarter lacks is one that patients may lack; an empty mask says so itself.
    assert found(names, *some[:6], facts("v", 1), facts("w", 1)) == []
    assert found(names, *some, facts("v")) == []
    listed = dataset(names, present={"v": (1,), "w": (1,)})
    assert find_problems(listed, [*some, facts("v", 1), facts("w", 1)]) == []


def test_identical_labels_are_a_warning_unless_they_are_empty():
    cases = [facts("a", 1, digest="s"), facts("b", 1, digest="s"), facts("c", 1)]
    empty = [facts("d", digest="t"), facts("e", digest="t")]
    problem = "its label is identical to that of a"
    assert found({1: "x"}, *cases, *empty) == [("b", "warning", problem)]


def test_a_single_case_can_be_trained_on_but_not_held_out():
    broken = facts("b", 1, findings=(Finding("b", "fatal", "cut short", "copy it again"),))
    assert found({1: "x"}, facts("a", 1), broken)[-1] == (
        "dataset",
        "warning",
        "1 usable case(s) of one patient: none can be held out",
    )
    # Whose values are all there is, none of them stray.
    assert [severity for _, severity, _ in found({}, facts("a", 1, 2))] == ["warning"]
    assert found({1: "x"}, broken)[-1] == (
        "dataset",
        "fatal",
        "0 usable case(s); training needs one",
    )


def test_cases_of_one_patient_cannot_be_held_out():
    cases = [facts("a_1", 1), facts("a_2", 1)]
    (finding,) = find_problems(dataset({1: "x"}), cases, patient_pattern="(.)_")
    assert (finding.severity, finding.problem) == (
        "warning",
        "2 usable case(s) of one patient: none can be held out",
    )
    assert "--fold none" in finding.remedy


def test_a_label_that_a_fold_never_sees_is_a_warning():
    names = {1: "x", 2: "y"}
    cases = [facts("a", 1), facts("b", 1, 2), facts("c", 1), facts("d", 1)]
    # Of four cases each is held out alone, in the order of the digests of their names.
    problem = (
        "fold 2 of 4 holds out every case that has the label 2 (y) in b: its model never sees it"
    )
    assert found(names, *cases) == [("dataset", "warning", problem)]
    # Two cases that are held out together leave a fold without the label as well as one does.
    pair = [facts("a", 1, 2), facts("b", 1, 2), facts("c", 1), facts("d", 1)]
    assert found(names, *pair) == []
    (finding,) = find_problems(dataset(names), pair, splits=[["a", "b"], ["c", "d"]])
    assert finding.severity == "warning"
    assert "fold 0 of 2" in finding.problem
    assert "2 (y) in a and 1 more" in finding.problem
    assert "--fold none" in finding.remedy


def test_channels_of_one_value_are_warnings_that_name_the_channel():
    blank = "channel 1 (T2, b_0001.nii.gz) is 0 everywhere"
    cases = [facts("a", 1), replace(facts("b", 1), constant_channels=(blank,))]
    assert found({1: "x"}, *cases) == [("b", "warning", blank)]
    many = [replace(facts(f"{n}", 1), constant_channels=(blank,)) for n in range(7)]
    assert found({1: "x"}, *many) == [("dataset", "warning", f"7 cases, such as 0: {blank}")]
    # Cases are counted, and not their channels.
    twice = [replace(facts(f"{n}", 1), constant_channels=(blank, blank)) for n in range(4)]
    problem = f"4 cases, such as 0: {blank} (8 such findings)"
    assert found({1: "x"}, *twice) == [("dataset", "warning", problem)]


def test_masks_that_could_not_be_read_are_not_said_to_be_empty():
    unread = [unreadable_case("a", "cut short; copy it again")]
    problems = found({1: "x"}, *unread)
    assert problems == [
        ("a", "fatal", "cut short"),
        ("dataset", "fatal", "0 usable case(s); training needs one"),
    ]


def test_raise_if_fatal_lists_all_that_stops_training():
    told = Finding("a", "harmless", "odd", "look")
    raise_if_fatal([told])
    fatal, fixable = Finding("b", "fatal", "p", "q"), Finding("c", "fixable", "r", "s", "fill")
    with pytest.raises(DataError) as caught:
        raise_if_fatal([fatal, told, fixable])
    assert str(caught.value).splitlines() == [
        "the data set has 2 problem(s) that stop training, 1 of which `attnseg check DATA --fix "
        "OUT` mends in a corrected copy:",
        "b: p; q",
        "c: r; s",
    ]
    with pytest.raises(DataError, match=r"^the data set has 1 problem\(s\) that stop training:"):
        raise_if_fatal([fatal])


def test_faults_planted_in_a_real_data_set_are_all_named(tmp_path, real_data):
    source, planted = real_data / "hippocampus", real_data / "edge" / "dataset"
    numbers = ("001", "003", "004", "006", "011")
    files = {f"hippocampus_{n}": (source, f"hippocampus_{n}.nii.gz") for n in numbers}
    names = [*files, "copied", "other_task"]
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for name, (origin, file) in files.items():
            (tmp_path / folder / f"{name}.nii.gz").symlink_to(origin / folder / file)
    image = source / "imagesTr" / "hippocampus_011.nii.gz"
    for name, label in (
        ("copied", "label_duplicate_of_011.nii.gz"),
        ("other_task", "label_from_another_task.nii.gz"),
    ):
        (tmp_path / "imagesTr" / f"{name}.nii.gz").symlink_to(image)
        (tmp_path / "labelsTr" / f"{name}.nii.gz").symlink_to(planted / label)
    (tmp_path / "imagesTr" / "lone.nii.gz").symlink_to(planted / "image_without_label.nii.gz")
    metadata = json.loads((source / "dataset.json").read_text())
    metadata["training"] = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in names
    ]
    (tmp_path / "dataset.json").write_text(json.dumps(metadata))

    data = find_dataset(tmp_path)
    problems = find_problems(data, inspect_dataset(data))
    # The copy sorts before the original, so it is the original that is named as the second.
    assert [(each.case, each.severity, each.problem) for each in problems] == [
        ("lone", "fixable", "image lone.nii.gz has no label"),
        ("other_task", "fatal", "label has shape (512, 512, 94), the image (36, 50, 31)"),
        ("hippocampus_011", "warning", "image and label are identical to those of copied"),
        ("other_task", "warning", "its image is identical to that of copied"),
    ]
