"""Where masks go and in which format: names, refusals, one file a label."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from attnseg.datasets import find_dataset, inspect_dataset
from attnseg.errors import UsageError
from attnseg.images import Geometry, Image, Series
from attnseg.inference import Job, MaskFormat, Predictor, Scan, find_scans, predict_cohort
from attnseg.inference.masks import FORMATS, file_stems
from attnseg.inference.predict import predict

VOLUME = Scan("a", (Path("scans/a.nii.gz"),))
PICTURE = Scan("a", (Path("scans/a.png"),))
SERIES = Scan("a", (Series(Path("scans/a"), "1.2.3", ("1.dcm", "2.dcm")),))


@pytest.mark.parametrize(
    ("scan", "name", "target"),
    [
        (VOLUME, "auto", "a.nii.gz"),
        (PICTURE, "auto", "a.png"),
        (SERIES, "auto", "a.nii.gz"),
        (VOLUME, "nrrd", "a.nrrd"),
        (VOLUME, "mha", "a.mha"),
        (SERIES, "dicom-seg", "a.seg.dcm"),
        (SERIES, "rtstruct", "a.rtstruct.dcm"),
    ],
)
def test_a_mask_is_named_after_its_scan_and_format(scan: Scan, name: str, target: str) -> None:
    masks = MaskFormat(name)
    assert masks.target(scan) == target
    assert masks.refusal(scan) == ""


@pytest.mark.parametrize("scan", [VOLUME, PICTURE, SERIES])
def test_per_label_is_a_folder(scan: Scan) -> None:
    assert MaskFormat(per_label=True).target(scan) == "a"


@pytest.mark.parametrize("name", ["dicom-seg", "rtstruct"])
def test_dicom_objects_need_a_series(name: str) -> None:
    reason = MaskFormat(name).refusal(VOLUME)
    assert reason.startswith("scans/a.nii.gz: ")
    assert name in reason
    assert "\n" not in reason


def test_masks_of_pictures_stay_pictures() -> None:
    assert "use --format auto" in MaskFormat("nrrd").refusal(PICTURE)


def test_what_cannot_be_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=f"--format dicom: unknown; use {', '.join(FORMATS)}"):
        MaskFormat("dicom")
    with pytest.raises(UsageError, match="--per-label"):
        MaskFormat("rtstruct", per_label=True)


def test_file_names_of_labels_are_safe_and_differ() -> None:
    names = {1: "../etc", 2: "a/b", 3: "A b", 4: "…", 5: "größe"}
    stems = file_stems(names)
    assert stems == {1: "etc", 2: "a_b", 3: "A_b_3", 4: "label_4", 5: "größe"}


def test_file_names_of_labels_can_be_copied_to_windows_and_macos() -> None:
    names = {
        1: "kidney/left",
        2: "a:b",
        3: "CON",
        4: "con",
        5: "nul.x",
        6: "Nie\u0301re",
        7: "niére",
    }
    assert file_stems(names) == {
        1: "kidney_left", 2: "a_b", 3: "label_CON", 4: "label_con_4", 5: "label_nul.x",
        6: "Niére", 7: "niére_7",
    }  # fmt: skip
    # A name that is another's with its value; one longer than a file's name may be.
    assert file_stems({1: "a", 2: "a_3", 3: "A"}) == {1: "a", 2: "a_3", 3: "A_3_3"}
    assert len(file_stems({1: "ü" * 300})[1].encode()) <= 100


def test_names_that_windows_cannot_hold_are_told_once(make_model, make_scan, tmp_path, capsys):
    for name in ("10:30", "aux", "b"):
        make_scan(name)
    model = make_model()
    outcomes = predict([tmp_path / "scans"], tmp_path / "out", model=model)
    assert [each.mask for each in outcomes] == ["10:30.nii.gz", "aux.nii.gz", "b.nii.gz"]
    told = capsys.readouterr().err
    assert told.count("Windows") == 1
    assert "note: 2 file name(s) that Windows cannot hold (10:30.nii.gz: ':' in a name; " in told


def test_a_rerun_finds_a_mask_whose_name_is_in_another_form(make_model, make_scan, tmp_path):
    """As an older version wrote it, or as macOS gave it back."""
    model, made = make_model(), make_scan("Mu\u0308ller")
    first = predict([made], tmp_path / "out", model=model)
    assert [(each.name, each.mask) for each in first] == [("Müller", "Müller.nii.gz")]
    mask = tmp_path / "out" / "Müller.nii.gz"
    mask.rename(tmp_path / "out" / "Mu\u0308ller.nii.gz")
    again = predict([made], tmp_path / "out", model=model)
    assert [each.state for each in again] == ["skipped"]
    forced = predict([made], tmp_path / "out", model=model, overwrite=True)
    assert [each.state for each in forced] == ["done"]
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


def test_one_file_a_label_holds_that_label_alone(tmp_path: Path) -> None:
    labels = np.array([[[0, 205], [420, 205]]], dtype=np.uint16)
    like = Image(np.zeros((1, *labels.shape), np.float32), Geometry(labels.shape, np.eye(4)))
    names = {205: "myocardium", 420: "left ventricle", 500: "right ventricle"}
    masks = MaskFormat(per_label=True)
    for _ in range(2):  # the second time in place of the first
        masks.write(tmp_path, VOLUME, labels, like=like, dtype=labels.dtype, names=names)
    found = {path.name: np.asarray(nib.load(path).dataobj) for path in (tmp_path / "a").iterdir()}
    assert sorted(found) == ["left_ventricle.nii.gz", "myocardium.nii.gz", "right_ventricle.nii.gz"]
    np.testing.assert_array_equal(sum(found.values()), labels)
    np.testing.assert_array_equal(found["myocardium.nii.gz"], np.where(labels == 205, 205, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_cohort_in_files_of_labels(make_model, make_scan, tmp_path) -> None:
    model = make_model()
    for seed, name in enumerate(("a", "b")):
        make_scan(name, seed=seed)
    whole = predict([tmp_path / "scans"], tmp_path / "whole", model=model)
    job = Job(MaskFormat(per_label=True))
    apart = predict([tmp_path / "scans"], tmp_path / "apart", model=model, job=job)
    assert [each.mask for each in whole] == ["a.nii.gz", "b.nii.gz"]
    assert [each.mask for each in apart] == ["a", "b"]
    for name in ("a", "b"):
        parts = [nib.load(path) for path in sorted((tmp_path / "apart" / name).iterdir())]
        mask = nib.load(tmp_path / "whole" / f"{name}.nii.gz")
        assert len(parts) == 2
        np.testing.assert_array_equal(sum(np.asarray(p.dataobj) for p in parts), mask.dataobj)
        assert all((part.affine == mask.affine).all() for part in parts)
    again = predict([tmp_path / "scans"], tmp_path / "apart", model=model, job=job)
    assert [each.state for each in again] == ["skipped", "skipped"]
    other = predict([tmp_path / "scans"], tmp_path / "apart", model=model)
    assert [each.state for each in other] == ["done", "done"]  # whole masks are not there yet


def test_a_format_that_one_scan_cannot_have_is_its_own_matter(
    make_model, make_scan, tmp_path
) -> None:
    model = make_model()
    make_scan("a")
    outcomes = predict_cohort(
        find_scans([tmp_path / "scans"], num_channels=1),
        Predictor.load(model),
        tmp_path / "out",
        model_id="m",
        job=Job(MaskFormat("rtstruct")),
    )
    assert [(each.state, each.mask) for each in outcomes] == [("failed", "")]
    assert "refers to the DICOM series" in outcomes[0].reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.jsonl"]


def test_masks_as_a_derivative_of_bids(make_model, make_scan, tmp_path) -> None:
    model = make_model()
    for name in ("sub-01/anat/sub-01_T1w", "sub-02/ses-1/anat/sub-02_ses-1_T1w"):
        make_scan(name, folder="bids")
    job = Job(MaskFormat(bids=True))
    output = tmp_path / "bids" / "derivatives" / "attnseg"
    scans = [str(tmp_path / "bids" / "sub-*" / "**" / "*_T1w.nii.gz")]
    for state in ("done", "skipped"):
        outcomes = predict(scans, output, model=model, job=job)
        assert [(each.mask, each.state) for each in outcomes] == [
            ("sub-01/anat/sub-01_dseg.nii.gz", state),
            ("sub-02/ses-1/anat/sub-02_ses-1_dseg.nii.gz", state),
        ]
    dataset = find_dataset(tmp_path / "bids")
    assert [case.name for case in dataset.cases] == ["sub-01", "sub-02_ses-1"]
    assert dataset.label_names == {1: "organ 1", 2: "organ 2"}
    assert all(not facts.findings for facts in inspect_dataset(dataset))
    assert "not a name of BIDS" in MaskFormat(bids=True).refusal(VOLUME)
    with pytest.raises(UsageError, match="--bids"):
        MaskFormat("nrrd", bids=True)


def test_a_folder_of_masks_never_takes_the_place_of_anything_else(
    make_model, make_scan, tmp_path
) -> None:
    """The scan's own folder, and a folder in which somebody keeps other files."""
    model, job = make_model(), Job(MaskFormat(per_label=True))
    scan = make_scan("p1", folder="cohort/p1")
    with pytest.raises(UsageError, match="would overwrite its scan"):
        predict([scan], tmp_path / "cohort", model=model, job=job)
    (tmp_path / "out" / "p1").mkdir(parents=True)
    (tmp_path / "out" / "p1" / "notes.txt").write_text("mine")
    outcomes = predict([scan], tmp_path / "out", model=model, job=job)
    assert [(each.state, each.mask) for each in outcomes] == [("failed", "")]
    assert r"holds other files (notes.txt)" in outcomes[0].reason
    assert scan.is_file()
    assert (tmp_path / "out" / "p1" / "notes.txt").read_text() == "mine"
