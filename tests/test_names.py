"""How names are compared, and which of them Windows cannot hold."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets import find_dataset, find_problems, inspect_dataset, load_splits
from attnseg.datasets.arrange import arrange
from attnseg.datasets.convert import convert_scans
from attnseg.errors import DataError, UsageError
from attnseg.evaluation import match_files
from attnseg.evaluation.calibration import probability_path
from attnseg.evaluation.matching import match_reference
from attnseg.images import Geometry, Image, Series, write_image
from attnseg.inference import find_scans
from attnseg.inference.channels import scans_by_pattern
from attnseg.inference.manifest import Manifest, Outcome, names_in_manifest
from attnseg.names import (
    alike,
    composed,
    how_they_differ,
    on_disk,
    readable,
    told_apart_by_case,
    windows_note,
    windows_refuses,
)

NFC = "Müller_é"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def two_forms(tmp_path) -> None:
    """Skips where the file system takes both forms for one, as macOS does."""
    for name in (NFC, NFD):
        (tmp_path / f"forms-{name}").touch()
    count = len(list(tmp_path.glob("forms-*")))
    for path in list(tmp_path.glob("forms-*")):
        path.unlink()
    if count == 1:
        pytest.skip("this file system has one form of names")


def save(path: Path, *, labels: bool = False) -> Path:
    rng = np.random.default_rng(len(str(path)))
    array = rng.normal(100, 20, (1, 8, 7, 6)).astype(np.float32)
    if labels:
        array = (array > 110).astype(np.uint8)
    write_image(path, Image(array, Geometry((8, 7, 6), np.eye(4))))
    return path


def make_set(root: Path, images: str, labels: str, *, image: str = NFD, label: str = NFC) -> None:
    for name, other in (("a", "a"), ("b", "b"), (image, label)):
        save(root / images.format(name))
        save(root / labels.format(other), labels=True)


def test_names_in_two_forms_are_one():
    assert NFC != NFD
    assert composed(NFC) == composed(NFD) == NFC
    assert composed("plain") == "plain"
    assert alike("STRASSE_É") == alike("straße_é")
    assert how_they_differ(NFC, "other") == how_they_differ(NFC, NFC) == ""
    assert "'M\\xfcller_\\xe9' and 'Mu\\u0308ller_e\\u0301'" in how_they_differ(NFC, NFD)
    assert readable("a\udcfcé") == "a\\udcfcé"


@pytest.mark.usefixtures("two_forms")
def test_a_path_is_found_in_the_other_form(tmp_path):
    there = save(tmp_path / NFD / f"{NFC}.nii.gz")
    for asked in (tmp_path / NFC / f"{NFD}.nii.gz", tmp_path / NFD / f"{NFD}.nii.gz", there):
        assert on_disk(asked) == there
    missing = tmp_path / NFC / "none.nii.gz"
    assert on_disk(missing) == missing
    later = save(tmp_path / NFD / f"later{NFD}.nii.gz")
    assert on_disk(tmp_path / NFC / f"later{NFC}.nii.gz") == later, "no memory of former content"


@pytest.mark.usefixtures("two_forms")
@pytest.mark.parametrize("layout", ["paired", "nnunet", "msd", "table", "pattern"])
def test_images_and_labels_pair_in_every_layout(tmp_path, layout):
    """The case of shared/cases for folders; for lists and tables the text is in the third form."""
    root, options = tmp_path, {}
    if layout in ("nnunet", "msd"):
        channel = "_0000" if layout == "nnunet" else ""
        make_set(root, f"imagesTr/{{}}{channel}.nii.gz", "labelsTr/{}.nii.gz")
        content = {"labels": {"background": 0, NFD: 1}, "labels_present": {NFD: [NFC]}}
        if layout == "msd":
            content["training"] = [
                {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
                for name in ("a", "b", NFC)
            ]
        (root / "dataset.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    elif layout == "table":
        make_set(root, f"{NFD}/{{}}.nii.gz", "labels/{}.nii.gz")
        rows = [f"{n},{NFC}/{n}.nii.gz,labels/{n}.nii.gz,p{n}" for n in ("a", "b", NFC)]
        (root / "t.csv").write_text("\n".join(["case,CT,label,patient", *rows]), "utf-8")
        root = root / "t.csv"
    elif layout == "pattern":
        make_set(root, "{}_ü.nii.gz", f"{{}}_{NFD}.nii.gz")
        options = {
            "images": [unicodedata.normalize("NFD", "{case}_ü.nii.gz")],
            "labels": f"{{case}}_{NFC}.nii.gz",
        }
    else:
        make_set(root, "images/{}.nii.gz", "labels/{}.nii.gz")
    dataset = find_dataset(root, layout=layout, **options)
    assert [case.name for case in dataset.cases] == [NFC, "a", "b"]
    assert dataset.problems == ()
    facts = inspect_dataset(dataset)
    assert all(each.usable for each in facts), [each.findings for each in facts]
    if layout in ("nnunet", "msd"):
        assert dataset.cases[0].labels_present == (1,)
        assert dataset.label_names == {1: NFC}


@pytest.mark.usefixtures("two_forms")
def test_two_files_of_one_name_in_a_folder_are_refused(tmp_path):
    make_set(tmp_path, "images/{}.nii.gz", "labels/{}.nii.gz")
    save(tmp_path / "images" / f"{NFC}.nii.gz")
    with pytest.raises(DataError, match="one name in two forms of Unicode"):
        find_dataset(tmp_path)
    with pytest.raises(UsageError, match=r"come twice.*one name in two forms of Unicode"):
        find_scans([tmp_path / "images"], num_channels=1)
    with pytest.raises(DataError, match="one name in two forms of Unicode"):
        match_files(tmp_path / "images", tmp_path / "labels")
    for name in (NFC, NFD):
        for channel in range(2):
            save(tmp_path / "channels" / f"{name}_000{channel}.nii.gz")
    with pytest.raises(UsageError, match="same channel of the same case"):
        find_scans([tmp_path / "channels"], num_channels=2)


@pytest.mark.usefixtures("two_forms")
def test_predictions_and_references_pair(tmp_path):
    for folder, name in (("masks", NFD), ("references", NFC)):
        save(tmp_path / folder / f"{name}.nii.gz", labels=True)
    masks, references = tmp_path / "masks", tmp_path / "references"
    assert [name for name, *_ in match_files(masks, references)] == [NFC]
    assert match_reference(NFD, references) == references / f"{NFC}.nii.gz"
    kept = save(masks / f"{NFC}_probabilities.nii.gz")
    assert probability_path(masks / f"{NFD}.nii.gz") == kept


@pytest.mark.usefixtures("two_forms")
def test_scans_manifests_and_splits(tmp_path):
    for channel, name in enumerate((NFC, NFD)):
        save(tmp_path / "scans" / f"{name}_000{channel}.nii.gz")
    (scan,) = find_scans([tmp_path / "scans"], num_channels=2)
    assert (scan.name, len(scan.paths)) == (NFC, 2)
    (scan,) = scans_by_pattern(tmp_path / "scans", ["{case}_0000.nii.gz", "{case}_0001.nii.gz"])
    assert scan.name == NFC
    assert Series(tmp_path / f"{NFD}.zip", "", ()).name == NFC

    manifest = Manifest(tmp_path / "out")
    manifest.add(Outcome(NFD, "done", mask=f"{NFD}.nii.gz", model="m", labels={1: "x"}))
    assert {name: line["state"] for name, line in manifest.last_lines().items()} == {NFC: "done"}
    assert names_in_manifest(save(tmp_path / "out" / f"{NFC}.nii.gz")) == {1: "x"}

    content = {"version": 1, "folds": [{"validation": [NFD]}, {"validation": ["a"]}]}
    (tmp_path / "splits.json").write_text(json.dumps(content))
    assert load_splits(tmp_path / "splits.json") == [[NFC], ["a"]]


@pytest.mark.usefixtures("two_forms")
def test_nothing_is_written_beside_its_other_form(tmp_path):
    source = save(tmp_path / f"{NFD}.nii.gz")
    with pytest.raises(UsageError, match="over its own source"):
        convert_scans({tmp_path / f"{NFC}.nii.gz": (source,)}, overwrite=True)
    save(tmp_path / "out" / f"{NFD}.nii.gz")
    with pytest.raises(UsageError, match="is there already"):
        convert_scans({tmp_path / "out" / f"{NFC}.nii.gz": (source,)})


def test_scans_that_differ_in_capitals_alone_are_refused(tmp_path):
    for folder, name in (("x", "Liver"), ("y", "liver"), ("y", "other")):
        save(tmp_path / folder / f"{name}.nii.gz")
    assert told_apart_by_case(["Liver", "liver", "other", "Liver"]) == [("Liver", "liver")]
    with pytest.raises(UsageError, match="scans named Liver, liver come twice") as caught:
        find_scans([tmp_path / "x", tmp_path / "y"], num_channels=1)
    assert str(tmp_path / "x" / "Liver.nii.gz") in str(caught.value)


def test_cases_that_differ_in_capitals_alone_are_warned_of_and_not_converted(tmp_path):
    rows = []
    for number, name in enumerate(("Liver", "liver", "aux", "a:b", "c")):
        save(tmp_path / "images" / f"{number}.nii.gz")
        save(tmp_path / "labels" / f"{number}.nii.gz", labels=True)
        rows.append(f"{name},images/{number}.nii.gz,labels/{number}.nii.gz")
    (tmp_path / "t.csv").write_text("\n".join(["case,CT,label", *rows]))
    dataset = find_dataset(tmp_path / "t.csv")
    found = [
        (each.case, each.severity, each.problem)
        for each in find_problems(dataset, inspect_dataset(dataset))
        if "capitals" in each.problem or "Windows" in each.problem
    ]
    assert found == [
        ("Liver", "warning", "Liver, liver differ in capitals alone"),
        (
            "dataset",
            "harmless",
            "2 file name(s) that Windows cannot hold (a:b.nii.gz: ':' in a name; aux.nii.gz: "
            "aux is reserved)",
        ),
    ]
    with pytest.raises(DataError, match="'Liver' and 'liver' would both be written"):
        arrange(dataset, layout="paired", suffix=".nii.gz")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CON.nii.gz", "CON is reserved"),
        ("nul", "nul is reserved"),
        ("Com1.nii", "Com1 is reserved"),
        ("lpt¹.nii", "lpt¹ is reserved"),
        ("aux .nii.gz", "aux is reserved"),
        ("a:b.nii.gz", "':' in a name"),
        ('a"b.nii.gz', "'\"' in a name"),
        ("a\\b.nii.gz", r"'\\' in a name"),
        ("a\nb.nii.gz", r"'\n' in a name"),
        ("why?.nii.gz", "'?' in a name"),
        ("scan.", "a name ends in '.'"),
        ("scan /x.nii.gz", "a name ends in ' '"),
        ("console.nii.gz", ""),
        ("com10.nii.gz", ""),
        ("a.con.nii.gz", ""),
        ("scan .nii.gz", ""),
        ("sub-01/anat/sub-01_dseg.nii.gz", ""),
        (f"{NFC}.nii.gz", ""),
    ],
)
def test_names_that_windows_cannot_hold(name, reason):
    assert windows_refuses(name) == reason


def test_one_note_on_all_names_that_windows_cannot_hold():
    assert windows_note(["a.nii.gz", "b.nii.gz"]) == ""
    note = windows_note([f"{hour}:00.nii.gz" for hour in range(24)])
    assert note.startswith("24 file name(s) that Windows cannot hold (0:00.nii.gz: ':' in a name; ")
    assert len(note) < 200


def test_a_conversion_tells_names_that_windows_cannot_hold(tmp_path):
    source = save(tmp_path / "x.nii.gz")
    report = convert_scans({tmp_path / "out" / "10:30.nii.gz": (source,)})
    assert report.done == ["10:30.nii.gz"]
    assert "10:30.nii.gz: ':' in a name" in report.notes[0]
