"""Cases by a table, and by patterns of file names."""

import pytest

from attnseg.datasets import find_dataset
from attnseg.datasets.listed import match, pattern_names
from attnseg.errors import ConfigError, DataError
from attnseg.inference.channels import scans_from_table

BRATS = ["{case}_t1.nii.gz", "{case}_flair.nii.gz"]
SEG = "{case}_seg.nii.gz"


@pytest.fixture
def brats(tmp_path, touch):
    """Two cases, a folder each."""
    for name in ("BraTS_001", "BraTS_002"):
        touch(tmp_path, *(f"{name}/{name}_{each}.nii.gz" for each in ("t1", "flair", "seg", "t2")))
    return tmp_path


def test_patterns_find_files_in_any_folder(brats):
    dataset = find_dataset(brats, images=BRATS, labels=SEG)
    assert dataset.layout == "pattern"
    assert dataset.channel_names == ("t1", "flair")
    assert [case.name for case in dataset.cases] == ["BraTS_001", "BraTS_002"]
    folder = brats / "BraTS_001"
    assert dataset.cases[0].images == (
        folder / "BraTS_001_t1.nii.gz",
        folder / "BraTS_001_flair.nii.gz",
    )
    assert dataset.cases[0].label == folder / "BraTS_001_seg.nii.gz"
    assert dataset.problems == ()
    lines = dataset.describe().splitlines()
    assert lines[-4].split() == ["case", "t1", "flair", "label"]
    assert lines[-3].split()[:2] == ["BraTS_001", "BraTS_001/BraTS_001_t1.nii.gz"]
    assert lines[-1] == (
        "not matched: 2 file(s) (BraTS_001/BraTS_001_t2.nii.gz, BraTS_002/BraTS_002_t2.nii.gz)"
    )


def test_dataset_json_names_channels_and_labels(brats, write_metadata):
    write_metadata(brats, channel_names={"0": "T1", "1": "FLAIR"}, labels={"core": 4})
    dataset = find_dataset(brats, images=BRATS, labels=SEG)
    assert (dataset.channel_names, dataset.label_names) == (("T1", "FLAIR"), {4: "core"})


def test_the_more_exact_pattern_takes_a_file(tmp_path, touch):
    touch(tmp_path, "a.nii.gz", "a_seg.nii.gz", "deep/b.nii.gz", "deep/b_seg.nii.gz")
    dataset = find_dataset(tmp_path, images=["{case}.nii.gz"], labels="{case}_seg.nii.gz")
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert dataset.channel_names == ("image",)
    assert dataset.unmatched == ()


def test_a_folder_may_name_the_case(tmp_path, touch):
    touch(tmp_path, "p1/scan_v2.mha", "p1/mask.mha", "x/p2/scan_v1.mha", "x/p2/mask.mha")
    dataset = find_dataset(tmp_path, images=["{case}/scan_*.mha"], labels="{case}/mask.mha")
    assert [(case.name, case.images[0].name) for case in dataset.cases] == [
        ("p1", "scan_v2.mha"),
        ("p2", "scan_v1.mha"),
    ]
    matched, others = match(tmp_path, ["{case}/{case}.mha"])
    assert (matched, len(others)) == ({}, 4)


def test_nothing_matched_names_the_nearest(brats):
    with pytest.raises(DataError, match=r"0 cases; no file matches {case}_T1.nii.gz") as caught:
        find_dataset(brats, images=["{case}_T1.nii.gz"], labels=SEG)
    assert "nearest: BraTS_001/BraTS_001_t1.nii.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_channel_names_the_nearest(brats):
    folder = brats / "BraTS_002"
    (folder / "BraTS_002_flair.nii.gz").rename(folder / "BraTS_002_flaire.nii.gz")
    (brats / "BraTS_001" / "BraTS_001_seg.nii.gz").unlink()
    dataset = find_dataset(brats, images=BRATS, labels=SEG)
    problems = [str(finding) for finding in dataset.problems]
    assert problems[0].startswith("BraTS_001: no file BraTS_001_seg.nii.gz (nearest: ")
    assert problems[1].startswith(
        "BraTS_002: no file BraTS_002_flair.nii.gz (nearest: BraTS_002_flaire.nii.gz"
    )
    assert [(case.name, case.label) for case in dataset.cases] == [("BraTS_001", None)]


