"""Many scans: failures are isolated, done work is kept, the manifest tells all."""

import hashlib
import json

import nibabel as nib
import numpy as np
import PIL.Image
import pytest

from attnseg.errors import UsageError
from attnseg.inference import Job, Predictor, Scan, find_scans, predict_cohort
from attnseg.inference.manifest import (
    Manifest,
    Outcome,
    append_outcome,
    names_in_manifest,
    owners,
)
from attnseg.inference.masks import MaskFormat
from attnseg.inference.predict import dry_run, models_id, predict
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
    assert all(line["seconds"]["network"] > 0 for line in lines if line["state"] == "done")


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


def test_pictures_and_volumes_and_what_is_neither(make_model, make_picture, make_scan, tmp_path):
    """A bad picture is a failed line; each mask has its source's format, grid and name."""
    for name in ("a.png", "b.jpg", "c.TIF"):
        make_picture(name, folder="scans")
    make_scan("d")
    (tmp_path / "scans" / "bad.png").write_bytes((tmp_path / "scans" / "a.png").read_bytes()[:90])
    model = make_model(slice_axis=2, values=(0, 1, 300))
    outcomes = predict([tmp_path / "scans"], tmp_path / "out", model=model, device="cpu")
    assert {outcome.name: outcome.mask for outcome in outcomes} == {
        "a": "a.png", "b": "b.png", "bad": "", "c": "c.png", "d": "d.nii.gz",
    }  # fmt: skip
    reasons = {outcome.name: outcome.reason for outcome in outcomes if outcome.state == "failed"}
    assert list(reasons) == ["bad"]
    assert "bad.png: cut short" in reasons["bad"]
    for source, mask in (("a.png", "a.png"), ("b.jpg", "b.png"), ("c.TIF", "c.png")):
        with PIL.Image.open(tmp_path / "scans" / source) as picture:
            size = picture.size
        with PIL.Image.open(tmp_path / "out" / mask) as picture:
            assert picture.size == size
            assert np.asarray(picture).dtype == np.uint16
            assert set(np.unique(np.asarray(picture))) <= {0, 1, 300}
    states = {o.state for o in predict([tmp_path / "scans"], tmp_path / "out", model=model)}
    assert states == {"skipped", "failed"}


def test_a_picture_is_never_overwritten(make_model, make_picture):
    path = make_picture("a.png")
    before = path.read_bytes()
    model = make_model(slice_axis=2)
    with pytest.raises(UsageError, match=r"a\.png: this mask would overwrite its scan"):
        predict([path], path.parent, model=model)
    assert path.read_bytes() == before


def test_labels_that_png_cannot_hold_fail_that_scan(make_model, make_picture, tmp_path):
    model = make_model(slice_axis=2, values=(0, -1, 2))
    (outcome,) = predict([make_picture()], tmp_path / "out", model=model)
    assert outcome.state == "failed"
    assert "as NIfTI" in outcome.reason


def test_an_ensemble_has_an_id_of_its_own(make_model, make_scan, tmp_path, capsys):
    models = [make_model(seed=seed, name=f"m{seed}") for seed in (0, 1)]
    single = [model_id(model) for model in models]
    assert [models_id([model]) for model in models] == single
    expected = hashlib.sha256("\n".join(sorted(single)).encode()).hexdigest()
    assert models_id(models) == models_id(models[::-1]) == expected
    make_scan("a")
    predict([tmp_path / "scans"], tmp_path / "out", model=models)
    assert manifest(tmp_path)[-1]["model"] == expected
    assert f"2 models ({models[0]}, {models[1]}) averaged" in capsys.readouterr().err
    assert predict([tmp_path / "scans"], tmp_path / "out", model=models[::-1])[0].state == "skipped"
    assert predict([tmp_path / "scans"], tmp_path / "out", model=models[0])[0].state == "done"


