"""`attnseg report` of a run and of a prediction."""

import json
import re
from html import escape

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from attnseg.cli.app import app
from attnseg.config import load_config
from attnseg.datasets import make_phantoms
from attnseg.errors import RunError, UsageError
from attnseg.inference import predict
from attnseg.training import train
from attnseg.visualization.shots import shot_of


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of a few steps and its predictions."""
    folder = tmp_path_factory.mktemp("report")
    data = folder / "data"
    make_phantoms(data, num_train=5, num_test=2, shape=(40, 36, 28))
    settings = {"data.root": str(data), "training.epochs": 3, "training.steps_per_epoch": 3}
    settings["training.validation_every_epochs"] = 1
    train(load_config(None, settings), folder / "run", fold="0")
    gates = [{"gate": "1", "verdict": "Gate 1 follows <nothing>.", "mean": 0.25}]
    (folder / "run" / "fold0" / "attention.json").write_text(json.dumps({"gates": gates}))
    predict([data / "imagesTs"], folder / "masks", model=folder / "run", overwrite=True)
    return folder


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def fetched(page):
    return re.findall(r"(?:src|href)=[\"'](?!data:)[^\"']*", page)


@pytest.mark.slow
def test_a_run_as_a_page(place):
    sheet, curves = place / "sheet.png", place / "curves.svg"
    done = report(place / "run", "--sheet", sheet, "--curves", curves)
    assert done.exit_code == 0, done.output
    page = (place / "run" / "report.html").read_text()
    scores = json.loads((place / "run" / "fold0" / "validation.json").read_text())
    plan = json.loads((place / "run" / "plan.json").read_text())
    for case in scores["cases"]:
        assert case["name"] in page
    for label in scores["labels"]:
        assert label["name"] in page
        assert f"{label['mean']:.4f}" in page
    for reason in plan["reasons"].values():
        # "3d: the scans are volumes" stands beside the number that it begins with.
        assert escape(reason.rpartition(": ")[2]) in page
    assert "Gate 1 follows &lt;nothing&gt;." in page
    assert page.count("<polyline") == 2 + 1 + len(scores["labels"])
    assert "learning_rate" not in page.partition("<details>")[0]
    assert not fetched(page)
    with PIL.Image.open(sheet) as picture:
        assert picture.width == 1100
        assert np.asarray(picture.convert("RGB")).std() > 5
    assert curves.read_text().lstrip().startswith("<?xml")


@pytest.mark.slow
def test_dice_of_two_validations_is_told_in_words(place):
    metrics = place / "run" / "fold0" / "metrics.jsonl"
    whole = metrics.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    lines[0].pop("dice")
    lines[1]["dice"], lines[2]["dice"] = 0.5, 0.625
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        assert report(place / "run", "-o", place / "two.html").exit_code == 0
    finally:
        metrics.write_text(whole)
    page = (place / "two.html").read_text()
    assert "Dice of the watched cases, fold 0: 0.5 after 6 steps, 0.625 after 9 steps" in page
    assert "<b>Dice of the watched cases</b>" not in page


@pytest.mark.slow
def test_a_run_whose_data_have_moved_says_so(place):
    (place / "data").rename(place / "moved")
    try:
        assert report(place / "run", "-o", place / "moved.html").exit_code == 0
    finally:
        (place / "moved").rename(place / "data")
    page = (place / "moved.html").read_text()
    assert "no scans behind the masks" in page
    assert "--images" in page


@pytest.mark.slow
def test_a_prediction_as_a_page(place):
    masks = place / "masks"
    done = report(
        masks, "--ref", place / "data" / "labelsTs", "--images", place / "data" / "imagesTs"
    )
    assert done.exit_code == 0, done.output
    page = (masks / "report.html").read_text()
    lines = [json.loads(line) for line in (masks / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert line["name"] in page
        assert line["model"] in page
    assert page.count("<img") >= 2
    assert "mean over labels" in page
    assert not fetched(page)


@pytest.mark.slow
def test_masks_alone_are_named_by_their_manifest(place, tmp_path):
    masks = place / "masks"
    page = tmp_path / "page.html"
    assert report(masks, "-o", page).exit_code == 0
    line = json.loads((masks / "manifest.jsonl").read_text().splitlines()[0])
    values = np.unique(nib.load(masks / line["mask"]).dataobj)
    shown = [line["labels"][str(value)] for value in values if value]
    assert shown, "or nothing is drawn"
    assert all(name in page.read_text() for name in shown)
    assert not re.search(r"label \d", page.read_text())


def test_a_folder_of_neither_kind_is_refused(tmp_path):
    done = report(tmp_path)
    assert isinstance(done.exception, RunError)
    assert "neither a run" in str(done.exception)


@pytest.mark.slow
def test_options_of_the_other_kind_are_refused(place):
    done = report(place / "run", "--ref", place)
    assert isinstance(done.exception, UsageError)
    done = report(place / "masks", "--curves", place / "x.png")
    assert isinstance(done.exception, UsageError)


def test_where_nobody_drew_nothing_is_right_or_wrong(tmp_path):
    predicted, drawn = np.ones((20, 20, 6), np.uint8), np.ones((20, 20, 6), np.uint8)
    drawn[:, :, 3:] = 9  # to be ignored
    drawn[:5, :, 1] = 0
    for name, array in (("predicted", predicted), ("drawn", drawn)):
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), tmp_path / f"{name}.nii.gz")
    mask, reference = tmp_path / "predicted.nii.gz", tmp_path / "drawn.nii.gz"
    shown = shot_of("a", mask, reference, {}, (), caption="", ignored=9)
    assert (shown.predicted.labels == 1).all()
    assert (shown.reference.labels == 0).sum() == 5 * 20
    assert (shown.reference.labels == 1).sum() == 15 * 20
    seen = shot_of("a", mask, reference, {}, (), caption="")
    assert (seen.reference.labels == 9).all()
