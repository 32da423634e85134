"""BIDS: subjects and sessions as cases, masks of derivatives, names of dseg.tsv."""

from pathlib import Path

import pytest

from attnseg.datasets import find_dataset, make_splits
from attnseg.datasets.bids_names import (
    kind_of_channel,
    label_table,
    mask_path,
    name_of_case,
    parse_name,
    unknown_suffixes,
)
from attnseg.errors import ConfigError, DataError

TABLE = "index\tname\n0\tbackground\n2\tedema\n1\tcore\n"


@pytest.fixture
def bids(tmp_path, touch) -> Path:
    """Two subjects, one of two sessions; T1w and FLAIR; masks of one derivative."""
    for subject, sessions in (("01", ("1", "2")), ("02", ("1",))):
        for session in sessions:
            stem = f"sub-{subject}_ses-{session}"
            folder = f"sub-{subject}/ses-{session}/anat"
            touch(tmp_path, f"{folder}/{stem}_T1w.nii.gz", f"{folder}/{stem}_FLAIR.nii.gz")
            touch(tmp_path, f"{folder}/{stem}_T1w.json", f"{folder}/.{stem}_T1w.nii.gz")
            touch(tmp_path, f"derivatives/manual/{folder}/{stem}_dseg.nii.gz")
    (tmp_path / "derivatives" / "manual" / "dseg.tsv").write_text(TABLE)
    return tmp_path


def test_sessions_are_cases_of_one_patient(bids):
    dataset = find_dataset(bids, images=["T1w", "FLAIR"])
    assert dataset.layout == "bids"
    assert [case.name for case in dataset.cases] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]
    assert dataset.channel_names == ("T1w", "FLAIR")
    assert dataset.label_names == {1: "core", 2: "edema"}
    assert dataset.problems == ()
    first = dataset.cases[0]
    assert [path.name for path in first.images] == [
        "sub-01_ses-1_T1w.nii.gz",
        "sub-01_ses-1_FLAIR.nii.gz",
    ]
    assert first.label == bids.joinpath(
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz"
    )
    assert dataset.patients == dict(
        zip([case.name for case in dataset.cases], ["sub-01", "sub-01", "sub-02"], strict=True)
    )
    names = [case.name for case in dataset.cases]
    splits = make_splits(names, num_folds=2, patients=dataset.patients)
    assert sorted(splits) == [["sub-01_ses-1", "sub-01_ses-2"], ["sub-02_ses-1"]]


def test_what_was_matched_is_a_table(bids):
    lines = find_dataset(bids, images=["T1w", "FLAIR"]).describe().splitlines()
    assert lines[:2] == [f"{bids}: BIDS layout", "cases: 3"]
    assert "patients: 2, each in one fold" in lines
    table = [line.split() for line in lines if "  " in line]
    assert table[0] == ["case", "T1w", "FLAIR", "label"]
    assert table[1] == [
        "sub-01_ses-1",
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz",
    ]
    assert len(table) == 4


def test_the_choice_is_asked_for_where_it_is_open(bids, touch):
    with pytest.raises(ConfigError, match=r"2 kinds of files, FLAIR \(3\), T1w \(3\); choose by"):
        find_dataset(bids)
    with pytest.raises(ConfigError, match=r"nothing in .* is 'T1' \(nearest: T1w\); there are"):
        find_dataset(bids, images=["T1"])
    touch(bids, "derivatives/auto/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz")
    with pytest.raises(ConfigError, match=r"auto/dseg \(1\), manual/dseg \(3\); choose by data.l"):
        find_dataset(bids, images=["T1w"])
    dataset = find_dataset(bids, images=["T1w"], labels="manual")
    assert dataset.problems == ()
    assert dataset.unmatched == (
        "not used: FLAIR (3) (see data.images)",
        "not used: auto/dseg (1) (see data.labels)",
    )


def test_the_only_suffix_is_chosen_by_itself(tmp_path, touch):
    touch(tmp_path, "sub-a/anat/sub-a_acq-fast_T2w.nii.gz")
    touch(tmp_path, "derivatives/x/sub-a/anat/sub-a_acq-fast_dseg.nii.gz")
    dataset = find_dataset(tmp_path)
    assert dataset.channel_names == ("acq-fast_T2w",)
    assert [case.name for case in dataset.cases] == ["sub-a"]
    assert dataset.label_names == {}
    assert find_dataset(tmp_path, images=["*_T2w"]).channel_names == ("T2w",)


def test_masks_of_one_label_are_taken_when_asked_for(bids, touch):
    touch(bids, "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz")
    assert find_dataset(bids, images=["T1w"]).problems == ()
    dataset = find_dataset(bids, images=["T1w"], labels="manual/desc-brain_mask")
    assert dataset.cases[0].label == bids.joinpath(
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz"
    )
    assert [finding.case for finding in dataset.problems] == ["sub-01_ses-2", "sub-02_ses-1"]


