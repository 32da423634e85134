"""What one command writes every other reads, or says what to do: masks with a file for each label
give exactly the figures of the label map."""

import json
import re

import numpy as np
import pytest
from predicted import IMAGE, NAMES, predicted

from attnseg.images import read_labels, write_image
from attnseg.inference import MaskFormat

APART = MaskFormat(per_label=True)
CASES = ("a", "b.v2", "Müller 3")


@pytest.fixture
def doors(attnseg, tmp_path):
    """Scans, two methods' masks (`flat` and `apart` the same ones, `other`), and references."""
    draws = np.random.default_rng(0)
    for case in CASES:
        write_image(tmp_path / f"scans/{case}.nii.gz", IMAGE)
        labels = draws.choice([0, 1, 2, 5], IMAGE.geometry.shape).astype(np.uint8)
        predicted(tmp_path / "flat", case, labels=labels)
        predicted(tmp_path / "apart", case, labels=labels, masks=APART)
        for folder in ("other", "truth"):
            changed = np.where(draws.random(labels.shape) < 0.2, 1, labels)
            predicted(tmp_path / folder, case, labels=changed)
    (tmp_path / "truth/manifest.jsonl").unlink()
    return attnseg


def figures(path):
    """All numbers of a JSON file: the names of folders and files are left out."""
    text = json.loads(path.read_text())
    for case in text["cases"]:
        case.pop("prediction"), case.pop("reference")
    return text


def ok(result):
    assert result.code == 0, (result.out, result.err)
    return result


def test_evaluate_gives_the_figures_of_the_label_map(doors, tmp_path):
    for folder in ("flat", "apart"):
        ok(doors("evaluate", folder, "truth", "--json", f"{folder}.json", "--csv", f"{folder}.csv"))
    found = figures(tmp_path / "apart.json")
    assert found == figures(tmp_path / "flat.json")
    assert (tmp_path / "apart.csv").read_text() == (tmp_path / "flat.csv").read_text()
    assert {label["value"]: label["name"] for label in found["labels"]} == NAMES
    # The other way round, without a manifest, and one mask alone.
    ok(doors("evaluate", "truth", "flat", "--json", "ab.json"))
    ok(doors("evaluate", "truth", "apart", "--json", "ba.json"))
    assert figures(tmp_path / "ab.json") == figures(tmp_path / "ba.json")
    (tmp_path / "apart/manifest.jsonl").rename(tmp_path / "kept")
    ok(doors("evaluate", "apart", "truth", "--json", "moved.json"))
    assert figures(tmp_path / "moved.json")["cases"] == found["cases"]
    one = ok(doors("evaluate", "apart/a", "truth/a.nii.gz")).out
    (tmp_path / "kept").rename(tmp_path / "apart/manifest.jsonl")
    assert "0.8" in one
    refused = doors("evaluate", "apart/a", "truth/b.v2.nii.gz")
    assert refused.code == 0  # its manifest says that it is one mask
    refused = doors("evaluate", "apart/a", "truth")
    assert refused.code == 1
    assert "one is a file and the other a folder; give two files or two folders" in refused.err


def test_compare_finds_no_difference_between_the_two_ways_of_writing(doors, tmp_path):
    ok(doors("compare", "flat", "apart", "--ref", "truth", "--json", "same.json"))
    found = json.loads((tmp_path / "same.json").read_text())["cases"]
    assert sorted(found) == sorted(CASES)
    assert all(each["difference"] == 0 for case in found.values() for each in case.values())
    for a in ("flat", "apart"):
        written = ("--csv", f"{a}.csv", "--html", f"{a}.html")
        ok(doors("compare", a, "other", "--ref", "truth", *written))
    assert (tmp_path / "flat.csv").read_text() == (tmp_path / "apart.csv").read_text()


def test_report_and_view_show_the_same_pictures(doors, tmp_path):
    pictures = []
    for folder in ("flat", "apart"):
        ok(doors("report", folder, "--ref", "truth", "--images", "scans", "-o", f"{folder}.html"))
        page = (tmp_path / f"{folder}.html").read_text()
        pictures.append(re.findall(r"data:image/png;base64,[\w+/=]+", page))
    assert pictures[0] == pictures[1]
    assert pictures[0]
    pages = []
    for mask in ("flat/a.nii.gz", "apart/a", "flat", "apart"):
        ok(doors("view", "scans/a.nii.gz", mask, "--compare", "other", "--no-open", "-o", "v.html"))
        pages.append((tmp_path / "v.html").read_text())
    assert len(set(pages)) == 1
    result = doors("view", "scans/a.nii.gz", "scans", "--no-open")
    assert "Traceback" not in result.err


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_convert_makes_label_maps_of_them(doors, tmp_path, suffix):
    kind = {"nii.gz": "nifti"}.get(suffix, suffix)
    assert "3 written" in ok(doors("convert", "apart", "out", "--format", kind)).out
    ok(doors("convert", "apart/a", f"one.{suffix}"))
    ok(doors("convert", "apart/a", f"on.{suffix}", "--like", "scans/a.nii.gz"))
    for case in CASES:
        expected = read_labels(tmp_path / f"flat/{case}.nii.gz")
        paths = [f"out/{case}.{suffix}", *(f"{n}.{suffix}" for n in ("one", "on") if case == "a")]
        for path in paths:
            np.testing.assert_array_equal(read_labels(tmp_path / path).array, expected.array)
    table = (tmp_path / "out/a.tsv").read_text().splitlines()
    assert table[2:] == ["1\tleft lung", "2\tTumour/core", "5\tleft_lung"]
    again = doors("convert", "apart", "out", "--format", kind)
    assert (again.code, "is there already" in again.err) == (2, True)
    few = doors("convert", "apart", f"all.{suffix}")
    assert (few.code, "3 masks do not fit one file" in few.err) == (2, True)
    odd = doors("convert", "apart", "out2", "--layout", "nnunet")
    assert (odd.code, "--layout nnunet" in odd.err) == (2, True)


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_data_set_with_such_labels_is_told_the_command_that_mends_it(doors, tmp_path, command):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "scans").rename(data / "images")
    (tmp_path / "apart").rename(data / "labels")
    options = {"check": ("--json", "found.json"), "train": ("--epochs", "1")}[command]
    result = doors(command, "data", *options)
    assert result.code == 1
    told = (tmp_path / "found.json").read_text() if command == "check" else result.err
    assert "folder with a file for each label" in told
    assert "attnseg convert" in told
    assert "a.nii.gz" in told
    ok(doors("convert", "data/labels", "labels"))
    (data / "labels").rename(tmp_path / "before")
    (tmp_path / "labels").rename(data / "labels")
    checked = doors("check", "data")
    assert "0 fatal" in checked.out


def test_predict_takes_no_result_for_a_scan(doors, model, tmp_path):
    for given in ("flat", "apart/a", "flat/a.nii.gz"):
        result = doors("predict", given, "-m", model, "-o", "out")
        assert result.code == 2
        assert "attnseg wrote" in result.err
        assert "give their folder" in result.err
    # Beside scans they are left out, and told.
    write_image(tmp_path / "flat/new.nii.gz", IMAGE)
    result = doors("predict", "flat", "-m", model, "-o", "out", "--dry-run")
    assert "attnseg wrote 3 of 4 file(s)" in result.err + result.out
    assert not (tmp_path / "out").exists()
