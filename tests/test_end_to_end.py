"""The demo in a few seconds: phantoms → train → predict → evaluate → judge → pages."""

import json
import re
from html import escape
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pytest

from attnseg.demo import run_demo
from attnseg.errors import RunError


@pytest.mark.slow
def test_the_demo_leaves_everything_it_names(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("attnseg.demo._TRAIN_CASES", 5)
    monkeypatch.setattr("attnseg.demo._TEST_CASES", 2)
    folder = tmp_path / "demo"
    scores = run_demo(folder, minutes=0.25)
    assert {path.name for path in folder.iterdir()} == {
        "attention", "curves.png", "overlay.png", "phantoms", "predictions", "run", "scores.json",
        "sheet.png",
    }  # fmt: skip
    assert json.loads((folder / "scores.json").read_text()) == scores.to_json(folder)
    assert len(scores.cases) == 2
    for mask in (folder / "predictions").glob("*.nii.gz"):
        scan = nib.load(folder / "phantoms" / "imagesTs" / mask.name)
        written = nib.load(mask)
        assert written.shape == scan.shape
        assert written.affine.tobytes() == scan.affine.tobytes()
        assert written.get_data_dtype() == np.uint8
    for name in ("overlay.png", "sheet.png", "curves.png"):
        with PIL.Image.open(folder / name) as picture:
            assert picture.width == 1100
            assert np.asarray(picture.convert("L")).std() > 5
    judged = json.loads((folder / "attention" / "attention.json").read_text())
    assert json.loads((folder / "run" / "fold0" / "attention.json").read_text()) == judged
    page = (folder / "run" / "report.html").read_text()
    assert judged["gates"]
    for gate in judged["gates"]:
        assert set(gate["faithfulness"]["dice"]) >= {"as it is", "open", "closed"}
        assert escape(gate["verdict"]) in page
        assert escape(gate["verdict"]) in (folder / "attention" / "attention.html").read_text()
    assert f"{scores.mean_dice:.3f}" in (folder / "predictions" / "report.html").read_text()
    out, _ = capfd.readouterr()
    for name in re.findall(rf"{re.escape(str(folder))}\S*", out):
        assert Path(name.rstrip(",")).exists()
    assert f"mean Dice {scores.mean_dice:.3f}" in out
    assert "attnseg predict SCANS/" in out
    with pytest.raises(RunError, match="not empty"):
        run_demo(folder, minutes=0.25)