def test_what_lacks_a_file_is_a_finding(bids):
    (bids / "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz").unlink()
    (bids / "derivatives/manual/sub-01/ses-2/anat/sub-01_ses-2_dseg.nii.gz").unlink()
    dataset = find_dataset(bids, images=["T1w", "FLAIR"])
    assert [str(finding) for finding in dataset.problems] == [
        "sub-01_ses-2: no mask manual/dseg; add it, choose others by data.labels, or move the scan "
        "out",
        "sub-02_ses-1: no FLAIR image; add it, choose others by data.images, or move the rest out",
    ]
    assert [case.name for case in dataset.cases] == ["sub-01_ses-1", "sub-01_ses-2"]


def test_two_files_for_one_channel_are_refused(bids, touch):
    touch(bids, "sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii.gz")
    with pytest.raises(ConfigError, match=r"sub-01_ses-1.*: T1w, run-1_T1w are all '\*T1w'"):
        find_dataset(bids, images=["*T1w"])
    touch(bids, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii")
    with pytest.raises(DataError, match=r"T1w\.nii is there too and has the same name"):
        find_dataset(bids, images=["T1w"])


def test_the_nearest_table_of_labels_holds(bids):
    """Beside the mask, above it, or at the derivative's root, as the inheritance principle says."""
    names = find_dataset(bids, images=["T1w"]).label_names
    folder = bids / "derivatives/manual/sub-01"
    (folder / "sub-01_dseg.tsv").write_text("index\tname\n1\tcore\n7\tcyst\n")
    assert find_dataset(bids, images=["T1w"]).label_names == {**names, 7: "cyst"}
    (folder / "ses-1/anat/sub-01_ses-1_dseg.tsv").write_text("index\tname\n9\tignore\n1\tcore\n")
    dataset = find_dataset(bids, images=["T1w"])
    assert (dataset.label_names, dataset.ignore_label) == ({**names, 7: "cyst"}, 9)
    (folder / "desc-other_dseg.tsv").write_text("index\tname\n1\tother\n")
    assert find_dataset(bids, images=["T1w"]).label_names == dataset.label_names
    (folder / "sub-01_dseg.tsv").write_text("index\tname\n1\trim\n")
    with pytest.raises(DataError, match=r"label 1 is '(core|rim)', in another table"):
        find_dataset(bids, images=["T1w"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("index\tlabel\n1\tx\n", r"no column 'name' \(columns: index, label\)"),
        (
            "index  name\n1  x\n",
            r"no column 'index' .columns: index  name.; .* a tab between names",
        ),
        ("index\tname\none\tx\n", r"label 'one' \('x'\); each line needs an integer"),
        ("index\tname\n1\tx\n1\ty\n", r"label '1' \('y'\)"),
        ("index\tname\n\n1\n", r"line 3: label '1' \(''\); each line needs"),
        ("index\tname\n1\tleft\tkidney\n", r"line 2 \(1\) has 3 cells .* of them 'kidney'"),
        ("index\tname\n1.5\tx\n", r"line 2: label '1.5' \('x'\)"),
        ("index\tname\tindex\n1\tx\t2\n", "column 'index' comes twice"),
        ("index\tname\n1\tx\0y\n", "not readable as a table .*holds NUL characters"),
    ],
)
def test_broken_tables_are_named_in_one_line(bids, text, message):
    (bids / "derivatives/manual/dseg.tsv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        find_dataset(bids, images=["T1w"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfindex\tname\r\n1\tH\xc3\xb6hle\r\n2\tedema\r\n",
        "index\tname\n1\tHöhle\n2\tedema\n".encode("cp1252"),
        "index\tname\n1\tHöhle\n2\tedema\n".encode("utf-16"),
        "index\tname\n1\tHöhle\n2\tedema\n".encode("utf-16-le"),
        "index\tname\n1\tHöhle\n2\tedema\n".encode("utf-32-be"),
        "index\tname\r1\tHöhle\r2\tedema\r".encode(),
        "index\tname\t\t\n1\tHöhle\t\n2\tedema\t\t\n\t\n".encode(),
        '# by hand\n"index"\t"name"\n1\t"Höhle"\n\n2\tedema\n'.encode(),
        'index\tname\n1\t"Höhle\n2\tedema"\n'.encode(),
        "name,index,colour\nHöhle,1,#ff0000\nedema,2\n".encode(),
        "index\tname\tnote\tnote\n1.0\tHöhle\ta\tb\n1\tHöhle\n2\tedema\n".encode(),
    ],
    ids=[
        "UTF-8 mark",
        "Windows-1252",
        "UTF-16",
        "UTF-16 without mark",
        "UTF-32 without mark",
        "carriage returns",
        "trailing tabs",
        "comments and quotes",
        "stray quotes",
        "commas",
        "other columns",
    ],
)
def test_names_of_labels_are_read_as_programs_save_them(bids, content):
    (bids / "derivatives/manual/dseg.tsv").write_bytes(content)
    dataset = find_dataset(bids, images=["T1w"])
    assert dataset.label_names == {1: "Höhle", 2: "edema"}
    assert dataset.unmatched == ("not used: FLAIR (3) (see data.images)",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"participant_id\tsex\t\r\nsub-01\t1\t\r\nsub-02\t1\t\r\n", ""),
        ("participant_id\tsite\nsub-01\tMünchen\nsub-02\tKöln\n".encode("latin-1"), ""),
        ("participant_id\tsite\nsub-01\tMünchen\n".encode("utf-16"), ""),
        (b'participant_id\tsite\nsub-01\t"open\nsub-02\n', ""),
        (b"participant_id\tage\tage\nsub-01\t1\t2\n", ""),
        (b"participant_id\nsub-01\tx\n", "line 2 (sub-01) has 2 cells"),
        (b"", "the table is empty"),
        (b"participant_id\0\n", "not readable as a table"),
        (b"id\nsub-01\n", "no column 'participant_id'"),
    ],
)
def test_participants_are_never_in_the_way(bids, content, told):
    """Case participants_tsv: nothing in it is needed unless `attnseg convert` wrote it."""
    usual = find_dataset(bids, images=["T1w"])
    (bids / "participants.tsv").write_bytes(content)
    dataset = find_dataset(bids, images=["T1w"])
    assert dataset.cases == usual.cases
    assert dataset.problems == ()
    new = dataset.unmatched[len(usual.unmatched) :]
    assert len(new) == bool(told)
    if told:
        assert new[0].startswith(f"not used: {bids / 'participants.tsv'}: {told}")


