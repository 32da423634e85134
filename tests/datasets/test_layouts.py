"""Folders are recognised, described, and refused in one line; nothing is dropped silently."""

from pathlib import Path

import pytest

from attnseg.datasets import find_dataset
from attnseg.errors import ConfigError, DataError


def pairs(*names: str) -> list[dict[str, str]]:
    return [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]


def findings(dataset) -> list[tuple[str, str]]:
    return [(finding.case, finding.severity) for finding in dataset.problems]


def test_decathlon_on_real_data(real_data):
    root = real_data / "hippocampus"
    dataset = find_dataset(root)
    assert dataset.layout == "msd"
    assert len(dataset.cases) == 195
    assert dataset.channel_names == ("MRI",)
    assert dataset.label_names == {1: "Anterior", 2: "Posterior"}
    assert dataset.problems == ()
    first = dataset.cases[0]
    assert first.name == "hippocampus_001"
    assert first.images == (root / "imagesTr" / "hippocampus_001.nii.gz",)
    assert first.label == root / "labelsTr" / "hippocampus_001.nii.gz"


def test_nnunet_on_real_data(real_data):
    root = real_data / "head_neck_ct"
    dataset = find_dataset(root)
    assert dataset.layout == "nnunet"
    assert [case.name for case in dataset.cases[:2]] == ["okbp_004", "okbp_013"]
    assert len(dataset.cases) == 30
    assert dataset.cases[0].images == (root / "imagesTr" / "okbp_004_0000.nii.gz",)
    assert dataset.label_names[5] == "Esophagus"
    assert 0 not in dataset.label_names
    assert dataset.problems == ()


def test_paired_folders_on_real_data(real_data):
    dataset = find_dataset(real_data / "ventricle")
    assert dataset.layout == "paired"
    assert len(dataset.cases) == 60
    assert dataset.channel_names == ("image",)
    assert dataset.label_names == {}
    assert dataset.problems == ()


def test_describe(tmp_path, touch, write_metadata):
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
    write_metadata(
        tmp_path,
        modality={"0": "T1", "1": "T2"},
        labels={"0": "background", "1": "tumour"},
        training=pairs("a.nii.gz"),
    )
    assert find_dataset(tmp_path).describe().splitlines() == [
        f"{tmp_path}: Medical Segmentation Decathlon layout",
        "cases: 1",
        "channels: 2 (T1, T2)",
        "labels: 1 tumour",
        "first case: a (imagesTr/a.nii.gz, labelsTr/a.nii.gz)",
    ]


def test_decathlon_reports_what_its_list_leaves_out(tmp_path, touch, write_metadata):
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTr/._a.nii.gz")
    touch(tmp_path, "imagesTr/no_label.nii.gz", "labelsTr/no_image.nii.gz")
    touch(tmp_path, "imagesTr/unlisted.nii.gz", "labelsTr/unlisted.nii.gz")
    write_metadata(tmp_path, modality={"0": "CT"}, training=pairs("a.nii.gz"))
    dataset = find_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["a"]
    assert findings(dataset) == [
        ("no_image", "fixable"),
        ("no_label", "fixable"),
        ("unlisted", "harmless"),
    ]


