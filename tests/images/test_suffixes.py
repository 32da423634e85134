"""Suffixes in capitals, files without content of their own, and folders walked through."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from attnseg.errors import DataError
from attnseg.images import (
    Geometry,
    Image,
    files_below,
    has_suffix,
    is_scan,
    left_out,
    read_image,
    read_labels,
    read_outline,
    scan_suffix,
    strip_suffix,
    write_image,
    write_labels,
)

GRID = Geometry((5, 4, 3), np.diag([-1.5, -1.5, 2.0, 1.0]))
VALUES = np.arange(60, dtype=np.int16).reshape(GRID.shape)
IMAGE = Image(VALUES[None], GRID)


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("A.NII.GZ", "A", ".NII.GZ"),
        ("b.Nii.gz", "b", ".Nii.gz"),
        ("C.NII", "C", ".NII"),
        ("case.01.v2.nii.gz", "case.01.v2", ".nii.gz"),
        ("D.HDR", "D", ".HDR"),
        ("E.MHA", "E", ".MHA"),
        ("F.Nrrd", "F", ".Nrrd"),
        ("G.MGZ", "G", ".MGZ"),
        ("H.TIFF", "H", ".TIFF"),
        ("İ.NII", "İ", ".NII"),  # whose small letter is longer
    ],
)
def test_suffixes_are_known_in_any_case(name: str, stem: str, suffix: str) -> None:
    assert (strip_suffix(name), scan_suffix(name)) == (stem, suffix)
    assert is_scan(Path(name))
    assert has_suffix(name, suffix.lower())


@pytest.mark.parametrize("name", ["A.NII.GZ", "B.NII", "C.Nii.gz", "D.MHA", "E.NRRD"])
def test_what_is_written_in_capitals_is_packed_and_read(tmp_path: Path, name: str) -> None:
    """The case `capital_suffixes`, and writers, which choose the format by the suffix too."""
    path = tmp_path / name
    write_image(path, IMAGE)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.upper().endswith(".GZ")
    np.testing.assert_array_equal(read_image(path).array, VALUES[None])
    assert read_outline((path,)).geometry.matches(GRID)
    small = tmp_path / f"small{path.suffix.lower()}"
    if not name.upper().endswith(".GZ"):
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(sitk.ReadImage(str(path.rename(small)))), VALUES.T
        )
    write_labels(path, VALUES, like=IMAGE, dtype=np.dtype(np.int16))
    np.testing.assert_array_equal(read_labels(path).array, VALUES[None])


@pytest.mark.parametrize(
    ("header", "voxels"),
    [
        ("A.HDR", "A.IMG"),
        ("a.hdr", "a.IMG"),
        ("A.HDR", "A.img"),
        ("A.HDR", "A.Img.GZ"),
        ("a.hdr", "a.img.gz"),
    ],
)
def test_pairs_whose_suffixes_are_in_capitals(tmp_path: Path, header: str, voxels: str) -> None:
    write_image(tmp_path / "x.nii", IMAGE)
    content = bytearray((tmp_path / "x.nii").read_bytes())
    content[344:348] = b"ni1\0"
    content[108:112] = np.float32(0).tobytes()
    (tmp_path / header).write_bytes(content[:352])
    packed = gzip.compress(content[352:]) if has_suffix(voxels, ".gz") else content[352:]
    (tmp_path / voxels).write_bytes(packed)
    np.testing.assert_array_equal(read_image(tmp_path / header).array, VALUES[None])
    (tmp_path / voxels).unlink()
    with pytest.raises(DataError, match="its voxels are not there"):
        read_image(tmp_path / header)
    (tmp_path / voxels).symlink_to("../.git/annex/objects/a/b.img")
    with pytest.raises(DataError, match="git annex get"):
        read_image(tmp_path / header)


def test_half_of_a_pair_says_so(tmp_path: Path) -> None:
    (tmp_path / "A.IMG").write_bytes(bytes(400))
    with pytest.raises(DataError, match=r"A\.IMG: half of a pair; give the header .*A\.hdr"):
        read_image(tmp_path / "A.IMG")


FORMATS = ["a.nii.gz", "a.nii", "a.HDR", "a.nrrd", "a.mha", "a.mgz", "a.png", "a.jpg", "a.tif"]


@pytest.mark.parametrize("name", FORMATS)
def test_files_without_content_say_what_they_are_in_any_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    key = f"SHA256E-s9--a{path.suffix}"
    for content, reason in (
        (f"/annex/objects/{key}\n", r"this is a link or pointer of git-annex .*`git annex get`"),
        (f"../../.git/annex/objects/xK/2z/{key}/{key}", "`git annex get`"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "`git lfs pull`"),
        ("", "the file is empty; copy it again from its source"),
    ):
        path.write_text(content)
        for read in (read_image, lambda each: read_outline((each,)), read_labels):
            with pytest.raises(DataError, match=reason) as error:
                read(path)
            assert "renamed" not in str(error.value)
    for target, reason in (
        (f"../.git/annex/objects/xK/2z/{key}/{key}", "`git annex get`"),
        ("elsewhere", "a link that leads nowhere; copy what it should lead to"),
    ):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(DataError, match=reason):
            read_image(path)
    with pytest.raises(DataError, match="no such file, but a folder"):
        read_image(tmp_path)


def test_folders_are_walked_through_once(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a.txt", ".hidden", ".git/x", "c/.y"):
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text("x")
    (tmp_path / "top" / "dead").symlink_to("nowhere")
    (tmp_path / "top" / "z").symlink_to("b")
    (tmp_path / "top" / "up").symlink_to("..")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "3").write_text("x")
    (tmp_path / "top" / "linked").symlink_to(tmp_path / "other")
    found = [
        path.relative_to(tmp_path / "top").as_posix() for path in files_below(tmp_path / "top")
    ]
    assert found == ["a.txt", "b/10", "b/2", "dead", "linked/3"]


def test_what_lies_among_scans_and_is_none(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.NII.BZ2", "c.img", "d.hdr", "d.img", "e.zip", "f.json", "notes",
                 "g.DCM", "sub/h.nrrd", "sub/deep/i.NII", "texts/j.txt", "masks/k.nii.gz",
                 ".l.nii.xz"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "masks" / "manifest.jsonl").write_text(json.dumps({}) + "\n")
    rest = left_out(tmp_path)
    assert rest.unread == ("b.NII.BZ2", "c.img", "e.zip")
    assert rest.dicom == ("g.DCM",)
    assert rest.below == (Path("sub/deep/i.NII"), Path("sub/h.nrrd"))
    assert left_out(tmp_path, taken=[tmp_path / "sub"]).below == ()