def test_the_folds_of_a_run_are_averaged(make_model, make_scan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        model = make_model(seed=seed, mirror_axes=(1,))
        (tmp_path / "runs" / "x" / f"fold{seed}").mkdir(parents=True)
        model.rename(tmp_path / "runs" / "x" / f"fold{seed}" / "model.safetensors")
    (outcome,) = predict([make_scan("a")], tmp_path / "out", mirror=True)
    assert outcome.state == "done"
    assert "2 models of runs/x averaged · " in (said := capsys.readouterr().err)
    assert " · mirrored · 1 scan(s)" in said
    predict([make_scan("a")], tmp_path / "out", model=tmp_path / "runs" / "x" / "fold1")
    assert "fold1/model.safetensors · " in capsys.readouterr().err


def test_a_line_that_was_cut_short_does_not_spoil_the_next(tmp_path):
    book = Manifest(tmp_path)
    book.add(Outcome("a", "done", model="m"))
    whole = book.path.read_bytes()
    book.path.write_bytes(whole + whole[:30])
    book.add(Outcome("b", "done", model="m"))
    states = {name: (line["state"], line["model"]) for name, line in book.last_lines().items()}
    assert states == {"a": ("done", "m"), "b": ("done", "m")}


def test_masks_find_the_names_of_their_labels(make_model, make_scan, tmp_path):
    model = make_model(values=(0, 1, 300))
    make_scan("sub-01_T1w")
    names = {1: "organ 1", 300: "organ 300"}
    for folder, masks, written in (
        ("plain", MaskFormat(), "sub-01_T1w.nii.gz"),
        ("bids", MaskFormat(bids=True), "sub-01/anat/sub-01_dseg.nii.gz"),
        ("each", MaskFormat(per_label=True), "sub-01_T1w/organ_300.nii.gz"),
    ):
        output = tmp_path / folder
        predict([tmp_path / "scans"], output, model=model, job=Job(masks=masks))
        assert names_in_manifest(output / written) == names
        assert names_in_manifest(output / "other.nii.gz") == {}
    # A later model has other labels; what an older attnseg wrote tells none.
    Manifest(tmp_path / "plain").add(Outcome("sub-01_T1w", "done", mask="sub-01_T1w.nii.gz"))
    assert names_in_manifest(tmp_path / "plain" / "sub-01_T1w.nii.gz") == {}


def test_other_settings_do_all_again(cohort, make_model):
    cohort()
    model = make_model()
    predictor = Predictor.load(model, overlap=0.25)
    outcomes = predict_cohort(
        find_scans([model.parent / "scans"], num_channels=1), predictor, model.parent / "out",
        model_id=model_id(model),
    )  # fmt: skip
    assert sum(outcome.state == "done" for outcome in outcomes) == 3


def test_parts_of_a_cohort(make_model, make_scan, tmp_path):
    """Three parts make the whole; each has its own manifest, and all are known to each."""
    for index in range(5):
        make_scan(f"s{index}", seed=index)
    model = make_model()
    names = []
    for part in ("1/3", "2/3", "3/3"):
        outcomes = predict([tmp_path / "scans"], tmp_path / "out", model=model, shard=part)
        names.append([outcome.name for outcome in outcomes])
    assert names == [["s0", "s3"], ["s1", "s4"], ["s2"]]
    written = sorted(path.name for path in (tmp_path / "out").glob("manifest*"))
    assert written == [f"manifest-{i}of3.jsonl" for i in (1, 2, 3)]
    again = predict([tmp_path / "scans"], tmp_path / "out", model=model)
    assert {outcome.state for outcome in again} == {"skipped"}
    for wrong in ("0/3", "4/3", "2", "a/b"):
        with pytest.raises(UsageError, match=f"--shard {wrong}: must be i/n"):
            predict([tmp_path / "scans"], tmp_path / "out", model=model, shard=wrong)


def test_volumes_of_the_labels(make_model, make_scan, tmp_path):
    path = make_scan("a", affine=np.diag([0.5, 2.0, 3.0, 1]))
    predict([path], tmp_path / "out", model=make_model(), job=Job(statistics=True))
    labels = np.asarray(nib.load(tmp_path / "out" / "a.nii.gz").dataobj)
    rows = (tmp_path / "out" / "statistics.csv").read_text().splitlines()
    assert rows[0] == "scan,label,volume_ml"
    for row, value in zip(rows[1:], (1, 2), strict=True):
        name, label, ml = row.split(",")
        assert (name, label) == ("a", f"organ {value}")
        assert float(ml) == pytest.approx((labels == value).sum() * 3 / 1000, abs=1e-4)


def test_a_scan_unlike_those_of_training_is_told(make_model, make_scan, tmp_path, capsys):
    fingerprint = {"min_spacing_mm": [1, 1, 0.7], "max_spacing_mm": [1, 1, 3.0]}
    model = make_model(fingerprint=fingerprint)
    make_scan("thick", affine=np.diag([1, 1, 7.5, 1]))
    make_scan("usual", affine=np.diag([1, 1, 2.0, 1]))
    thick, usual = predict([tmp_path / "scans"], tmp_path / "out", model=model)
    assert thick.state == usual.state == "done"
    assert usual.warnings == ()
    assert thick.warnings == ("slice thickness 7.5 mm along S; training 0.7–3 mm",)
    assert "! slice thickness 7.5 mm along S" in capsys.readouterr().err
    assert manifest(tmp_path)[0]["warnings"] == list(thick.warnings)


def test_what_a_killed_process_left_behind_goes(make_model, make_scan, tmp_path):
    path = make_scan("a")
    (tmp_path / "out").mkdir()
    left = tmp_path / "out" / ".partial-99999-a.nii.gz"
    other = tmp_path / "out" / ".partial-99999-b.nii.gz"
    left.write_bytes(b"half")
    other.write_bytes(b"of another scan, perhaps being written")
    predict([path], tmp_path / "out", model=make_model())
    assert not left.exists()
    assert other.exists()


def test_stopping_leaves_whole_files(make_model, make_scan, tmp_path):
    """What the window's callback raises ends the cohort; what was done stays done."""
    for name in "abc":
        make_scan(name)
    model = make_model()
    seen = []

    def stop(scan):
        seen.append(scan.name)
        if scan.name == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cohort(
            find_scans([tmp_path / "scans"], num_channels=1), Predictor.load(model),
            tmp_path / "out", model_id="x", job=Job(on_window=stop),
        )  # fmt: skip
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files <= {"a.nii.gz", "manifest.jsonl"}
    nib.load(tmp_path / "out" / "a.nii.gz").get_fdata()


def test_dry_run_writes_nothing(make_model, make_scan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_scan("a")
    (tmp_path / "scans" / "bad.nii.gz").write_bytes(b"no")
    before = sorted(tmp_path.rglob("*"))
    work = dry_run([tmp_path / "scans"], model=make_model())
    assert [each.plan is not None for each in work] == [True, False]
    said = capsys.readouterr().err
    # What this process takes already is part of it.
    most = f"{work[0].plan.peak_bytes / 2**30:.2f} GiB"
    assert f"a    {work[0].plan.windows} windows, at most {most}, about" in said
    assert "bad  ✗ " in said
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix != ".safetensors") == before


def test_channels_and_neighbours_under_a_tight_bound(make_model, make_scan, tmp_path):
    """Where two scans do not fit side by side they follow each other; the masks are the same."""
    for index in range(3):
        make_scan(f"s{index}", seed=index)
    model = make_model()
    free = Predictor.load(model, device="cpu")
    tight = Predictor.load(model, device="cpu", max_ram=1)
    tight.plan = lambda outline, **rest: free.plan(outline, **rest)
    scans = find_scans([tmp_path / "scans"], num_channels=1)
    for name, predictor in (("free", free), ("tight", tight)):
        outcomes = predict_cohort(scans, predictor, tmp_path / name, model_id="x")
        assert [outcome.state for outcome in outcomes] == ["done"] * 3
    for scan in scans:
        one, two = ((tmp_path / name / scan.mask_name).read_bytes() for name in ("free", "tight"))
        assert one == two


@pytest.mark.parametrize(
    ("change", "sound"),
    [
        ({}, True),
        ({"a_later_version": [1]}, True),
        ({"scan": 3}, True),
        ({"name": "a\udcfc", "reason": "\udcfc"}, True),  # of a file's name that is no UTF-8
        ({"windows": True}, False),
        ({"seconds": {"reading": "1"}}, False),
        ({"labels": {"one": "liver"}}, False),
        ({"seconds": "\0"}, False),
        ({"windows": "3"}, False),
        ({"attention": [1]}, False),
        ({"labels": {"1": None}}, False),
        ({"mask": None}, False),
    ],
)
def test_a_line_of_other_types_is_a_damaged_one(tmp_path, change, sound):
    append_outcome(tmp_path / "manifest.jsonl", Outcome("a", "done", mask="a.nii.gz"))
    (line,) = map(json.loads, (tmp_path / "manifest.jsonl").read_text().splitlines())
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line | change) + "\n")
    assert set(owners(tmp_path)) == ({"a.nii.gz"} if sound else set())


def test_damaged_lines_are_told_and_their_scans_done_again(make_model, make_scan, tmp_path, capsys):
    model, output = make_model(), tmp_path / "out"
    for name in ("a", "b"):
        make_scan(name)
    predict([tmp_path / "scans"], output, model=model)
    assert "cut short" not in capsys.readouterr().err
    manifest = output / "manifest.jsonl"
    first, second = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(first + second[:40])
    outcomes = predict([tmp_path / "scans"], output, model=model)
    assert sorted(outcome.state for outcome in outcomes) == ["done", "skipped"]
    assert f"{manifest}: 1 line(s) that were cut short or are damaged" in capsys.readouterr().err
    predict([tmp_path / "scans"], output, model=model)
    assert "cut short" not in capsys.readouterr().err, "the half line is gone"
