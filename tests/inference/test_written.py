"""The masks of a folder, whatever wrote them."""

from pathlib import Path

import pytest
from predicted import IMAGE, LABELS, NAMES, predicted

from attnseg.errors import DataError
from attnseg.evaluation import evaluate
from attnseg.images import write_labels
from attnseg.inference import Job, MaskFormat, Outcome, predict
from attnseg.inference.manifest import Manifest
from attnseg.inference.written import bids_case, is_one_mask, masks_in, names_of_masks

APART = MaskFormat(per_label=True)


@pytest.mark.parametrize(
    "name", ["a", "scan.v2.1", "two words", "Müller_Ö", "x" * 200, "a_0000", "sub-01_T1w"]
)
def test_a_folder_of_labels_is_found_by_its_scans_name(tmp_path: Path, name: str) -> None:
    predicted(tmp_path / "apart", name, masks=APART)
    predicted(tmp_path / "flat", name)
    apart, flat = masks_in(tmp_path / "apart"), masks_in(tmp_path / "flat")
    assert list(apart.values()) == [tmp_path / "apart" / name]
    assert list(apart) == list(flat)
    assert names_of_masks(apart.values()) == NAMES


def test_parts_of_a_cohort_and_both_kinds_in_one_folder(tmp_path: Path) -> None:
    predicted(tmp_path, "a", "c", masks=APART, part="1of2")
    predicted(tmp_path, "b", masks=APART, part="2of2")
    predicted(tmp_path, "d", masks=MaskFormat("nrrd"))
    write_labels(tmp_path / "a_probabilities.nii.gz", LABELS, like=IMAGE, dtype=LABELS.dtype)
    (tmp_path / "statistics.csv").write_text("scan,label,volume_ml\n")
    assert {name: path.name for name, path in masks_in(tmp_path).items()} == {
        "a": "a", "b": "b", "c": "c", "d": "d.nrrd",
    }  # fmt: skip
    predicted(tmp_path, "b")
    with pytest.raises(DataError, match=r"b and b\.nii\.gz are both case b"):
        masks_in(tmp_path)


def test_without_a_manifest_folders_of_images_alone_are_masks(tmp_path: Path) -> None:
    predicted(tmp_path, "a", "b", masks=APART)
    (tmp_path / "manifest.jsonl").unlink()
    assert list(masks_in(tmp_path)) == ["a", "b"]
    assert names_of_masks([tmp_path / "a"]) == {1: "left_lung", 2: "Tumour_core", 5: "left_lung_5"}
    assert not is_one_mask(tmp_path / "a")
    # Beside masks that are files, a folder that nobody named is some other thing.
    predicted(tmp_path / "new", "c")
    (tmp_path / "new/c.nii.gz").rename(tmp_path / "c.nii.gz")
    assert list(masks_in(tmp_path)) == ["c"]


def test_masks_of_bids_go_by_their_subject(tmp_path: Path) -> None:
    predicted(tmp_path, "sub-01_T1w", "sub-02_ses-1_acq-a_T1w", masks=MaskFormat(bids=True))
    expected = ["sub-01", "sub-02_ses-1_acq-a"]
    assert list(masks_in(tmp_path)) == expected
    (tmp_path / "manifest.jsonl").unlink()
    assert list(masks_in(tmp_path)) == expected
    assert [bids_case(name) for name in ("sub-01_T1w", "other_scan")] == ["sub-01", "other_scan"]


def test_the_labels_of_a_data_set_are_masks(tmp_path: Path) -> None:
    predicted(tmp_path / "labels", "a")
    (tmp_path / "labels/manifest.jsonl").unlink()
    predicted(tmp_path / "images", "a")
    (tmp_path / "images/manifest.jsonl").unlink()
    assert masks_in(tmp_path) == {"a": tmp_path / "labels/a.nii.gz"}


def test_dicom_objects_are_told_with_the_command_that_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.seg.dcm").write_bytes(b"\0" * 128 + b"DICM")
    Manifest(tmp_path).add(Outcome("a", "done", mask="a.seg.dcm"))
    with pytest.raises(DataError, match=r"a\.seg\.dcm.*`attnseg convert .*a\.seg\.dcm OUT"):
        masks_in(tmp_path)


def test_a_folder_of_labels_is_one_mask_where_a_manifest_names_it(tmp_path: Path) -> None:
    predicted(tmp_path, "a", masks=APART)
    assert is_one_mask(tmp_path / "a")
    assert is_one_mask(tmp_path / "a/left_lung.nii.gz")
    assert not is_one_mask(tmp_path)


@pytest.mark.parametrize("masks", [MaskFormat(per_label=True), MaskFormat(bids=True)])
@pytest.mark.parametrize("with_regions", [False, True])
def test_predicted_masks_score_the_same_however_they_are_written(
    make_model, make_scan, tmp_path, masks, with_regions
):
    """Of a model of regions too: its masks hold the last region of each voxel."""
    regions = (
        [
            {"name": "whole", "members": [1, 2], "value": 1},
            {"name": "core", "members": [2], "value": 2},
        ]
        if with_regions
        else ()
    )
    model = make_model(regions=regions)
    for name in ("sub-01_T1w", "sub-02_T1w"):
        make_scan(name)
    predict([tmp_path / "scans"], tmp_path / "flat", model=model)
    predict([tmp_path / "scans"], tmp_path / "other", model=make_model(name="b", seed=1))
    predict([tmp_path / "scans"], tmp_path / "written", model=model, job=Job(masks=masks))

    def figures(folder):
        cases = evaluate(tmp_path / folder, tmp_path / "other").cases
        return [
            {
                value: (score.dice, score.predicted_voxels, score.reference_voxels)
                for value, score in case.scores.items()
            }
            for case in cases
        ]

    assert len(figures("flat")) == 2
    assert figures("written") == figures("flat")