def test_nnunet_channels_are_in_order(tmp_path, touch, write_metadata):
    touch(tmp_path, *(f"imagesTr/{n}_000{c}.nii.gz" for n in ("b", "a_2") for c in (1, 0)))
    touch(tmp_path, "labelsTr/a_2.nii.gz", "labelsTr/b.nii.gz")
    write_metadata(
        tmp_path, channel_names={"1": "T2", "0": "T1"}, labels={"background": 0, "x": 3, "y": 1}
    )
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "nnunet"
    assert [case.name for case in dataset.cases] == ["a_2", "b"]
    assert [path.name for path in dataset.cases[1].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    assert dataset.channel_names == ("T1", "T2")
    assert dataset.label_names == {1: "y", 3: "x"}
    assert dataset.problems == ()


def test_nnunet_of_the_old_style(tmp_path, touch, write_metadata):
    """Its `training` list names images without the channel number, as the Decathlon does."""
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    write_metadata(
        tmp_path,
        modality={"0": "MRI"},
        labels={"0": "background", "1": "liver"},
        training=pairs("a.nii.gz"),
    )
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "nnunet"
    assert dataset.cases[0].name == "a"
    assert dataset.channel_names == ("MRI",)
    assert dataset.label_names == {1: "liver"}


def test_nnunet_reports_each_irregular_file(tmp_path, touch, write_metadata):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    touch(tmp_path, "imagesTr/gap_0001.nii.gz", "labelsTr/gap.nii.gz")
    touch(tmp_path, "imagesTr/no_label_0000.nii.gz", "labelsTr/no_image.nii.gz")
    touch(tmp_path, "imagesTr/unnumbered.nii.gz")
    write_metadata(tmp_path, channel_names={"0": "CT"}, labels={"background": 0})
    dataset = find_dataset(tmp_path)
    assert [f"{finding.case}: {finding.problem}" for finding in dataset.problems] == [
        "gap: its channel files _0001 are not numbered from _0000 without a gap",
        "no_image: label no_image.nii.gz has no image",
        "no_label: image no_label_0000.nii.gz has no label",
        "unnumbered: image file unnumbered.nii.gz does not end in a channel number",
    ]
    assert dataset.cases[2].label is None


def test_paired_folders_report_what_has_no_partner(tmp_path, touch, write_metadata):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii", "images/b.nii", "labels/c.nii.gz")
    write_metadata(tmp_path, labels={"background": 0, "heart": 1})
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "paired"
    assert dataset.label_names == {1: "heart"}
    assert [(case.name, case.label) for case in dataset.cases] == [
        ("a", tmp_path / "labels" / "a.nii"),
        ("b", None),
    ]
    assert findings(dataset) == [("b", "fixable"), ("c", "fixable")]


def test_unusable_folders_are_named(tmp_path, touch):
    with pytest.raises(DataError, match="no such folder; check the path"):
        find_dataset(tmp_path / "missing")
    touch(tmp_path, "file", "strange/notes.txt", "strange/Task04/dataset.json")
    with pytest.raises(DataError, match="this is a file; give the folder"):
        find_dataset(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder is empty; looked for dataset\.json"):
        find_dataset(tmp_path / "empty")
    with pytest.raises(DataError, match=r"not recognised \(found Task04/, notes.txt\); arrange"):
        find_dataset(tmp_path / "strange")


def test_other_layouts_than_the_folder_has_are_refused(tmp_path, touch):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz")
    with pytest.raises(ConfigError, match="layout 'dicom' is unknown"):
        find_dataset(tmp_path, layout="dicom")
    with pytest.raises(DataError, match=r"no dataset\.json with a `training` list"):
        find_dataset(tmp_path, layout="msd")
    with pytest.raises(DataError, match="imagesTr: no such folder, which this layout needs"):
        find_dataset(tmp_path, layout="nnunet")


@pytest.mark.parametrize("suffix", ["BMP", "gif", "dcm"])
def test_other_formats_are_refused(tmp_path: Path, touch, suffix: str):
    touch(tmp_path, f"imagesTr/a.{suffix}", f"labelsTr/a.{suffix}")
    with pytest.raises(DataError, match=rf"2 \.{suffix.lower()} files; attnseg trains on NIfTI"):
        find_dataset(tmp_path)


def test_pictures_beside_the_folders_do_no_harm(tmp_path, touch):
    touch(tmp_path, "images/a.nii", "labels/a.nii", "images/a.txt", "preview.png")
    assert [case.name for case in find_dataset(tmp_path).cases] == ["a"]


def test_one_case_under_two_suffixes_is_refused(tmp_path, touch):
    touch(tmp_path, "images/a.nii", "images/a.nii.gz", "labels/a.nii")
    with pytest.raises(DataError, match=r"a\.nii is there too and has the same case name"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_a_dataset_json_of_any_program(tmp_path: Path, touch, encoding: str):
    touch(tmp_path, "images/a.nii", "labels/a.nii")
    text = '{"labels": {"background": 0,\r\n "Höhle": 1}, "labels_present": {"a": ["Höhle"]}}'
    (tmp_path / "dataset.json").write_bytes(text.encode(encoding))
    dataset = find_dataset(tmp_path)
    assert dataset.label_names == {1: "Höhle"}
    assert dataset.cases[0].labels_present == (1,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ('{"labels": {"a": 1,\n}}', r"not readable as JSON \(line 1: a comma with nothing but '}'"),
        ('{"labels": {"a": 1, "a": 2}}', r"not readable as JSON \('a' is there twice, as 1 and"),
        ("[1]", "holds a list; it must be a JSON object"),
        ('{"modality": {"1": "CT"}}', "must number them from 0"),
        ('{"channel_names": ["CT"]}', "must number them from 0"),
        ('{"labels": {"background": 0, "tumour": "one"}}', "label 'tumour' is .* one integer"),
        ('{"labels": {"background": 0, "tumour": [1, 2]}}', "`regions_class_order` is None"),
        ('{"labels": ["background"]}', "label 'labels' is .* one integer"),
        ('{"training": [{"image": "a.nii"}]}', "`training` holds {'image': 'a.nii'}"),
        ('{"training": ["a.nii"]}', "`training` holds 'a.nii'"),
        ('{"training": 3}', "`training` holds 3"),
        ('{"training": []}', "no image in this Medical Segmentation Decathlon folder"),
        ('{"training": [{"image": "a.mnc", "label": "b.mnc"}]}', "lists a.mnc; attnseg trains on"),
        ('{"training": [{"image": "a.png", "label": "b.nii"}]}', "a data set holds one kind"),
        (
            '{"training": [{"image": "1/a.nii", "label": "1/b.nii"},'
            ' {"image": "2/a.nii", "label": "2/b.nii"}]}',
            "names 2 images 'a'",
        ),
    ],
)
def test_a_broken_dataset_json_is_named_in_one_line(tmp_path: Path, text: str, message: str):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        find_dataset(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
