"""Calibration error and Brier score: closed forms, and from files."""

import json
from pathlib import Path

import numpy as np
import pytest

from attnseg.evaluation import Calibration, evaluate, tally
from attnseg.images import Geometry, Image, open_volumes, read_labels, write_image, write_volumes

SHAPE = (10, 10, 4)


def mask_file(path: Path, labels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(labels[None].astype(np.uint8), Geometry(SHAPE, np.eye(4))))
    return path


def probability_file(path: Path, volumes: np.ndarray, *, like: Path) -> None:
    write_volumes(
        path,
        np.rint(volumes * 65535),
        count=len(volumes),
        like=read_labels(like),
        dtype=np.dtype(np.uint16),
        slope=1 / 65535,
    )


@pytest.fixture
def labels() -> np.ndarray:
    """Three quarters 0, one quarter 1."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[..., 0] = 1
    return labels


def constant(first: float) -> np.ndarray:
    return np.stack([np.full(SHAPE, first), np.full(SHAPE, 1 - first)]).astype(np.float32)


@pytest.mark.parametrize("first", [0.75, 0.9, 1.0, 0.5, 0.1])
def test_constant_probabilities(first: float, labels: np.ndarray) -> None:
    found = tally(constant(first), labels, values=(0, 1))
    right = 0.75 if first >= 0.5 else 0.25
    assert found.ece == pytest.approx(abs(max(first, 1 - first) - right), abs=1e-6)
    brier = 0.75 * 2 * (1 - first) ** 2 + 0.25 * 2 * first**2
    assert found.brier == pytest.approx(brier, abs=1e-6)


def test_perfect_probabilities(labels: np.ndarray) -> None:
    volumes = np.stack([labels == 0, labels == 1]).astype(np.float32)
    found = tally(volumes, labels, values=(0, 1))
    assert (found.ece, found.brier) == (0, 0)


def test_bins_do_not_cancel_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too sure in one bin, not sure enough in another; blocks change nothing."""
    monkeypatch.setattr("attnseg.evaluation.calibration._BLOCK", 50)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[5:, :5] = 1
    first = np.full(SHAPE, 0.6, dtype=np.float32)
    first[5:] = 0.9
    found = tally(np.stack([first, 1 - first]), labels, values=(0, 1))
    assert found.ece == pytest.approx(0.5 * (1 - 0.6) + 0.5 * (0.9 - 0.5), abs=1e-6)


def test_random_probabilities_by_definition() -> None:
    rng = np.random.default_rng(0)
    volumes = rng.dirichlet(np.ones(3), size=SHAPE).transpose(3, 0, 1, 2).astype(np.float32)
    labels = rng.choice([0, 2, 7, 9], size=SHAPE)
    found = tally(volumes, labels, values=(0, 2, 7), ignore_label=9)
    kept = labels != 9
    p = volumes[:, kept].astype(float)
    true = np.stack([labels[kept] == value for value in (0, 2, 7)])
    assert found.brier == pytest.approx(((p - true) ** 2).sum(axis=0).mean(), abs=1e-6)
    sure, right = p.max(axis=0), np.take_along_axis(true, p.argmax(axis=0)[None], 0)[0]
    bins = np.minimum((sure * 15).astype(int), 14)
    ece = sum(abs((sure - right)[bins == n].sum()) for n in range(15)) / kept.sum()
    assert found.ece == pytest.approx(ece, abs=1e-6)


def test_volumes_are_read_one_by_one(tmp_path: Path, labels: np.ndarray) -> None:
    like = mask_file(tmp_path / "mask.nii.gz", labels)
    volumes = np.random.default_rng(0).random((5, *SHAPE))
    for name in ("p.nii", "p.nii.gz"):
        probability_file(tmp_path / name, volumes, like=like)
        with open_volumes(tmp_path / name) as (geometry, count, read):
            found = list(read)
        assert (geometry.shape, count, len(found)) == (SHAPE, 5, 5)
        np.testing.assert_allclose(found, volumes, atol=1e-5)


def test_probabilities_beside_the_predictions(tmp_path: Path, labels: np.ndarray) -> None:
    for name in ("a", "b", "c"):
        mask_file(tmp_path / "ours" / f"{name}.nii.gz", labels)
        mask_file(tmp_path / "theirs" / f"{name}.nii.gz", labels)
    like = tmp_path / "ours" / "a.nii.gz"
    probability_file(tmp_path / "ours" / "a_probabilities.nii.gz", constant(0.9), like=like)
    thirds = np.full((3, *SHAPE), 1 / 3)
    probability_file(tmp_path / "ours" / "b_probabilities.nii.gz", thirds, like=like)
    (tmp_path / "theirs" / "dataset.json").write_text('{"labels": {"0": "nothing", "1": "one"}}')
    found = evaluate(tmp_path / "ours", tmp_path / "theirs", full=True)
    assert [case.name for case in found.cases] == ["a", "b", "c"]
    assert found.calibration is not None
    assert found.calibration.ece == pytest.approx(0.15, abs=1e-4)
    assert list(found.calibration.cases) == ["a"]
    assert "3 classes where the data set has 2" in found.calibration.failed["b"]
    content = found.to_json()
    assert content["calibration"]["brier"] == found.calibration.brier
    assert content["calibration"].keys() <= {*content["definitions"], "cases", "failed"}
    assert evaluate(tmp_path / "ours", tmp_path / "theirs").calibration is None


