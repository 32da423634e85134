"""Regions, the label to ignore and partly drawn cases, as `dataset.json` spells them."""

import json
from pathlib import Path

import pytest

from attnseg.datasets import find_dataset
from attnseg.datasets.labels import white_is_one
from attnseg.errors import DataError
from attnseg.spec import Region

TUMOUR = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@pytest.fixture
def folder(tmp_path, touch, write_metadata):
    """A folder of the layout with the cases a, b and c."""

    def make(layout: str = "paired", **content: object) -> Path:
        images, labels, channel = {
            "paired": ("images", "labels", ""),
            "nnunet": ("imagesTr", "labelsTr", "_0000"),
            "msd": ("imagesTr", "labelsTr", ""),
        }[layout]
        for name in "abc":
            touch(tmp_path, f"{images}/{name}{channel}.nii.gz", f"{labels}/{name}.nii.gz")
        if layout == "msd":
            content["training"] = [
                {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"}
                for name in "abc"
            ]
        write_metadata(tmp_path, **content)
        return tmp_path

    return make


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_dataset(root)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)
    return str(caught.value)


def test_regions_as_nnunet_spells_them(folder):
    data = find_dataset(folder("nnunet", labels=TUMOUR, regions_class_order=[7, 2, 300]))
    assert data.regions == (
        Region(name="whole", members=(1, 2, 3), value=7),
        Region(name="core", members=(2, 3), value=2),
        Region(name="enhancing", members=(3,), value=300),
    )
    assert data.label_names == {1: "label 1", 2: "label 2", 3: "enhancing"}
    assert data.ignore_label is None
    lines = data.describe().splitlines()
    assert "labels: 1 label 1, 2 label 2, 3 enhancing" in lines
    assert "regions: 7 whole (1, 2, 3), 2 core (2, 3), 300 enhancing (3)" in lines


def test_background_and_ignore_are_no_regions(folder):
    labels = {"background": [0], "ignore": 9, "a": [4, 1, 4], "b": 1}
    data = find_dataset(folder(labels=labels, regions_class_order=[1, 2]))
    assert [(each.name, each.members) for each in data.regions] == [("a", (1, 4)), ("b", (1,))]
    assert data.label_names == {1: "b", 4: "label 4"}
    assert data.ignore_label == 9


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "x": 1, "ignore": 255}, {"0": "background", "1": "x", "255": "ignore"}],
)
def test_the_ignore_label_in_either_spelling(folder, labels: dict):
    data = find_dataset(folder(labels=labels))
    assert (data.label_names, data.ignore_label, data.regions) == ({1: "x"}, 255, ())
    assert "ignored: voxels of label 255" in data.describe().splitlines()


@pytest.mark.parametrize(
    "order", [None, [1, 2], [1, 2, 3, 4], [1, 2, 2], [0, 1, 2], [1, 2, True], "123", [1, 2, "3"]]
)
def test_the_order_of_regions_must_fit_them(folder, order: object):
    message = refused(folder(labels=TUMOUR, regions_class_order=order))
    assert "3 region(s), whole, core, enhancing," in message
    assert f"`regions_class_order` is {order!r}; it must list one value for each" in message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"core": [2, 3], "whole": [1, 2, 3]}, "'whole' holds all of 'core' .* list 'whole' first"),
        ({"a": [1, 2], "b": [2, 1]}, r"labels 'a' and 'b' are both \(1, 2\)"),
        ({"a": [3, 2], "b": []}, r"region 'b' unites \[\]"),
        ({"a": [3, 2], "b": [0, 1]}, "without the background 0"),
        ({"a": [1, 1.5], "b": 1}, r"label 'a' is \[1, 1.5\]; each label needs one integer"),
        ({"a": 1, "b": 1.5}, "label 'b' is 1.5; each label needs one integer"),
        ({"a": 1, "b": True}, "label 'b' is True; each label needs one integer"),
        ({"a": 1, "b": 1}, "labels 'a' and 'b' are both 1; give each a value of its own"),
        ({"a": 1, "ignore": [2, 3]}, r"'ignore' is \[2, 3\]; it must be one integer"),
        ({"a": 1, "ignore": 0}, "'ignore' is 0, which is the value of another label"),
        ({"a": [1, 2], "b": 1, "ignore": 2}, "'ignore' is 2, which is the value of another"),
    ],
)
def test_labels_that_make_no_sense(folder, labels: dict, message: str):
    root = folder(labels=labels, regions_class_order=[1, 2])
    with pytest.raises(DataError, match=message):
        find_dataset(root)
    refused(root)


@pytest.mark.parametrize("layout", ["paired", "nnunet", "msd"])
@pytest.mark.parametrize("in_a_file", [False, True])
def test_labels_present(folder, layout: str, in_a_file: bool):
    present = {"a": [2], "c": ["liver", 2]}
    content = {"labels": {"background": 0, "liver": 1, "spleen": 2}}
    root = folder(layout, **content, **({} if in_a_file else {"labels_present": present}))
    if in_a_file:
        (root / "labels_present.json").write_text(json.dumps(present))
    data = find_dataset(root)
    assert data.layout == layout
    assert [case.labels_present for case in data.cases] == [(2,), None, (1, 2)]
    assert "partial labels: 2 case(s) list the labels that were drawn" in data.describe()


def test_labels_present_without_names_takes_values(folder):
    root = folder()
    (root / "dataset.json").unlink()
    (root / "labels_present.json").write_text('{"a": [205, -1]}')
    assert find_dataset(root).cases[0].labels_present == (-1, 205)
    (root / "labels_present.json").write_text('{"a": ["liver"]}')
    assert "'liver'; it must be a label's value or name (no names are declared" in refused(root)


def test_labels_present_is_said_once(folder):
    root = folder(labels={"a": 1}, labels_present={"a": [1]})
    (root / "labels_present.json").write_text('{"a": [1]}')
    assert "dataset.json has `labels_present` too; keep it in one" in refused(root)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({"a": [1], "d": [1]}, "names 1 case(s) that are not there, such as 'd'; a case is named"),
        ({"a": [3]}, "of case 'a' lists 3; it must be a label's value or name (1 liver)"),
        ({"a": ["spleen"]}, "lists 'spleen'; it must be"),
        ({"a": [9]}, "lists 9; it must be"),  # the label to ignore is no class
        ({"a": [0, 1]}, "lists 0; it must be"),
        ({"a": [True]}, "lists True; it must be"),
        ({"a": []}, "of case 'a' is []; list the labels that were drawn"),
        ({"a": 1}, "of case 'a' is 1; list the labels"),
        (["a"], "`labels_present` is a list; it must be an object such as"),
    ],
)
def test_labels_present_that_makes_no_sense(folder, present: object, message: str):
    root = folder(labels={"background": 0, "liver": 1, "ignore": 9}, labels_present=present)
    assert message in refused(root)


@pytest.mark.parametrize(
    ("masks", "declared", "expected"),
    [
        ([{0, 255}, {0, 255}], (), False),
        ([{0, 255}, {0, 1}], (), True),
        ([{255}, {1}], (), True),
        ([{0, 255}, {0}], (1,), True),
        ([{0, 255}, {0, 1}], (1, 255), False),
        ([{0, 255}, {0, 2}], (), False),
        ([{0, 255}, {0, 2}], (1, 2), True),
        ([{0, 255}, {0, 1, 255}], (1,), False),
        ([{0, 1}, {0}], (1,), False),
        ([], (1,), False),
    ],
)
def test_when_255_is_another_spelling_of_1(masks: list, declared: tuple, expected: bool):
    assert white_is_one(masks, declared) is expected
