"""A name that is taken stays taken: by any path, in capitals, in parts, and in two runs at once."""

import json
import os
import shutil

import pytest

from attnseg.errors import UsageError
from attnseg.inference import Job, MaskFormat, Predictor, Scan, predict_cohort
from attnseg.inference.manifest import MANIFEST
from attnseg.models import model_id


def test_one_path_however_it_is_reached(run, two_patients, tmp_path, monkeypatch):
    """With `..`, or through a link to its folder, which may lead to another patient later."""
    a, b = two_patients
    monkeypatch.chdir(a.parent)
    run(f"../{a.parent.name}/ct.nii.gz")
    line = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert line["scan"]["sources"][0]["path"] == os.path.relpath(a, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "current"
    for patient in (a, b):
        link.unlink(missing_ok=True)
        link.symlink_to(patient.parent)
        if patient is a:
            assert run(link / "ct.nii.gz")[0] == {"ct": "skipped"}
    with pytest.raises(UsageError) as caught:
        run(link / "ct.nii.gz")
    assert f"was made of {a}, and {b} is another scan" in str(caught.value)
    shutil.copy(b, a)
    assert "has changed since ct.nii.gz was made" in run(a)[1]


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00bad\n", b'{"name": "\xfc"}\n', b"\0" * 64])
def test_a_damaged_manifest_is_no_error(run, make_scan, tmp_path, damage):
    path = make_scan("ct")
    run(path)
    manifest = tmp_path / "out" / MANIFEST
    manifest.write_bytes(damage + b"\n" + manifest.read_bytes() + damage)
    assert run(path)[0] == {"ct": "skipped"}


@pytest.mark.parametrize("settings", [{}, {"overwrite": True}], ids=["", "overwrite"])
def test_what_no_line_tells_of_is_not_replaced_without_a_word(
    run, two_patients, tmp_path, settings
):
    a, b = two_patients
    run(a)
    (tmp_path / "out" / MANIFEST).unlink()
    states, said = run(b, **settings)
    assert states == {"ct": "done"}
    assert "no manifest says which scan ct.nii.gz was made of: made anew" in said


def test_a_mask_of_an_older_manifest_is_not_replaced_without_a_word(run, two_patients, tmp_path):
    """The grids are the same, so that nobody can say whose the mask is."""
    a, b = two_patients
    run(a)
    manifest = tmp_path / "out" / MANIFEST
    line = json.loads(manifest.read_text())
    del line["scan"], line["time"]
    manifest.write_text(json.dumps(line) + "\n")
    states, said = run(b, overlap=0.25)
    assert states == {"ct": "done"}
    assert "no manifest says which scan ct.nii.gz was made of: made anew" in said


def test_a_name_in_other_capitals_is_taken(run, make_scan):
    """On Windows and macOS the one file would replace the other."""
    a, b = make_scan("ct", folder="A"), make_scan("CT", folder="B", seed=1)
    run(a)
    with pytest.raises(UsageError, match=r"ct\.nii\.gz was made of"):
        run(b, overwrite=True)


def test_two_runs_at_the_same_time(run, make_model, two_patients, tmp_path):
    """Each finds an empty folder; the one that is second does not write over the first one's."""
    a, b = two_patients
    model, output, made = make_model(), tmp_path / "out", []

    def first_a(scan):
        assert not (output / "ct.nii.gz").exists()
        assert run(a, model=model)[0] == {"ct": "done"}
        made.append((output / "ct.nii.gz").read_bytes())

    predictor = Predictor.load([model], device="cpu")
    outcomes = predict_cohort([Scan("ct", (b,))], predictor, output, model_id="m", on_known=first_a)
    assert [each.state for each in outcomes] == ["failed"]
    assert f"another run has made it of {a} meanwhile, and {b} is another" in outcomes[0].reason
    assert [(output / "ct.nii.gz").read_bytes()] == made
    assert run(a, model=model)[0] == {"ct": "skipped"}


def test_a_name_that_another_scan_is_about_to_take(run, make_model, two_patients, tmp_path):
    """The one that is second is told who has it, and afterwards that it is taken."""
    a, b = two_patients
    model, told = make_model(), []

    def then_a(work):
        states, said = run(a, model=model)
        assert states == {"ct": "elsewhere"}
        told.append(said)

    predictor = Predictor.load([model], device="cpu")
    outcomes = predict_cohort(
        [Scan("ct", (b,))], predictor, tmp_path / "out", model_id=model_id(model), on_plan=then_a
    )
    assert [each.state for each in outcomes] == ["done"]
    assert "… ct: being done by process " in told[0]
    assert "1 scan(s) elsewhere: being done by process " in told[0]
    with pytest.raises(UsageError, match=r"ct\.nii\.gz was made of"):
        run(a, model=model)


def test_two_parts_of_a_cohort_never_write_one_file(run, make_scan):
    """Each part sees its own scan alone, and they may run at the same time."""
    both = [make_scan(name) for name in ("sub-01_T1w", "sub-01_T2w")]
    for shard in ("1/2", "2/2"):
        with pytest.raises(UsageError, match="would both be written to sub-01/anat/sub-01_dseg"):
            run(*both, job=Job(MaskFormat(bids=True)), shard=shard)
