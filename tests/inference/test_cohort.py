"""Many scans: failures are isolated, done work is kept, the manifest tells all."""

import json

import nibabel as nib
import numpy as np
import pytest

from attnseg.errors import UsageError
from attnseg.inference import Predictor, Scan, find_scans, predict_cohort
from attnseg.models import model_id


@pytest.fixture
def cohort(make_model, make_scan, tmp_path):
    model = make_model()
    for seed, name in enumerate(("a", "b", "c")):
        make_scan(name, seed=seed)
    broken = tmp_path / "scans" / "broken.nii.gz"
    broken.write_bytes((tmp_path / "scans" / "a.nii.gz").read_bytes()[:700])
    holey = make_scan("holey", shape=(6, 5, 4), affine=np.eye(4))
    image = nib.load(holey)
    values = image.get_fdata()
    values[0, 0, 0] = np.nan
    nib.Nifti1Image(values.astype(np.float32), image.affine).to_filename(holey)

    def run(output="out", **settings):
        predictor = Predictor.load(settings.pop("model", model))
        return predict_cohort(
            find_scans([tmp_path / "scans"], num_channels=1),
            predictor,
            tmp_path / output,
            model_id=settings.pop("id", model_id(model)),
            **settings,
        )

    return run


def manifest(tmp_path):
    text = (tmp_path / "out" / "manifest.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_failed_scan_does_not_stop_the_others(cohort, tmp_path):
    outcomes = {outcome.name: outcome for outcome in cohort()}
    assert {n: o.state for n, o in outcomes.items()} == {
        "a": "done", "b": "done", "broken": "failed", "c": "done", "holey": "failed",
    }  # fmt: skip
    assert "cut short" in outcomes["broken"].reason
    assert "1 of 120 voxels are NaN" in outcomes["holey"].reason
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "manifest.jsonl"]
    lines = manifest(tmp_path)
    assert [line["name"] for line in lines] == ["a", "b", "broken", "c", "holey"]
    assert all(line["seconds_predicting"] > 0 for line in lines if line["state"] == "done")


def test_a_rerun_does_only_what_is_missing(cohort, tmp_path):
    cohort()
    (tmp_path / "out" / "b.nii.gz").unlink()
    states = {outcome.name: outcome.state for outcome in cohort()}
    assert states == {
        "a": "skipped", "b": "done", "broken": "failed", "c": "skipped", "holey": "failed",
    }  # fmt: skip
    assert len(manifest(tmp_path)) == 5 + 3, "skipped scans add no line"


def test_another_model_or_overwrite_does_all_again(cohort):
    cohort()
    assert sum(o.state == "done" for o in cohort(id="other")) == 3
    assert sum(o.state == "done" for o in cohort(id="other", overwrite=True)) == 3
    assert sum(o.state == "skipped" for o in cohort(id="other")) == 3


def test_a_manifest_cut_short_is_no_obstacle(cohort, tmp_path):
    cohort()
    path = tmp_path / "out" / "manifest.jsonl"
    path.write_text(path.read_text()[:-10])
    assert sum(outcome.state == "skipped" for outcome in cohort()) == 3


def test_a_scan_is_never_overwritten(make_model, make_scan, tmp_path):
    path = make_scan("a")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="would overwrite its scan"):
        predict_cohort(
            [Scan("a", (path,))], Predictor.load(make_model()), path.parent, model_id="x"
        )
    assert path.read_bytes() == before
