"""Calibration error and Brier score: closed forms, and from files."""

from pathlib import Path

import numpy as np
import pytest

from attnseg.evaluation import evaluate, tally
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


def test_cases_in_which_a_label_was_not_drawn_are_left_out(
    tmp_path: Path, labels: np.ndarray
) -> None:
    for name in ("a", "b"):
        mask = mask_file(tmp_path / "ours" / f"{name}.nii.gz", labels)
        mask_file(tmp_path / "theirs" / f"{name}.nii.gz", labels)
        path = mask.with_name(f"{name}_probabilities.nii.gz")
        probability_file(path, np.full((3, *SHAPE), 1 / 3), like=mask)
    names = '{"labels": {"0": "nothing", "1": "one", "2": "two"}}'
    (tmp_path / "theirs" / "dataset.json").write_text(names)
    (tmp_path / "theirs" / "labels_present.json").write_text('{"b": [1]}')
    found = evaluate(tmp_path / "ours", tmp_path / "theirs", full=True).calibration
    assert found is not None
    assert list(found.cases) == ["a"]
    assert found.brier == pytest.approx(2 / 3, abs=1e-4)
