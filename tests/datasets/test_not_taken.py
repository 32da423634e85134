"""Data sets in capitals, and what lies among their images and masks and is neither."""

import json
from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets import convert_dataset, find_dataset, find_problems, inspect_dataset
from attnseg.images import Geometry, Image, write_image, write_labels

GRID = Geometry((6, 5, 4), np.diag([-1.0, -1.0, 2.0, 1.0]))
LABELS = np.zeros(GRID.shape, np.uint8)
LABELS[2:4, 1:3, 1:3] = 1


def case(image: Path, label: Path) -> None:
    scan = Image(LABELS[None].astype(np.float32) * 9 + np.arange(4, dtype=np.float32), GRID)
    write_image(image, scan)
    write_labels(label, LABELS, like=scan, dtype=np.dtype(np.uint8))


def empty(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_images_and_masks_pair_whatever_the_case_of_their_suffixes(tmp_path: Path) -> None:
    """The case `capital_suffixes`, its data set."""
    endings = [
        (".NII.GZ", ".NII.GZ"),
        (".NII.GZ", ".nii.gz"),
        (".nii.gz", ".Nii"),
        (".MHA", ".NRRD"),
    ]
    for number, (image, label) in enumerate(endings):
        case(tmp_path / "images" / f"C{number}{image}", tmp_path / "labels" / f"C{number}{label}")
    dataset = find_dataset(tmp_path)
    assert [each.name for each in dataset.cases] == ["C0", "C1", "C2", "C3"]
    assert dataset.problems == ()
    assert [each for each in find_problems(dataset, inspect_dataset(dataset)) if each.stops] == []
    report = convert_dataset(dataset, tmp_path / "out", layout="nnunet", suffix=".nii.gz")
    assert not report.failed
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["file_ending"] == ".nii.gz"
    assert len(find_dataset(tmp_path / "out").cases) == 4


def test_patterns_find_suffixes_in_any_case(tmp_path: Path) -> None:
    case(tmp_path / "a" / "a_t1.NII.GZ", tmp_path / "a" / "a_seg.nii.gz")
    (tmp_path / "store").mkdir()
    case(tmp_path / "store" / "b_t1.nii.gz", tmp_path / "store" / "b_seg.Nii.Gz")
    (tmp_path / "set").mkdir()
    for name in ("a", "store"):
        (tmp_path / "set" / name).symlink_to(tmp_path / name)
    empty(tmp_path / "set", "c_t1.nii.bz2")
    found = find_dataset(tmp_path / "set", images=["{case}_t1.nii.gz"], labels="{case}_seg.nii.gz")
    assert [(each.name, each.label is not None) for each in found.cases] == [
        ("a", True), ("b", True),
    ]  # fmt: skip
    assert found.problems == ()
    assert found.unmatched[-1] == "not read: 1 file(s) (c_t1.nii.bz2); convert them to NIfTI or PNG"


@pytest.mark.parametrize("layout", ["paired", "nnunet", "msd"])
def test_what_is_neither_image_nor_mask_is_said(tmp_path: Path, layout: str) -> None:
    images, labels = ("images", "labels") if layout == "paired" else ("imagesTr", "labelsTr")
    name = "a_0000.nii.gz" if layout == "nnunet" else "a.nii.gz"
    case(tmp_path / images / name, tmp_path / labels / "a.nii.gz")
    if layout != "paired":
        content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "box": 1}}
        if layout == "msd":
            content["training"] = [{"image": f"{images}/{name}", "label": f"{labels}/a.nii.gz"}]
        (tmp_path / "dataset.json").write_text(json.dumps(content))
    empty(tmp_path / images, "b.nii.bz2", "c.mnc", "notes.txt", "b.json", "more/d.nii.gz")
    empty(tmp_path / labels, "b.seg.dcm")
    found = find_dataset(tmp_path)
    assert found.layout == layout
    assert found.unmatched == (
        f"not read: 2 file(s) in {images} (b.nii.bz2, c.mnc); convert them to NIfTI or PNG",
        f"not taken: 1 scan(s) in folders within {images} (more/d.nii.gz); move them up, or find "
        "all files by patterns of data.images and data.labels",
        f"not read: 1 DICOM file(s) in {labels} (b.seg.dcm); `attnseg convert` makes volumes of "
        "series",
    )
    assert "b.nii.bz2" in found.describe()


def test_scans_that_are_not_named_as_bids_are_said(tmp_path: Path) -> None:
    manual = tmp_path / "derivatives" / "manual" / "sub-1" / "anat"
    case(tmp_path / "sub-1" / "anat" / "sub-1_T1w.NII.GZ", manual / "sub-1_dseg.nii.gz")
    empty(tmp_path / "sub-1", "anat/T1.nii.gz", "anat/sub-1_T2w.nii.bz2", "loose.nii.gz",
          "anat/sub-1_T1w.json", "anat/.DS_Store")  # fmt: skip
    empty(manual, "mask of 1.nii.gz")
    found = find_dataset(tmp_path)
    assert [each.name for each in found.cases] == ["sub-1"]
    assert found.unmatched == (
        "not read: 1 file(s) (sub-1/anat/sub-1_T2w.nii.bz2); convert them to NIfTI",
        "not taken: 3 scan(s) without a name or place of BIDS (sub-1/loose.nii.gz, "
        "sub-1/anat/T1.nii.gz, derivatives/manual/sub-1/anat/mask of 1.nii.gz); name them as "
        "sub-XX/anat/sub-XX_T1w.nii.gz",
    )


def test_links_without_content_are_findings_and_no_missing_files(tmp_path: Path) -> None:
    case(tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to(".git/annex/objects/b/b.nii.gz")
    (tmp_path / "cases.csv").write_text("case,T1,label\na,a.nii.gz,m.nii.gz\nb,b.nii.gz,m.nii.gz\n")
    found = find_dataset(tmp_path / "cases.csv")
    assert found.problems == ()
    problems = find_problems(found, inspect_dataset(found))
    assert [each.case for each in problems if "git annex get" in str(each)] == ["b"]