def expected(p: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """ECE and Brier score of `[classes, voxels]` by their definitions."""
    sure, right = p.max(axis=0), np.take_along_axis(true, p.argmax(axis=0)[None], 0)[0]
    bins = np.minimum((sure * 15).astype(int), 14)
    ece = sum(abs((sure - right)[bins == n].sum()) for n in range(15)) / p.shape[1]
    return ece, ((p - true) ** 2).sum(axis=0).mean()


def case_files(folder: Path, name: str, labels: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    """A case with probabilities; gives these back as a file holds them."""
    mask = mask_file(folder / "ours" / f"{name}.nii.gz", labels)
    mask_file(folder / "theirs" / f"{name}.nii.gz", labels)
    path = mask.with_name(f"{name}_probabilities.nii.gz")
    probability_file(path, volumes, like=mask)
    with open_volumes(path) as (_, _, read):
        return np.stack(list(read))


def calibration(folder: Path, **content: object) -> Calibration:
    (folder / "theirs" / "dataset.json").write_text(json.dumps(content))
    found = evaluate(folder / "ours", folder / "theirs", full=True).calibration
    assert found is not None
    return found


REGIONS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3, "ignore": 9},
    "regions_class_order": [1, 2, 3],
}
MEMBERS = ((1, 2, 3), (2, 3), (3,))


def test_regions_are_binary_problems_and_their_mean_counts(tmp_path: Path) -> None:
    """Two cases; in the second label 1 was not drawn, and so nothing is known of the whole."""
    rng = np.random.default_rng(0)
    known: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
    for name in ("a", "b"):
        labels = rng.choice([0, 1, 2, 3, 9], size=SHAPE)
        volumes = case_files(tmp_path, name, labels, rng.random((3, *SHAPE)))
        kept = labels != 9
        for region, members in enumerate(MEMBERS):
            inside = np.isin(labels[kept], members)
            p = volumes[region][kept]
            pair = np.stack([1 - p, p]), np.stack([~inside, inside])
            if name == "a" or 1 not in members:
                known[region].append(pair)
    found = calibration(tmp_path, **REGIONS, labels_present={"b": [2, 3]})
    by_region = [
        expected(*(np.concatenate(parts, axis=1) for parts in zip(*pairs, strict=True)))
        for pairs in known
    ]
    assert (found.ece, found.brier) == pytest.approx(np.mean(by_region, axis=0), abs=1e-5)
    of_b = np.mean([expected(*pairs[-1]) for pairs in known[1:]], axis=0)
    assert [*found.cases["b"].values()] == pytest.approx(of_b, abs=1e-5)


@pytest.mark.parametrize("inside", [0.9, 0.5, 0.2])
def test_one_region_is_a_softmax_of_two_classes(
    tmp_path: Path, labels: np.ndarray, inside: float
) -> None:
    """A quarter is inside; the closed form is that of two classes."""
    case_files(tmp_path, "a", labels, constant(inside)[:1])
    content = {"labels": {"background": 0, "all": [1]}, "regions_class_order": [1]}
    found = calibration(tmp_path, **content)
    two = tally(constant(1 - inside), labels, values=(0, 1))
    assert (found.ece, found.brier) == pytest.approx((two.ece, two.brier), abs=1e-4)
    right = 0.25 if inside > 0.5 else 0.75
    assert found.ece == pytest.approx(abs(max(inside, 1 - inside) - right), abs=1e-4)


def test_another_number_of_regions_is_told(tmp_path: Path, labels: np.ndarray) -> None:
    case_files(tmp_path, "a", labels, constant(0.5))
    failed = calibration(tmp_path, **REGIONS).failed
    assert "2 classes where the data set has 3 regions" in failed["a"]


def test_labels_that_were_not_drawn_count_with_the_background(tmp_path: Path) -> None:
    """Label 2 is not drawn in b: its voxels and its probability are the background's there."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("a", "b"):
        labels = rng.choice([0, 1, 2, 9], size=SHAPE)
        drawn = np.where(labels == 2, 0, labels) if name == "b" else labels
        p = rng.dirichlet(np.ones(3), size=SHAPE).transpose(3, 0, 1, 2)
        p = case_files(tmp_path, name, drawn, p)[:, labels != 9]
        true = np.stack([drawn[labels != 9] == value for value in (0, 1, 2)])
        if name == "b":
            p, true = np.stack([p[0] + p[2], p[1]]), true[:2]
        parts.append(expected(p, true))
    names = {"background": 0, "one": 1, "two": 2, "ignore": 9}
    found = calibration(tmp_path, labels=names, labels_present={"b": [1]})
    assert list(found.cases) == ["a", "b"]
    for case, figures in zip(found.cases.values(), parts, strict=True):
        assert [*case.values()] == pytest.approx(figures, abs=1e-5)


def test_a_reference_that_has_what_was_not_drawn_changes_nothing(tmp_path: Path) -> None:
    """As where a label was drawn in part: evaluation does not score it either."""
    labels = np.random.default_rng(0).integers(0, 3, SHAPE)
    thirds = np.full((3, *SHAPE), 1 / 3)
    case_files(tmp_path, "a", labels, thirds)
    names = {"background": 0, "one": 1, "two": 2}
    found = calibration(tmp_path, labels=names, labels_present={"a": [1]})
    share = (labels == 1).mean()
    assert found.ece == pytest.approx(abs(2 / 3 - (1 - share)), abs=1e-4)
    brier = share * 2 * (2 / 3) ** 2 + (1 - share) * 2 * (1 / 3) ** 2
    assert found.brier == pytest.approx(brier, abs=1e-4)
