"""What the masks hold and nobody declared is declared when a data set is written anew."""

import nibabel as nib
import numpy as np
import PIL.Image
import pytest

from attnseg.datasets import convert_dataset, find_dataset, find_problems, inspect_dataset
from attnseg.images import read_labels

GAPS = (
    "nnU-Net takes labels 1, 2, 3, … without gaps, the one to ignore last, and these are {}; "
    "attnseg trains on them as they are, for nnU-Net renumber masks and dataset.json"
)


def mask(*values: int) -> np.ndarray:
    """A box of each value in a row."""
    labels = np.zeros((4 * len(values) + 2, 6, 5), np.int32)
    for number, value in enumerate(values):
        labels[4 * number + 1 : 4 * number + 4, 1:5, 1:4] = value
    return labels


@pytest.fixture
def convert(tmp_path, save, write_metadata):
    """Write masks of these values into a layout; the report, and the data set that was written."""

    def write(layout, masks, **content):
        for number, values in enumerate(masks):
            labels = mask(*values)
            scan = np.random.default_rng(number).integers(0, 99, labels.shape).astype(np.int16)
            save(tmp_path / "in" / "images" / f"c{number}.nii.gz", scan)
            save(tmp_path / "in" / "labels" / f"c{number}.nii.gz", labels)
        if content:
            write_metadata(tmp_path / "in", **content)
        report = convert_dataset(find_dataset(tmp_path / "in"), tmp_path / layout, layout=layout)
        return report, find_dataset(tmp_path / layout)

    return write


@pytest.mark.parametrize("layout", ["nnunet", "msd", "paired", "bids"])
def test_values_that_nobody_declared(convert, tmp_path, layout):
    """The case: 10 and 556, without any dataset.json."""
    report, dataset = convert(layout, [(10, 556), (10, 556)])
    assert dataset.label_names == {10: "label 10", 556: "label 556"}
    for case in dataset.cases:
        assert set(np.unique(read_labels(case.label).array)) == {0, *dataset.label_names}
    told = "label value(s) 10, 556 occur in the masks but were not declared; named label 10, "
    assert f"{told}label 556" in report.notes
    assert (GAPS.format("10, 556") in report.notes) == (layout == "nnunet")
    found = find_problems(dataset, inspect_dataset(dataset))
    assert not any("declared" in finding.problem for finding in found)
    if layout == "bids":
        text = (tmp_path / "bids/derivatives/attnseg/dseg.tsv").read_text()
        assert text == "index\tname\n0\tbackground\n10\tlabel 10\n556\tlabel 556\n"


@pytest.mark.parametrize("layout", ["nnunet", "msd", "paired", "bids"])
def test_values_beside_declared_ones(convert, layout):
    """Declared labels that no mask has are kept; a name that is taken is not given twice."""
    names = {"background": 0, "liver": 1, "label 3": 2, "ignore": 9}
    report, dataset = convert(layout, [(1, 3, 9), (1, 3), (1, 5)], labels=names)
    assert dataset.label_names == {1: "liver", 2: "label 3", 3: "label 3_", 5: "label 5"}
    assert dataset.ignore_label == 9
    alone = (
        "label value(s) 5 occur in one mask only, such as that of c2; see whether they are meant"
    )
    assert alone in report.notes


def test_declared_values_with_gaps_agree_with_the_masks(convert):
    names = {"background": 0, "a": 10, "b": 556}
    report, dataset = convert("nnunet", [(10, 556), (10,)], labels=names)
    assert dataset.label_names == {10: "a", 556: "b"}
    assert report.notes == [GAPS.format("10, 556")]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"a": 1, "b": 2}, None),
        ({"a": 1, "b": 2, "ignore": 3}, None),
        ({"a": 1, "b": 3, "ignore": 2}, "1, 3, 2"),
        ({"a": 1, "b": 2, "ignore": 255}, "1, 2, 255"),
        ({"a": -1, "b": 1}, "-1, 1"),
    ],
)
def test_what_nnunet_would_refuse_is_told(convert, names, told):
    values = tuple(names.values())
    report, _ = convert("nnunet", [values, values], labels={"background": 0, **names})
    assert report.notes == ([] if told is None else [GAPS.format(told)])


def test_lists_of_what_was_drawn_stay_readable(convert):
    """4 was looked for in c0 and not found; nobody declared anything."""
    report, dataset = convert("nnunet", [(1,), (1, 2)], labels_present={"c0": [1, 4]})
    assert dataset.label_names == {1: "label 1", 2: "label 2", 4: "label 4"}
    assert [case.labels_present for case in dataset.cases] == [(1, 4), None]
    assert report.failed == {}