def test_what_attnseg_wrote_is_read_from_participants_of_other_programs(bids):
    """Excel saves it as UTF-16, with its own line ends."""
    text = "participant_id\tattnseg_case\r\nsub-01_ses-1\tone\r\nsub-02_ses-1\t\r\n"
    (bids / "participants.tsv").write_bytes(text.encode("utf-16"))
    names = [case.name for case in find_dataset(bids, images=["T1w"]).cases]
    assert names == ["one", "sub-01_ses-2", "sub-02_ses-1"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'{"Name": "x",}'])
def test_json_of_bids_that_nobody_needs_is_not_in_the_way(bids, content):
    usual = find_dataset(bids, images=["T1w"])
    for name in ("dataset_description.json", "dataset.json", "participants.json", "T1w.json"):
        (bids / name).write_bytes(content)
    (bids / "sub-01/ses-1/anat/sub-01_ses-1_T1w.json").write_bytes(content)
    assert find_dataset(bids, images=["T1w"]) == usual


def test_names_are_taken_apart_and_made():
    name = parse_name("sub-01_ses-2_acq-a_run-1_T1w.nii.gz")
    assert name is not None
    assert (name.case, name.kind, name.folder) == (
        "sub-01_ses-2",
        "acq-a_run-1_T1w",
        Path("sub-01/ses-2"),
    )
    assert parse_name("scan_01.nii.gz") is parse_name("sub-0_1_.nii") is None
    assert name_of_case("sub-01_ses-2").case == "sub-01_ses-2"
    assert name_of_case("hippocampus_001").case == "sub-hippocampus001"
    with pytest.raises(DataError, match="no letter or digit"):
        name_of_case("__")
    assert [kind_of_channel(name) for name in ("T1", "t1ce", "FLAIR", "CT", "DWI 2", "x_y")] == [
        "T1w", "ce-gadolinium_T1w", "FLAIR", "ct", "DWI2", "xy",
    ]  # fmt: skip
    assert unknown_suffixes(["T1w", "ce-gadolinium_T1w", "MRI", "ct"]) == ["MRI", "ct"]


def test_the_place_of_a_prediction():
    path = mask_path(Path("/data/sub-01/anat/sub-01_acq-a_FLAIR.nii"))
    assert path == Path("sub-01/anat/sub-01_acq-a_dseg.nii.gz")
    assert mask_path(Path("scan.nii.gz")) is None
    assert label_table({2: "edema\tof 1", 1: "core"}, ignore=255) == (
        "index\tname\n0\tbackground\n1\tcore\n2\tedema of 1\n255\tignore\n"
    )
