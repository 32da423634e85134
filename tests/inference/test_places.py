"""What a path that was typed stands for, and that nothing there is left out without a word."""

from pathlib import Path

import pytest

from attnseg.errors import DataError
from attnseg.inference import find_scans, predict
from attnseg.inference.channels import scans_by_pattern

MARK = bytes(128) + b"DICM"


def fill(folder: Path, *names: str, content: bytes = b"x") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def found(*places: Path | str) -> tuple[list[str], list[str]]:
    """Names of the scans, and what is said."""
    said: list[str] = []
    scans = find_scans(places, num_channels=1, say=said.append)
    return [scan.name for scan in scans], said


def test_suffixes_in_any_case_are_scans(tmp_path):
    """The case `capital_suffixes`: five of five, and their masks in small letters."""
    fill(tmp_path, "A.NII.GZ", "B.NII", "C.Nii.gz", "D.MHA", "E.NRRD", "F.HDR", "F.IMG", "G.MGZ")
    assert found(tmp_path) == (["A", "B", "C", "D", "E", "F", "G"], [])
    scans = find_scans([tmp_path], num_channels=1)
    assert {scan.mask_name for scan in scans} == {f"{name}.nii.gz" for name in "ABCDEFG"}
    assert found(f"{tmp_path}/*.NII*")[0] == ["A", "B"]
    fill(tmp_path / "channels", "x_0000.NII.GZ", "x_0001.nii.gz")
    (scan,) = find_scans([tmp_path / "channels"], num_channels=2)
    assert (scan.name, len(scan.paths)) == ("x", 2)


def test_scans_in_folders_within_are_counted_and_named(tmp_path):
    fill(tmp_path, "a.nii.gz", "more/b.nii.gz", "more/deep/c.nii.gz", "texts/readme.txt")
    names, said = found(tmp_path)
    assert names == ["a"]
    assert said == [
        f"{tmp_path}: 2 scan(s) lie in folders within and are not taken (more/b.nii.gz, "
        f"more/deep/c.nii.gz); give '{tmp_path}/*/*.nii.gz' for them"
    ]
    assert found(f"{tmp_path}/*/*.nii.gz")[0] == ["b"], "what was advised works"


def test_a_folder_of_folders_is_an_error_that_says_where_they_are(tmp_path):
    fill(tmp_path, "A/scan1.NII.GZ", "B/scan2.nii.gz")
    with pytest.raises(DataError, match=r"2 scan\(s\) lie in folders within.*/\*/\*\.NII\.GZ'"):
        found(tmp_path)
    with pytest.raises(
        DataError, match=r"2 folder\(s\) that it matches hold scans.*give '.*/\*/\*"
    ):
        found(f"{tmp_path}/*")


def test_dicom_folders_beside_folders_of_volumes(tmp_path):
    fill(tmp_path / "a", "1.dcm", content=MARK)
    fill(tmp_path / "b", "scan.nii.gz")
    fill(tmp_path / "c", "IM1", "IM2", content=b"")
    names, said = found(tmp_path)
    assert names == ["a"]
    assert "2 scan(s) lie in folders within and are not taken (b/scan.nii.gz, c/IM1)" in said[0]


def test_dicom_beside_other_scans_is_not_hidden_and_hides_nothing(tmp_path):
    """Those that are more files are taken, the others are named."""
    fill(tmp_path / "few", "a.nii.gz", "b.nii.gz", "t.png")
    fill(tmp_path / "few", "1.dcm", "IM2", content=MARK)
    names, said = found(tmp_path / "few")
    assert names == ["a", "b", "t"]
    assert "2 DICOM file(s) beside 3 other scan(s) are not taken (1.dcm, IM2)" in said[0]
    fill(tmp_path / "many", "preview.jpg", "mask.nii.gz")
    fill(tmp_path / "many", "1.dcm", "2.dcm", "3.dcm", content=MARK)
    with pytest.raises(DataError, match=r"many: 3 files cannot be read: cut short"):
        found(tmp_path / "many")