def test_values_in_no_region_are_told(convert):
    names = {"background": 0, "whole": [1, 2], "core": [2]}
    content = {"labels": names, "regions_class_order": [1, 2]}
    report, dataset = convert("nnunet", [(1, 2, 7), (1, 2, 7)], **content)
    assert "label value(s) 7 occur in the masks but in no region; add them to" in report.notes[0]
    assert [each.members for each in dataset.regions] == [(1, 2), (2,)]
    assert 7 not in dataset.label_names


def test_names_with_markup_stay_what_they_are(convert):
    names = {"</script><img src=x onerror=alert(1)>": 1, '[bold]b[/bold] & "q"': 2}
    _, dataset = convert("nnunet", [(1, 2), (1, 2)], labels={"background": 0, **names})
    assert dataset.label_names == {value: name for name, value in names.items()}


def test_a_case_that_was_not_written_declares_nothing(convert, tmp_path, save):
    labels = np.full((3, 3, 3), 77, np.int16)
    save(tmp_path / "in" / "labels" / "odd.nii.gz", labels)
    save(tmp_path / "in" / "images" / "odd.nii.gz", np.stack([labels, labels]))
    report, dataset = convert("paired", [(4,), (4,)])
    assert [*report.failed] == ["odd"]
    assert dataset.label_names == {4: "label 4"}


def pictures(folder, values) -> None:
    rng = np.random.default_rng(0)
    for name, value in values.items():
        labels = np.zeros((8, 9), np.uint8)
        labels[2:5, 3:7] = value
        for kind, array in (("images", rng.integers(0, 99, labels.shape)), ("labels", labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(array.astype(np.uint8)).save(folder / kind / f"{name}.png")


@pytest.mark.parametrize("layout", ["nnunet", "paired"])
def test_white_that_means_one_is_written_as_one(tmp_path, layout):
    """255 beside masks of 1 is no label of its own, and other software reads what is declared."""
    pictures(tmp_path / "in", {"a": 1, "b": 255, "c": 255})
    report = convert_dataset(find_dataset(tmp_path / "in"), tmp_path / "out", layout=layout)
    assert "2 mask(s) hold 255 where the data set means 1; written as 1" in report.notes
    dataset = find_dataset(tmp_path / "out")
    assert dataset.label_names == {1: "label 1"}
    assert [set(np.unique(read_labels(case.label).array)) for case in dataset.cases] == [{0, 1}] * 3
    assert not any("nnU-Net" in note for note in report.notes)


def test_white_alone_is_a_label(tmp_path):
    pictures(tmp_path / "in", {"a": 255, "b": 255})
    report = convert_dataset(find_dataset(tmp_path / "in"), tmp_path / "out", layout="nnunet")
    assert find_dataset(tmp_path / "out").label_names == {255: "label 255"}
    assert GAPS.format("255") in report.notes


def test_files_that_nnunet_does_not_read_are_told(tmp_path):
    pictures(tmp_path / "in", {"a": 1, "b": 1})
    for path in (tmp_path / "in" / "images").iterdir():
        PIL.Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    report = convert_dataset(find_dataset(tmp_path / "in"), tmp_path / "out", layout="nnunet")
    (told,) = [note for note in report.notes if "file ending" in note]
    assert "these files end in .jpg, .png" in told


def test_masks_with_rounding_are_written_as_whole_numbers(tmp_path, save):
    """nibabel's scale factor and NaN: nnU-Net would find 2.9999999993 in the copy."""
    labels, affine = mask(1, 3), np.diag([2.0, 2, 3, 1])
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint16)
    for name in ("a", "b"):
        save(tmp_path / "in" / "images" / f"{name}.nii.gz", labels.astype(np.int16), affine)
        path = tmp_path / "in" / "labels" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(labels.astype(float), affine, header=header), path)
    report = convert_dataset(find_dataset(tmp_path / "in"), tmp_path / "out")
    assert sum("off whole numbers" in note for note in report.notes) == 2
    made = nib.load(tmp_path / "out" / "labels" / "a.nii.gz")
    assert made.get_data_dtype() == np.uint8
    assert made.dataobj.slope == 1
    np.testing.assert_array_equal(np.asarray(made.dataobj), labels)
    before = nib.load(tmp_path / "in" / "labels" / "a.nii.gz")
    for field in ("pixdim", "srow_x", "sform_code", "qform_code", "qoffset_x", "quatern_b"):
        assert made.header[field].tobytes() == before.header[field].tobytes()
