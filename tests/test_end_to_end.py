"""The demo in a few seconds: phantoms → train → predict → evaluate → picture."""

import json

import nibabel as nib
import numpy as np
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
        "overlay.png", "phantoms", "predictions", "run", "scores.json",
    }  # fmt: skip
    assert json.loads((folder / "scores.json").read_text()) == scores.to_json()
    assert len(scores.cases) == 2
    for mask in (folder / "predictions").glob("*.nii.gz"):
        scan = nib.load(folder / "phantoms" / "imagesTs" / mask.name)
        written = nib.load(mask)
        assert written.shape == scan.shape
        assert written.affine.tobytes() == scan.affine.tobytes()
        assert written.get_data_dtype() == np.uint8
    out, _ = capfd.readouterr()
    assert f"mean Dice {scores.mean_dice:.3f}" in out
    assert "attnseg predict SCANS/" in out
    with pytest.raises(RunError, match="not empty"):
        run_demo(folder, minutes=0.25)
