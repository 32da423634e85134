"""Sides and misses on the command line: what `check`, `plan` and `compare` say of real files."""

import json
import shutil

import numpy as np
import pytest

from attnseg.images import Geometry, Image, read_labels, write_image, write_labels


@pytest.fixture
def exchanged(dataset):
    """Kidneys named the wrong way round, one case twice, one mask empty."""
    (dataset / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "kidney_lt": 1, "kidney_rt": 2}})
    )
    for number in range(3):
        path = dataset / "labels" / f"c{number}.nii.gz"
        mask = read_labels(path)
        labels = np.zeros(mask.geometry.shape, np.uint8)
        # I grows to the patient's left.
        labels[1:5, 2 + number : 9, 2:8], labels[12:17, 2:9, 2:8] = 1, 2
        write_labels(path, labels * (number < 2), like=mask, dtype=np.dtype(np.uint8))
    for part in ("images", "labels"):
        shutil.copyfile(dataset / part / "c0.nii.gz", dataset / part / "again.nii.gz")
    return dataset


def test_exchanged_sides_and_copies_are_warnings_that_come_first(attnseg, exchanged):
    result = attnseg("check", exchanged, "--json", "o.json", "--html", "o.html")
    assert result.code == 0
    told = json.loads((exchanged.parent / "o.json").read_text())
    severities = [each["severity"] for each in told["findings"]]
    assert severities == ["warning"] * 4 + ["harmless"]
    problems = [each["problem"] for each in told["findings"][:4]]
    assert (
        sum("(kidney_lt) lies 12 mm to the patient's right of label 2" in p for p in problems) == 3
    )
    assert "image and label are identical to those of again" in problems
    assert "4 warning, 1 harmless" in result.out
    page = (exchanged.parent / "o.html").read_text()
    assert page.index('class="severity warning"') < page.index('class="severity harmless"')
    planned = attnseg("plan", exchanged, "--set", "model.channels=[4,8]", "--gpu-memory", "8G")
    lines = (planned.out + planned.err).splitlines()
    kinds = [line.split(":")[0] for line in lines if line.startswith(("warning: ", "note: "))]
    assert kinds == ["warning"] * 4 + ["note"]


def test_a_plan_in_2d_keeps_lt_and_rt_where_they_are(attnseg, exchanged):
    settings = ("--set", "model.channels=[4,8]", "--set", "model.dim=2d", "--gpu-memory", "8G")
    result = attnseg("plan", exchanged, "--explain", *settings)
    assert result.code == 0, result.err
    assert "mirroring: not left–right, since labels are named by a side: kidney_lt, kidney_rt" in (
        result.out
    )
    plan = json.loads((exchanged.parent / "plan.json").read_text())
    assert plan["spec"]["mirror_axes"] == [1]


def test_a_method_that_misses_structures_is_not_better_by_distance(attnseg, tmp_path):
    """Eight cases: B finds three, a row off, and misses five; A finds all, two rows off."""
    geometry = Geometry((12, 8, 4), np.diag([-1.0, -1.0, 2.0, 1.0]))
    for number in range(8):
        box = np.zeros(geometry.shape, np.int16)
        box[3:8, 1:7, 1 : 2 + number % 2] = 1
        masks = {"ref": box, "a": np.roll(box, 2, axis=0), "b": np.roll(box, 1, axis=0)}
        masks["b"] *= number < 3
        for folder, labels in masks.items():
            write_image(tmp_path / folder / f"c{number}.nii.gz", Image(labels[None], geometry))
    for metric in ("hd95_mm", "assd_mm"):
        files = ("--json", "o.json", "--csv", "o.csv", "--html", "o.html")
        result = attnseg("compare", "a", "b", "--ref", "ref", "--metric", metric, *files)
        assert (result.code, result.err) == (0, "")
        said = " ".join(result.out.split())
        assert "there is no verdict by" in said
        assert "A finds 8 of 8, B 3 of 8" in said
        assert "0 and loses 5 case(s)." in said
        assert "is better on" not in said
        label = json.loads((tmp_path / "o.json").read_text())["labels"][0]
        assert (label["cases"], label["of"], label["wins"], label["losses"]) == (3, 8, 3, 5)
        assert (tmp_path / "o.csv").read_text().count("\n") == 9
        assert "3 of 8" in (tmp_path / "o.html").read_text()
    result = attnseg("evaluate", "b", "ref", "--json", "o.json")
    assert "3 of 8" in " ".join(result.out.split())
