"""Folders of masks compared: pairing, statistics, refusals, and the JSON and tables of it."""

import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from attnseg.errors import DataError
from attnseg.evaluation import (
    bootstrap_interval,
    evaluate,
    find_label_names,
    find_label_scheme,
    match_files,
    print_table,
    table_lines,
)
from attnseg.images import Geometry, Image, read_labels, write_image

SPACING_MM = (1.0, 2.0, 5.0)


def write_mask(path: Path, labels: np.ndarray, *, offset_mm: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[0, 3] = offset_mm
    i, j, k = labels.shape
    write_image(path, Image(labels[None].astype(np.int16), Geometry((i, j, k), affine)))
    return path


def mask(**boxes: int) -> np.ndarray:
    """An 8 × 6 × 4 mask; `mask(l3=2)` labels rows 2 to 5 with 3: 4 × 6 × 4 voxels."""
    labels = np.zeros((8, 6, 4), dtype=np.int16)
    for name, start in boxes.items():
        labels[start : start + 4] = int(name[1:])
    return labels


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Label 3: Dice 0.5 and 1, then absent; label 500: absent, absent, then predicted only."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_mask(ours / "a.nii.gz", mask(l3=2))
    write_mask(theirs / "a.nii.gz", mask(l3=0))
    write_mask(ours / "b_0000.nii.gz", mask(l3=1))
    write_mask(theirs / "b.nii", mask(l3=1))
    write_mask(ours / "c.nii.gz", mask(l500=4))
    write_mask(theirs / "c.nii.gz", mask())
    write_mask(theirs / "extra.nii.gz", mask(l3=0))
    return ours, theirs


def test_statistics_are_over_cases_that_have_the_label(folders: tuple[Path, Path]) -> None:
    result = evaluate(*folders)
    assert [case.name for case in result.cases] == ["a", "b", "c"]
    three, far = result.labels
    assert (three.value, three.mean, three.median, three.min) == (3, 0.75, 0.75, 0.5)
    assert three.sd == pytest.approx(math.sqrt(2 * 0.25**2))
    assert three.ci95 == (0.5, 1.0)
    assert (three.cases, three.both_empty) == (2, 1)
    assert (far.value, far.mean, far.cases, far.both_empty) == (500, 0.0, 1, 2)
    assert np.isnan([far.sd, *far.ci95]).all()
    assert result.mean_dice == 0.375
    assert math.isnan(result.cases[0].scores[500].dice)
    assert [case.mean_dice for case in result.cases] == [0.5, 1.0, 0.0]
    assert result.sd == pytest.approx(0.5)
    assert result.ci95 == bootstrap_interval(
        np.array([[0.5, np.nan], [1.0, np.nan], [np.nan, 0.0]])
    )
    assert result.not_predicted == ("extra",)
    assert result.failed == {}


def test_volumes_in_millilitres(folders: tuple[Path, Path]) -> None:
    score = evaluate(*folders).cases[2].scores[500]
    assert (score.predicted_voxels, score.reference_voxels) == (4 * 6 * 4, 0)
    assert score.predicted_ml == pytest.approx(4 * 6 * 4 * 10 / 1000)
    assert score.reference_ml == 0.0


def test_two_files_of_any_names(tmp_path: Path) -> None:
    ours = write_mask(tmp_path / "mine.nii.gz", mask(l1=1))
    theirs = write_mask(tmp_path / "other.nii", mask(l1=0))
    result = evaluate(ours, theirs)
    assert [case.name for case in result.cases] == ["mine"]
    assert result.mean_dice == 0.75
    assert result.not_predicted == ()


def test_masks_without_any_label_have_no_dice(tmp_path: Path) -> None:
    empty = write_mask(tmp_path / "empty.nii.gz", mask())
    result = evaluate(empty, empty)
    assert result.labels == ()
    assert math.isnan(result.mean_dice)
    assert result.to_json()["mean_dice"] is None


def test_every_missing_reference_is_named(folders: tuple[Path, Path]) -> None:
    ours, theirs = folders
    (theirs / "a.nii.gz").unlink()
    (theirs / "c.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no reference for 2 of 3 predictions \(a, c\).*add them"):
        match_files(ours, theirs)


def test_what_cannot_be_paired(folders: tuple[Path, Path], tmp_path: Path) -> None:
    ours, theirs = folders
    with pytest.raises(DataError, match="one is a file and the other a folder; give two"):
        match_files(ours / "a.nii.gz", theirs)
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        match_files(ours, tmp_path / "nowhere")
    write_mask(ours / "a_0000.nii.gz", mask())
    with pytest.raises(DataError, match=r"a\.nii\.gz and a_0000\.nii\.gz are both case a; keep"):
        match_files(ours, theirs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no mask"):
        match_files(tmp_path / "empty", theirs)


def test_masks_on_other_grids_are_refused(tmp_path: Path) -> None:
    reference = write_mask(tmp_path / "reference.nii.gz", mask(l1=0))
    moved = write_mask(tmp_path / "moved.nii.gz", mask(l1=0), offset_mm=0.5)
    with pytest.raises(DataError, match=r"moved.*up to 0\.5 mm.*same grid: resample") as caught:
        evaluate(moved, reference)
    assert "\n" not in str(caught.value)
    larger = write_mask(tmp_path / "larger.nii.gz", np.zeros((8, 6, 5)))
    with pytest.raises(DataError, match=r"larger.*shape \(8, 6, 5\).*\(8, 6, 4\).*resample"):
        evaluate(larger, reference)
    barely = write_mask(tmp_path / "barely.nii.gz", mask(l1=0), offset_mm=0.05)
    assert evaluate(barely, reference).mean_dice == 1.0


def test_one_bad_case_does_not_stop_the_others(folders: tuple[Path, Path]) -> None:
    ours, theirs = folders
    (ours / "c.nii.gz").write_bytes(b"")
    result = evaluate(ours, theirs)
    assert [case.name for case in result.cases] == ["a", "b"]
    assert list(result.failed) == ["c"]
    assert "empty" in result.failed["c"]
    (ours / "a.nii.gz").write_bytes(b"")
    (ours / "b_0000.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.nii\.gz.*empty.*no other of 3 cases"):
        evaluate(ours, theirs)


def test_json_holds_everything_and_says_what_it_means(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    result = evaluate(*folders)
    result.save_json(tmp_path / "out" / "evaluation.json")
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert content == result.to_json(tmp_path / "out")
    case, as_given = content["cases"][0], result.to_json()["cases"][0]
    assert case["prediction"] == "../ours/a.nii.gz"
    assert as_given["prediction"] == str(folders[0] / "a.nii.gz")
    assert "2|A∩B|/(|A|+|B|)" in content["definitions"]["dice"]
    assert content["mean_dice"] == 0.375
    assert content["labels"][0]["both_empty"] == 1
    assert content["labels"][0]["ci95"] == [0.5, 1.0]
    assert content["labels"][1]["ci95"] is content["labels"][1]["sd"] is None
    assert content["ci95"] == list(result.ci95)
    assert content["sd"] == pytest.approx(0.5)
    named = {word for key in content["definitions"] for word in key.split(", ")}
    assert content["labels"][0].keys() - {"value", "name"} <= named
    assert content["cases"][0]["labels"]["3"].keys() <= named
    assert content["cases"][0]["labels"]["500"] == {
        "dice": None,
        "predicted_voxels": 0,
        "reference_voxels": 0,
        "predicted_ml": 0.0,
        "reference_ml": 0.0,
    }
    assert content["not_predicted"] == ["extra"]


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "Anterior", "2": "Posterior"},
        {"background": 0, "Anterior": 1, "Posterior": 2},
    ],
)
@pytest.mark.parametrize("place", [".", "labelsTr"])
def test_label_names_from_either_layout(tmp_path: Path, labels: dict, place: str) -> None:
    folder = tmp_path / "labelsTr"
    path = write_mask(folder / "a.nii.gz", mask(l2=0))
    (tmp_path / place / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert find_label_names(folder) == {1: "Anterior", 2: "Posterior"}
    assert find_label_scheme(path).names == {1: "Anterior", 2: "Posterior"}
    assert evaluate(path, path).labels[0].name == "Posterior"
    assert evaluate(path, path, label_names={2: "tail"}).labels[0].name == "tail"


def test_label_names_are_optional_but_never_half_read(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "masks" / "a.nii.gz", mask(l2=0))
    assert find_label_scheme(path).names == {}
    assert evaluate(path, path).labels[0].name == "2"
    (tmp_path / "dataset.json").write_text('{"labels": {"one": "two"}}')
    with pytest.raises(DataError, match=r"dataset\.json: label 'one' is 'two'; each label needs"):
        find_label_scheme(path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset\.json: holds a list; it must be a JSON object"):
        evaluate(path, path)
    (tmp_path / "dataset.json").write_text('{"name": "no labels here"}')
    assert find_label_scheme(path).names == {}


def printed(ours: Path, theirs: Path, **names: dict[int, str]) -> str:
    stream = io.StringIO()
    found = evaluate(ours, theirs, **names)
    print_table(found, Console(file=stream, width=100))
    assert table_lines(found) == [line.rstrip() for line in stream.getvalue().splitlines()]
    return stream.getvalue()


def test_table_of_a_few_cases(folders: tuple[Path, Path]) -> None:
    lines = printed(*folders, label_names={3: "cord [left]"}).splitlines()
    row = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert row["a"] == ["a", "0.5000", "0.5000", "–"]
    assert row["c"] == ["c", "0.0000", "–", "0.0000"]
    interval = "0.5000–1.0000"
    numbers = ["0.7500", interval, "0.3536", "0.7500", "0.5000", "2", "1"]
    assert row["cord"] == ["cord", "[left]", *numbers]
    assert row["500"] == ["500", "0.0000", "–", "–", "0.0000", "0.0000", "1", "2"]
    assert row["mean"][:4] == ["mean", "over", "labels", "0.3750"]
    assert row["mean"][5] == "0.5000"
    assert "not predicted: 1 (extra)" in lines


def test_tables_fit_into_100_columns(folders: tuple[Path, Path]) -> None:
    names = {3: "right parotid gland", 500: "left optic nerve, proximal"}
    text = printed(*folders, label_names=names)
    assert all(name in text for name in names.values())
    assert "…" not in text
    headings = next(line for line in text.splitlines() if "95 %" in line)
    columns = ["label", "mean", "95 % interval", "sd", "median", "min", "cases", "empty"]
    assert re.split(r"\s{2,}", headings.strip()) == columns


def test_table_of_many_cases_shows_the_worst_five(tmp_path: Path) -> None:
    for n in range(21):
        write_mask(tmp_path / "ours" / f"case_{n:02}.nii", mask(l1=0 if n >= 6 else n % 3 + 1))
        write_mask(tmp_path / "theirs" / f"case_{n:02}.nii", mask(l1=0))
    text = printed(tmp_path / "ours", tmp_path / "theirs")
    assert "Worst 5 of 21 cases" in text
    shown = [line.split()[:2] for line in text.splitlines() if "case_" in line]
    assert shown == [
        ["case_02", "0.2500"],
        ["case_05", "0.2500"],
        ["case_01", "0.5000"],
        ["case_04", "0.5000"],
        ["case_00", "0.7500"],
    ]


def test_table_of_many_labels_names_the_lowest(tmp_path: Path) -> None:
    labels = np.arange(192, dtype=np.int16).reshape(8, 6, 4) // 16 + 1
    theirs = write_mask(tmp_path / "theirs.nii", labels)
    labels = labels.copy()
    labels[labels == 9] = 0
    ours = write_mask(tmp_path / "ours.nii", labels)
    (row,) = [line.split() for line in printed(ours, theirs).splitlines() if " ours " in line]
    assert row == ["ours", f"{11 / 12:.4f}", "9", "0.0000"]


def test_real_masks_equal_themselves(real_data: Path) -> None:
    folder = real_data / "head_neck_ct" / "labelsTr"
    path = sorted(folder.glob("*.nii.gz"))[0]
    result = evaluate(path, path)
    assert [label.name for label in result.labels][:2] == ["Brainstem", "SpinalCord"]
    assert {label.mean for label in result.labels} == {1.0}
    voxels = read_labels(path).array == 1
    spacing = read_labels(path).geometry.spacing_mm
    expected = voxels.sum() * np.prod(spacing) / 1000
    assert result.cases[0].scores[1].reference_ml == pytest.approx(expected)


@pytest.mark.slow
def test_dice_equals_monai(tmp_path: Path, real_data: Path) -> None:
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    folder = real_data / "hippocampus" / "labelsTr"
    reference = sorted(folder.glob("*.nii.gz"))[1]
    theirs = read_labels(reference)
    ours = np.roll(theirs.array, (2, 1), axis=(1, 3)).astype(np.int16)
    write_image(tmp_path / "ours.nii.gz", Image(ours, theirs.geometry))
    result = evaluate(tmp_path / "ours.nii.gz", reference)
    masks = [torch.from_numpy(array.astype(np.int64))[None] for array in (ours, theirs.array)]
    oracle = compute_dice(*(one_hot(m, 3) for m in masks), include_background=False)[0]
    assert [label.mean for label in result.labels] == pytest.approx(oracle.tolist(), abs=1e-6)
