"""What is not recognised is said by every command that takes scans."""

import shutil


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
