"""`attnseg compare`: what it prints, writes and returns."""

import json
import re

import numpy as np
import PIL.Image
import pytest

from attnseg.images import Geometry, Image, write_image


def write(path, labels, *, spacing=1.0):
    affine = np.diag([-spacing, -spacing, 2.0, 1.0])
    write_image(path, Image(labels[None].astype(np.int16), Geometry(labels.shape, affine)))


def box(start):
    labels = np.zeros((12, 10, 4), np.int16)
    labels[start : start + 4, 2:8] = 1
    return labels


@pytest.fixture
def folders(tmp_path):
    """The references' box; A is a row off (Dice 0.75), B two rows (0.5)."""
    for name in ("p1", "p2", "p3"):
        for folder, start in (("ref", 4), ("a", 5), ("b", 6)):
            write(tmp_path / folder / f"{name}.nii.gz", box(start))
        scan = np.random.default_rng(0).normal(100, 10, (12, 10, 4))
        write(tmp_path / "scans" / f"{name}_0000.nii.gz", scan)
    return tmp_path


def test_known_folders(attnseg, folders):
    result = attnseg("compare", "a", "b", "--ref", "ref", "--json", "o.json", "--csv", "o.csv")
    assert (result.code, result.err) == (0, "")
    told = json.loads((folders / "o.json").read_text())
    label = told["labels"][0]
    assert (label["mean_a"], label["mean_b"], label["difference"]) == (0.75, 0.5, -0.25)
    assert (label["wins"], label["ties"], label["losses"], label["p"]) == (0, 0, 3, 0.25)
    assert (folders / "o.csv").read_text().splitlines()[1] == "p1,1,1,0.75,0.5,-0.25,"
    assert "A is better on 1 by 0.250 [0.250, 0.250]" in result.out


def test_identical_folders(attnseg, folders):
    result = attnseg("compare", "a", "a", "--ref", "ref", "--html", "o.html")
    assert result.code == 0
    assert "On 1 both score the same in all 3 cases" in result.out
    assert "p3" in (folders / "o.html").read_text()


def test_two_files_need_no_common_name(attnseg, folders):
    files = ("a/p1.nii.gz", "b/p2.nii.gz", "--ref", "ref/p3.nii.gz")
    result = attnseg("compare", *files, "--json", "o.json")
    assert result.code == 0
    assert list(json.loads((folders / "o.json").read_text())["cases"]) == ["p3"]


def test_a_page_with_scans(attnseg, folders):
    command = ("compare", "a", "b", "--ref", "ref", "--html", "o.html")
    assert attnseg(*command, "--images", "scans").code == 0
    with_scans = (folders / "o.html").read_text()
    assert with_scans.count("data:image/png") == 6
    assert "scan not shown" not in with_scans
    assert attnseg(*command).code == 0
    assert "scan not shown" in (folders / "o.html").read_text()


def test_distances_of_pictures_are_pixels(attnseg, tmp_path):
    for name in ("p1", "p2"):
        for folder, start in (("ref", 4), ("a", 5), ("b", 6)):
            (tmp_path / folder).mkdir(exist_ok=True)
            PIL.Image.fromarray(box(start)[:, :, 0].astype(np.uint8)).save(
                tmp_path / folder / f"{name}.png"
            )
    told = ("--metric", "hd95_mm", "--json", "o.json", "--html", "o.html", "--csv", "o.csv")
    result = attnseg("compare", "a", "b", "--ref", "ref", *told)
    assert result.code == 0
    content = json.loads((tmp_path / "o.json").read_text())
    assert (content["metric"], content["unit"]) == ("hd95_mm", "px")
    assert [content["labels"][0][f"mean_{side}"] for side in "ab"] == [1, 2]
    page = (tmp_path / "o.html").read_text()
    shown = page + result.out
    assert "Comparison by HD95 in px" in page
    assert "A is better on 1 by 1.000 px [1.000, 1.000]" in page
    assert not re.search(r"\d mm|in mm", re.sub(r"(?s)<style.*?</style>", "", shown))


def test_cases_without_a_pair_are_exit_code_3(attnseg, folders):
    (folders / "b" / "p3.nii.gz").unlink()
    result = attnseg("compare", "a", "b", "--ref", "ref")
    assert (result.code, result.err) == (3, "")
    assert "only in A: 1 (p3)" in result.out
    write(folders / "b" / "p3.nii.gz", box(6), spacing=2.0)
    result = attnseg("compare", "a", "b", "--ref", "ref")
    assert result.code == 3
    assert "failed: p3: B: b/p3.nii.gz: its voxels lie up to" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a", "b", "--ref", "ref", "--metric", "f1"), 2, "--metric f1: not known; choose from"),
        (("a", "none", "--ref", "ref"), 1, "none: no such file or folder; check the path"),
        (("a", "b", "--ref", "ref", "--images", "scans"), 2, "--images is for the pictures of"),
        (("a", "b", "--ref", "ref", "--html", "o", "--images", "no"), 1, "no: no such folder"),
    ],
)
def test_one_line_for_each_error(attnseg, folders, arguments, code, message):
    result = attnseg("compare", *arguments)
    assert result.code == code
    assert result.err.startswith(f"attnseg: {message}")
    assert result.err.count("\n") == 1


def test_no_common_case(attnseg, folders):
    (folders / "a" / "p1.nii.gz").unlink()
    for name in ("p2", "p3"):
        (folders / "b" / f"{name}.nii.gz").unlink()
    result = attnseg("compare", "a", "b", "--ref", "ref")
    assert result.code == 1
    assert result.err.startswith("attnseg: no case that both A (2) and B (1) have")