def test_unusable_patterns_are_refused(brats, touch):
    for images, labels, message in (
        (["t1.nii.gz"], SEG, "has no {case}"),
        ([BRATS[0], BRATS[0]], SEG, "comes twice"),
        (BRATS, None, "patterns are needed for both"),
        ([], SEG, "patterns are needed for both"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_dataset(brats, images=images, labels=labels)
    touch(brats, "copy/BraTS_001_t1.nii.gz")
    with pytest.raises(DataError, match=r"case 'BraTS_001' has .* too for {case}_t1.nii.gz"):
        find_dataset(brats, images=BRATS, labels=SEG)
    with pytest.raises(ConfigError, match="names its channels itself"):
        find_dataset(brats, layout="paired", images=BRATS, labels=SEG)


def test_channels_are_named_after_their_patterns():
    patterns = [
        "{case}_t1.nii.gz",
        "CT-{case}.mha",
        "{case}/flair.nii",
        "{case}.nii.gz",
        "a/{case}",
    ]
    assert pattern_names(patterns) == ("t1", "CT", "flair", "3", "a")


def table(folder, *lines):
    path = folder / "cases.csv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def test_a_table_lists_cases(brats, write_metadata):
    write_metadata(brats, labels={"core": 1})
    where = brats / "BraTS_002" / "BraTS_002"
    path = table(
        brats,
        "case,patient,T1,FLAIR,label",
        "b,p,BraTS_001/BraTS_001_t1.nii.gz,BraTS_001/BraTS_001_flair.nii.gz,BraTS_001/"
        "BraTS_001_seg.nii.gz",
        f"a,p,{where}_t1.nii.gz,{where}_flair.nii.gz,{where}_seg.nii.gz",
        "",
    )
    dataset = find_dataset(path)
    assert dataset.layout == "table"
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert dataset.channel_names == ("T1", "FLAIR")
    assert dataset.label_names == {1: "core"}
    assert dataset.patients == {"a": "p", "b": "p"}
    assert dataset.problems == ()
    assert dataset.cases[1].images[0] == brats / "BraTS_001" / "BraTS_001_t1.nii.gz"
    assert dataset.describe().splitlines()[-1].split()[:2] == ["b", "BraTS_001/BraTS_001_t1.nii.gz"]
    chosen = find_dataset(path, images=["FLAIR"])
    assert chosen.channel_names == ("FLAIR",)
    assert chosen.cases[0].images[0].name == "BraTS_002_flair.nii.gz"
    with pytest.raises(ConfigError, match="has no column 'T2'; it has T1, FLAIR"):
        find_dataset(path, images=["T2"])


def test_tabs_and_semicolons(tmp_path, touch):
    touch(tmp_path, "a.nii", "a_seg.nii")
    (tmp_path / "x.tsv").write_text("case\tCT\tlabel\na\ta.nii\ta_seg.nii\n")
    (tmp_path / "y.csv").write_text("case;CT;label\r\na;a.nii;a_seg.nii\r\n")
    first, second = (find_dataset(tmp_path / name) for name in ("x.tsv", "y.csv"))
    assert first.cases == second.cases
    assert first.cases[0].images == (tmp_path / "a.nii",)


@pytest.mark.parametrize(
    "content",
    [
        b"case,CT,label,\r\n\xe4,a.nii,a_seg.nii,\r\nb,b.nii,b_seg.nii,\r\n",
        "sep=;\ncase;CT;label\nä;a.nii;a_seg.nii\nb;b.nii;b_seg.nii\n".encode("utf-16"),
        "case;CT;label;\nä;a.nii;a_seg.nii;;\n;;;\nb;b.nii;b_seg.nii\n".encode(),
        'CT (a, b);case;label\na.nii;ä;a_seg.nii\n"b.nii";b;b_seg.nii'.encode(),
        "# made by hand\n\ncase\tCT\tlabel\nä\ta.nii\ta_seg.nii\n#c\nb\tb.nii\tb_seg.nii".encode(),
        'case,CT,label\nä,"a.nii,a_seg.nii\nb,"b.nii,b_seg.nii'.encode(),
        'case,CT,label\nä,"a.nii,a_seg.nii\nb,b.nii",b_seg.nii'.encode(),
        ",case,CT,label\n0,ä,a.nii,a_seg.nii\n1,b,b.nii,b_seg.nii\n".encode(),
        "case,CT,label\rä,a.nii,a_seg.nii\r\r\rb,b.nii,b_seg.nii\r".encode("cp1252"),
    ],
    ids=[
        "trailing commas, Latin-1",
        "sep=;, UTF-16",
        "trailing semicolons",
        "commas in a name",
        "tabs, comments",
        "stray quotes",
        "stray quotes that pair",
        "the index of pandas",
        "carriage returns",
    ],
)
def test_tables_as_spreadsheets_save_them(tmp_path, touch, content):
    touch(tmp_path, "a.nii", "a_seg.nii", "b.nii", "b_seg.nii")
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    dataset = find_dataset(path)
    assert [(case.name, case.images[0].name, case.label.name) for case in dataset.cases] == [
        ("b", "b.nii", "b_seg.nii"),
        ("ä", "a.nii", "a_seg.nii"),
    ]
    assert dataset.problems == ()
    scans = scans_from_table(path, channel_names=dataset.channel_names)
    assert [scan.paths for scan in scans] == [case.images for case in dataset.cases]


def test_short_rows_lack_their_last_cells(tmp_path, touch):
    touch(tmp_path, "a.nii", "b.nii", "b_seg.nii")
    dataset = find_dataset(table(tmp_path, "case,CT,label", "a,a.nii", "b,b.nii,b_seg.nii", "c"))
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert [str(finding).split(";")[0] for finding in dataset.problems] == [
        "a: it has no label",
        "c: no file in column 'CT' of cases.csv, line 4",
        "c: it has no label",
    ]


def test_rows_without_their_files_are_findings(tmp_path, touch):
    touch(tmp_path, "a_t1.nii.gz", "b_t1.nii.gz", "b_seg.nii.gz")
    path = table(
        tmp_path,
        "case,T1,label",
        "a,a_t1.nii,b_seg.nii.gz",
        "b,b_t1.nii.gz,",
        "c,,b_seg.nii.gz",
    )
    dataset = find_dataset(path)
    assert [str(finding) for finding in dataset.problems] == [
        f"a: no such file: {tmp_path / 'a_t1.nii'} (T1) (nearest: a_t1.nii.gz, b_t1.nii.gz, "
        "b_seg.nii.gz); correct the path in cases.csv, line 2; paths are relative to it",
        "b: it has no label; name its mask in the column `label`, or remove the row",
        "c: no file in column 'T1' of cases.csv, line 4; name it there",
    ]
    assert [case.name for case in dataset.cases] == ["b"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "the table is empty"),
        (["name,T1", "a,b"], r"no column 'case' \(columns: name, T1\)"),
        (["case,T1,T1", "a,b,c"], "column 'T1' comes twice"),
        (["case,,T1", "a,b,c"], "a column without a name"),
        (["case,T1", "a"], "no mask is named"),
        (["case,T1,label", "", "a,b,c,d"], r"line 3 \(a\) has 4 cells .* 3, the last of them 'd'"),
        (["case,T1"], "0 cases; below the column names"),
        (["case,label", "a,b"], "no column of images"),
        (["case,T1", "a,b"], "no mask is named"),
        (["case,T1,label", "a,b,c", "a,b,c"], "case 'a' comes twice"),
        (["case,T1,label", ",b,c"], "case '' is no name"),
        (["case,T1,label", "../a,b,c"], "case '../a' is no name"),
        (["case,T1,label", 'a,"b,c,d'], r"line 2 \(a\) has 4 cells"),
        (["case,T1,label", "a,b,c", "", "# x", "a,d,e"], r"line 5: case 'a' comes twice"),
        (["case,T1,label", "a,b\0,c"], "not readable as a table .it holds NUL characters"),
    ],
)
def test_broken_tables_are_refused_in_one_line(tmp_path, lines, message):
    path = table(tmp_path, *lines)
    with pytest.raises(DataError, match=message) as caught:
        find_dataset(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00case")
    with pytest.raises(DataError, match="not readable as a table"):
        find_dataset(tmp_path / "x.csv")
    (tmp_path / "x.txt").write_text("case")
    with pytest.raises(DataError, match=r"this is a file; .* or a \.csv or \.tsv file"):
        find_dataset(tmp_path / "x.txt")
    (tmp_path / "y.csv").write_text("case,T1,label\na,b,c\n")
    with pytest.raises(ConfigError, match="layout 'bids' needs a folder"):
        find_dataset(tmp_path / "y.csv", layout="bids")
    with pytest.raises(ConfigError, match=r"layout 'table' needs a \.csv or \.tsv file"):
        find_dataset(tmp_path, layout="table")
