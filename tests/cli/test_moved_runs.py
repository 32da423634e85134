"""A run goes on from whatever folder it is called in, and wherever it lies now."""

import json
import shutil
from pathlib import Path

import pytest
import yaml


def recorded_root(run: Path) -> str:
    return yaml.safe_load((run / "config.yaml").read_text())["data"]["root"]


@pytest.fixture
def run(attnseg, dataset: Path, small, tmp_path: Path) -> Path:
    """In runs/toy, its data set typed as people type it."""
    result = attnseg("train", "data", "-o", "runs/toy", *small)
    assert result.code == 0, result.err
    return tmp_path / "runs" / "toy"


def test_resumed_from_another_folder(attnseg, run: Path, tmp_path: Path, monkeypatch) -> None:
    assert recorded_root(run) == "../../data"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = attnseg("train", "--resume", "--epochs", 2, "-o", run)
    assert result.code == 0, result.err
    assert recorded_root(run) == "../../data"
    assert "no scans behind" not in result.out
    assert attnseg("train", "--resume", "../data", "--epochs", 2, "-o", run).code == 0
    # The same data set under another name for it begins another fold.
    result = attnseg("train", tmp_path / "data", "--fold", 1, "-o", run, *settings_of(run))
    assert result.code == 0, result.err


def settings_of(run: Path) -> list[str]:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    return ["--config", str(run / "config.yaml"), "--epochs", str(settings["training"]["epochs"])]


def test_moved_together_with_its_data_nothing_is_opened_again(
    attnseg, run: Path, tmp_path: Path, monkeypatch
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.move(tmp_path / "runs", new / "runs")
    shutil.move(tmp_path / "data", new / "data")
    monkeypatch.chdir(new)
    monkeypatch.setattr(
        "attnseg.datasets.facts.inspect_files", lambda *_, **__: pytest.fail("opened")
    )
    result = attnseg("train", "--resume", "--epochs", 2, "-o", "runs/toy")
    assert result.code == 0, result.err
    assert "changed" not in result.out


def test_data_that_were_moved_are_named_anew(attnseg, run: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "data", tmp_path / "archive")
    assert attnseg("train", "--resume", "--epochs", 2, "-o", "runs/toy").code == 1
    result = attnseg("train", "archive", "--resume", "--epochs", 2, "-o", "runs/toy")
    assert result.code == 0, result.err
    assert recorded_root(run) == "../../archive"


def test_another_data_set_is_refused_while_its_own_is_there(
    attnseg, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    result = attnseg("train", "other", "--resume", "--epochs", 2, "-o", "runs/toy")
    assert (result.code, "data.root=data" in result.err) == (2, True)


def test_the_configuration_of_a_run_is_one_for_others(attnseg, run: Path, tmp_path: Path) -> None:
    result = attnseg("train", "--config", "runs/toy/config.yaml", "-o", "runs/deep/er/again")
    assert result.code == 0, result.err
    assert recorded_root(tmp_path / "runs" / "deep" / "er" / "again") == "../../../../data"
    same = attnseg("train", "--config", "runs/toy/config.yaml", "--resume", "-o", "runs/toy")
    assert same.code == 0, same.err


@pytest.mark.parametrize("kind", ["absolute", "as typed"])
def test_paths_of_older_versions_are_read_as_before(
    attnseg, run: Path, tmp_path: Path, kind: str
) -> None:
    root = str(tmp_path / "data") if kind == "absolute" else "data"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["root"] = root
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for name in ("fold0/cases.json", "checked.json"):
        text = (run / name).read_text().replace("../", "")
        content = json.loads(text.replace('"data/', f'"{tmp_path}/data/'))
        (run / name).write_text(json.dumps(content))
    result = attnseg("train", "--resume", "--epochs", 2, "-o", "runs/toy")
    assert result.code == 0, result.err
    assert "changed" not in result.out
    assert recorded_root(run) == "../../data"
