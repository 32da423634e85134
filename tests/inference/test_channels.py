"""Channels of scans to predict, by a table and by patterns."""

import pytest

from attnseg.errors import ConfigError, DataError, UsageError
from attnseg.inference import Scan, find_scans, predict
from attnseg.inference.channels import channel_table, scans_by_pattern, scans_from_table


@pytest.fixture
def folder(tmp_path):
    for name in ("p1", "p2"):
        for channel in ("t1", "flair"):
            path = tmp_path / name / f"{name}_{channel}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    return tmp_path


def scan(folder, name):
    return Scan(name, (folder / name / f"{name}_t1.nii.gz", folder / name / f"{name}_flair.nii.gz"))


def write(folder, text):
    path = folder / "cohort.csv"
    path.write_text(text)
    return path


def test_a_pattern_for_each_channel(folder):
    patterns = ["{case}_t1.nii.gz", "{case}_flair.nii.gz"]
    assert scans_by_pattern(folder, patterns) == [scan(folder, "p1"), scan(folder, "p2")]
    with pytest.raises(ConfigError, match=r"has no \{case\}"):
        scans_by_pattern(folder, ["t1.nii.gz"])
    with pytest.raises(DataError, match=r"0 cases; no file matches .* \(nearest: p./p._t1\.nii\.g"):
        scans_by_pattern(folder, ["{case}-T1.nii.gz"])
    (folder / "p2" / "p2_flair.nii.gz").rename(folder / "p2" / "p2_flair2.nii.gz")
    with pytest.raises(DataError, match=r"case 'p2' has no p2_flair\.nii\.gz \(nearest: p2_flair2"):
        scans_by_pattern(folder, patterns)
    with pytest.raises(DataError, match="no such folder"):
        scans_by_pattern(folder / "missing", patterns)


def test_a_table_in_the_order_of_the_model(folder):
    path = write(
        folder,
        "case,FLAIR,age,T1\n"
        "p2,p2/p2_flair.nii.gz,70,p2/p2_t1.nii.gz\np1,p1/p1_flair.nii.gz,71,p1/p1_t1.nii.gz\n",
    )
    expected = [scan(folder, "p1"), scan(folder, "p2")]
    assert scans_from_table(path, channel_names=["T1", "FLAIR"]) == expected
    path.write_text("case,first,second,label\np1,p1/p1_t1.nii.gz,p1/p1_flair.nii.gz,\n")
    assert scans_from_table(path, channel_names=["T1", "FLAIR"]) == expected[:1]
    assert scans_from_table(path) == expected[:1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,T2,T1\np1,p1/p1_t1.nii.gz,p1/p1_flair.nii.gz\n", "no column 'FLAIR'; the model's"),
        (
            "case,T1w\np1,p1/p1_t1.nii.gz\n",
            r"no column 'T1' \(nearest: T1w\); the model's channels",
        ),
        ("case,T1,FLAIR\np1,p1/p1_t1.nii.gz,\n", "case 'p1' has no file in column 'FLAIR'"),
        (
            "case,T1,FLAIR\np1,p1/p1_t1.nii,p1/p1_flair.nii.gz\n",
            r"no such file: .*p1_t1\.nii \(nearest: p1_t1\.nii\.gz",
        ),
        ("T1,FLAIR\na,b\n", "no column 'case'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, text, message):
    with pytest.raises(DataError, match=message) as caught:
        scans_from_table(write(folder, text), channel_names=["T1", "FLAIR"])
    assert "\n" not in str(caught.value)


def test_tables_are_found_among_scans(folder):
    path = write(folder, "case,T1,FLAIR\np1,p1/p1_t1.nii.gz,p1/p1_flair.nii.gz\n")
    assert find_scans([path], num_channels=2) == [scan(folder, "p1")]
    turned = find_scans([path], num_channels=2, channel_names=["FLAIR", "T1"])
    assert turned == [Scan("p1", scan(folder, "p1").paths[::-1])]
    with pytest.raises(DataError, match="2 files a case where the model needs 1 channel"):
        find_scans([path], num_channels=1)


def test_what_was_matched_is_told():
    scans = [Scan(f"c{number}", (f"{number}_t1", f"{number}_t2")) for number in range(5)]
    assert channel_table(scans, ["T1", "T2"], rows=2).splitlines() == [
        "case  T1    T2",
        "c0    0_t1  0_t2",
        "c1    1_t1  1_t2",
        "and 3 more case(s)",
    ]


def test_patterns_on_the_way_of_a_prediction(make_model, make_scan, tmp_path, capsys):
    model = make_model(channels=2)
    for case in ("p1", "p2"):
        for channel in ("t1", "flair"):
            make_scan(f"{case}_{channel}", folder=f"cohort/{case}")
    folder, patterns = tmp_path / "cohort", ["{case}_t1.nii.gz", "{case}_flair.nii.gz"]
    outcomes = predict([folder], tmp_path / "out", model=model, channels=patterns)
    assert [(each.name, each.state) for each in outcomes] == [("p1", "done"), ("p2", "done")]
    said = capsys.readouterr()
    assert "p1_flair.nii.gz" in "".join((said.out + said.err).split())
    with pytest.raises(UsageError, match=r"1 pattern\(s\) of --channels where the model has 2"):
        predict([folder], tmp_path / "out", model=model, channels=patterns[:1])