def test_formats_that_are_not_read_and_archives_are_named(tmp_path):
    fill(tmp_path, "a.nii.gz", "b.nii.bz2", "c.MNC", "d.img", "notes.txt", "a.json")
    names, said = found(tmp_path)
    assert names == ["a"]
    assert said == [
        f"{tmp_path}: 3 file(s) are not read (b.nii.bz2, c.MNC, d.img); convert "
        "them to NIfTI or PNG"
    ]
    assert found(f"{tmp_path}/*")[1] == [
        f"{tmp_path}/*: 2 file(s) are not read (b.nii.bz2, c.MNC); convert them to NIfTI or PNG"
    ]
    fill(tmp_path / "zips", "p1.zip", "p2.ZIP")
    with pytest.raises(
        DataError, match=r"2 file\(s\) are not read \(p1\.zip, p2\.ZIP\); give arch"
    ):
        found(tmp_path / "zips")
    with pytest.raises(DataError, match=r"d\.img: half of a pair; give the header beside it, d\.h"):
        found(tmp_path / "d.img")


def test_links_and_empty_files_are_not_taken_for_nothing(tmp_path):
    fill(tmp_path / "e", "IM1", "IM2", content=b"")
    with pytest.raises(DataError, match=r"it holds 2 empty file\(s\) or links: copy them again"):
        found(tmp_path / "e")
    (tmp_path / "x.nii.gz").symlink_to("../.git/annex/objects/a/x.nii.gz")
    assert found(tmp_path / "x.nii.gz")[0] == ["x"], "reading says what it is"
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(DataError, match="a link that leads nowhere"):
        found(tmp_path / "gone")


def test_files_that_match_no_pattern_are_said(tmp_path):
    fill(tmp_path, "a_t1.NII.GZ", "a_flair.nii.gz", "b.nii.gz")
    said: list[str] = []
    (scan,) = scans_by_pattern(
        tmp_path, ["{case}_t1.nii.gz", "{case}_flair.nii.gz"], say=said.append
    )
    assert scan.name == "a"
    assert said == [f"{tmp_path}: 1 file(s) match no pattern (b.nii.gz)"]


NAMES = (
    "case.01.v2", "with blank", "[b] x", "-dash", "ä ö", "a'b\"c", "p%20q", "x_0000_0000",
    "{case}", "nl\nx",
)  # fmt: skip


def test_odd_names_are_predicted_under_their_own(make_model, make_scan, tmp_path, capsys):
    """The names of the case `capital_suffixes`, and a link that leads into an annex beside them."""
    model = make_model()
    scan = make_scan("plain")
    for name in NAMES:
        (tmp_path / "named").mkdir(exist_ok=True)
        (tmp_path / "named" / f"{name}.nii.gz").write_bytes(scan.read_bytes())
    (tmp_path / "named" / "dead.nii.gz").symlink_to("../.git/annex/objects/d/dead.nii.gz")
    (tmp_path / "named" / "sub").mkdir()
    (tmp_path / "named" / "sub" / "deeper.nii.gz").write_bytes(scan.read_bytes())
    outcomes = predict([tmp_path / "named"], tmp_path / "out", model=model)
    states = {outcome.name: outcome.state for outcome in outcomes}
    # `x_0000_0000` is the one channel of x_0000.
    expected = {name.removesuffix("_0000") for name in NAMES}
    assert states == dict.fromkeys(expected, "done") | {"dead": "failed"}
    assert all((tmp_path / "out" / f"{name}.nii.gz").is_file() for name in expected)
    (dead,) = [outcome for outcome in outcomes if outcome.name == "dead"]
    assert "git annex get" in dead.reason
    assert "1 scan(s) lie in folders within and are not taken (sub/deeper.nii.gz)" in (
        " ".join(capsys.readouterr().err.split())
    )
