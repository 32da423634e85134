"""What is not recognised is said by every command that takes scans."""

import shutil

import numpy as np

from attnseg.images import Geometry, Image, write_image, write_labels

GRID = Geometry((4, 5, 6), np.diag([1.5, 1.5, 2.0, 1.0]))


def test_check_and_convert_say_what_they_leave_out(attnseg, dataset, tmp_path):
    scans = tmp_path / "scans"
    (scans / "later").mkdir(parents=True)
    shutil.copy(dataset / "images" / "c0.nii.gz", scans / "A.NII.GZ")
    shutil.copy(dataset / "images" / "c1.nii.gz", scans / "later" / "b.nii.gz")
    (scans / "c.nii.xz").write_bytes(b"x")
    (scans / "d.nii.gz").symlink_to("../.git/annex/objects/d/d.nii.gz")
    checked = attnseg("check", scans)
    assert checked.code == 1
    said = " ".join(checked.out.split())
    assert "2 scan(s), no data set" in said
    assert "1 scan(s) lie in folders within and are not taken (later/b.nii.gz)" in said
    assert "1 file(s) are not read (c.nii.xz); convert them to NIfTI or PNG" in said
    assert "1 of 2 scan(s) cannot be used" in checked.err
    converted = attnseg("convert", scans, tmp_path / "OUT")
    assert converted.code == 3
    assert (tmp_path / "OUT" / "A.nii.gz").read_bytes() == (scans / "A.NII.GZ").read_bytes()
    said = " ".join((converted.out + converted.err).split())
    assert "are not taken (later/b.nii.gz)" in said
    assert "c.nii.xz" in said
    assert "git annex get" in said


def test_one_file_in_capitals_is_converted_into_another(attnseg, dataset, tmp_path):
    shutil.copy(dataset / "images" / "c0.nii.gz", tmp_path / "A.NII.GZ")
    assert attnseg("convert", tmp_path / "A.NII.GZ", tmp_path / "B.NRRD").code == 0
    assert (tmp_path / "B.NRRD").read_bytes().startswith(b"NRRD")
    assert attnseg("convert", tmp_path / "B.NRRD", tmp_path / "C.NII.GZ").code == 0
    assert (tmp_path / "C.NII.GZ").read_bytes()[:2] == b"\x1f\x8b"


def test_evaluate_and_compare_say_which_masks_they_do_not_take(attnseg, dataset, tmp_path):
    # Own finding: masks in folders within vanished from the scores.
    masks = tmp_path / "masks"
    (masks / "later").mkdir(parents=True)
    shutil.copy(dataset / "labels" / "c0.nii.gz", masks)
    shutil.copy(dataset / "labels" / "c1.nii.gz", masks / "later")
    (masks / "c2.nii.xz").write_bytes(b"x")
    told = f"{masks}: 2 file(s) are not compared, in folders within or in formats that are not read"
    for command in (("evaluate",), ("compare", masks, "--ref")):
        result = attnseg(command[0], masks, *command[1:], dataset / "labels")
        assert result.code == 0, result.err
        assert told in " ".join(result.out.split())
        assert "(c2.nii.xz, later/c1.nii.gz)" in " ".join(result.out.split())
    within = attnseg("evaluate", masks / "later" / "..", masks / "none")
    assert within.code == 1
    (tmp_path / "patients").mkdir()
    masks.rename(tmp_path / "patients" / "a")
    result = attnseg("evaluate", tmp_path / "patients", dataset / "labels")
    assert result.code == 1
    assert "2 file(s) are not compared" in result.err
    # What predict writes beside masks is no mask that was forgotten.
    (tmp_path / "patients" / "a" / "manifest.jsonl").write_text("")
    assert "not compared" not in attnseg("evaluate", tmp_path / "patients" / "a",
                                         dataset / "labels").out  # fmt: skip


def test_the_choice_of_a_series_for_a_mask_is_told(attnseg, tmp_path, monkeypatch):
    # Own finding: which of several series stood for --like was not told.
    from attnseg.datasets import drawn

    scan = Image(np.zeros((1, *GRID.shape), np.float32), GRID)
    write_image(tmp_path / "i.nii.gz", scan)
    ones = np.ones(GRID.shape, np.uint8)
    write_labels(tmp_path / "m.nii.gz", ones, like=scan, dtype=ones.dtype)
    note = "took the largest"
    monkeypatch.setattr(drawn, "find_source", lambda path, series=None: (path, note))
    result = attnseg("convert", "m.nii.gz", "OUT.NII.GZ", "--like", "i.nii.gz")
    assert result.code == 0, result.err
    assert "i.nii.gz: took the largest" in result.out + result.err
    assert (tmp_path / "OUT.NII.GZ").is_file()
