"""A scan is known by what it is: no mask of one scan is ever taken for that of another."""

import hashlib
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from attnseg.compare import compare
from attnseg.errors import UsageError
from attnseg.evaluation import evaluate
from attnseg.images import Geometry, Image, write_image, write_labels
from attnseg.inference import Job, MaskFormat, Predictor, Scan, predict_cohort
from attnseg.inference.manifest import MANIFEST, Manifest, Outcome, names_in_manifest
from attnseg.inference.predict import dry_run, predict
from attnseg.report import report
from attnseg.view import view

OTHER_GRID = np.diag([1.5, 1.0, 2.0, 1.0])


def lines(folder):
    return [json.loads(text) for text in (folder / MANIFEST).read_text().splitlines()]


def without_identity(folder):
    """The manifest as versions before wrote it."""
    older = [{k: v for k, v in line.items() if k not in ("scan", "time")} for line in lines(folder)]
    (folder / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in older))


@pytest.mark.parametrize(
    "settings",
    [{}, {"overlap": 0.25}, {"overwrite": True}, {"verify": True}, {"job": Job(MaskFormat("nrrd"))},
     {"how": dry_run}, {"shard": "1/1"}],
    ids=lambda settings: "".join(settings) or "again",
)  # fmt: skip
def test_another_patients_scan_of_the_same_name_is_refused(run, two_patients, tmp_path, settings):
    a, b = two_patients
    run(a)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UsageError) as caught:
        run(b, **settings)
    message = str(caught.value)
    assert str(a) in message
    assert str(b) in message
    assert "give another folder with -o, or rename the scan" in message
    assert len(message.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_another_model_does_not_overwrite_another_patients_mask(
    run, two_patients, make_model, tmp_path
):
    a, b = two_patients
    run(a)
    before = (tmp_path / "out" / "ct.nii.gz").read_bytes()
    with pytest.raises(UsageError, match="is another scan"):
        run(b, model=make_model(seed=3, name="other"))
    assert (tmp_path / "out" / "ct.nii.gz").read_bytes() == before
    # Once the mask is gone nothing is taken.
    (tmp_path / "out" / "ct.nii.gz").unlink()
    assert run(b)[0] == {"ct": "done"}
    with pytest.raises(UsageError, match="is another scan"):
        run(a)


def test_many_names_are_counted_and_a_few_are_named(run, make_scan, tmp_path):
    for seed in range(10):
        make_scan(f"s{seed % 5}", seed=seed, folder="A" if seed < 5 else "B")
    run(tmp_path / "A")
    with pytest.raises(UsageError, match=r"names of 5 scans are taken .*s2\.nii\.gz.*; and 2 more"):
        run(tmp_path / "B")


def test_a_failed_line_does_not_give_a_name_free(run, two_patients, tmp_path):
    """Patient A's scan is damaged later: its mask is still A's."""
    a, b = two_patients
    run(a)
    a.write_bytes(a.read_bytes()[:700])
    states, said = run(a)
    assert states == {"ct": "failed"}
    assert "what lies there (ct.nii.gz) was made of it before" in said
    with pytest.raises(UsageError, match="is another scan"):
        run(b)


def test_a_scan_that_was_exported_anew_is_predicted_anew(run, make_scan, tmp_path):
    path = make_scan("ct", seed=0)
    run(path)
    first = nib.load(tmp_path / "out" / "ct.nii.gz").get_fdata()
    make_scan("ct", seed=1)
    states, said = run(path)
    assert states == {"ct": "done"}
    assert "the scan has changed since ct.nii.gz was made of it: made anew" in said
    second = nib.load(tmp_path / "out" / "ct.nii.gz").get_fdata()
    assert (first != second).any()
    assert "has changed" in lines(tmp_path / "out")[-1]["warnings"][0]
    assert run(path)[0] == {"ct": "skipped"}


def test_what_size_and_time_do_not_tell_is_seen_by_verify(run, tmp_path):
    """Same path, size and time, other voxels."""
    path, state = tmp_path / "ct.nii", None
    for value in (1, 2):
        array = np.full((1, 6, 5, 4), 1, np.float32)
        array[0, 0, 0, 0] = value * 100
        write_image(path, Image(array, Geometry((6, 5, 4), np.eye(4))))
        if state is None:
            state = path.stat()
            run(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert run(path)[0] == {"ct": "skipped"}
    states, said = run(path, verify=True)
    assert states == {"ct": "done"}
    assert "has changed" in said
    assert run(path, verify=True)[0] == {"ct": "skipped"}


def test_a_touched_scan_is_the_same_and_is_hashed_once(run, make_scan, tmp_path, monkeypatch):
    path = make_scan("ct")
    run(path)
    os.utime(path, ns=(1, 1))
    assert run(path)[0] == {"ct": "skipped"}
    assert [line["state"] for line in lines(tmp_path / "out")] == ["done", "done"]
    assert lines(tmp_path / "out")[-1]["scan"]["sources"][0]["mtime_ns"] == 1
    # From then on nothing is opened but what says where things lie.
    monkeypatch.setattr(
        "attnseg.images.identity.content_digest", lambda source: pytest.fail("read")
    )
    assert run(path)[0] == {"ct": "skipped"}


def test_a_scan_that_was_moved_is_the_same(run, make_scan, tmp_path):
    path = make_scan("ct")
    run(path)
    (tmp_path / "archive").mkdir()
    moved = shutil.move(path, tmp_path / "archive" / "ct.nii.gz")
    assert run(moved)[0] == {"ct": "skipped"}
    assert lines(tmp_path / "out")[-1]["scan"]["sources"][0]["path"] == "../archive/ct.nii.gz"
    assert run(moved, overlap=0.25)[0] == {"ct": "done"}


def test_masks_and_scans_that_are_moved_together_are_not_opened(
    run, make_scan, tmp_path, monkeypatch
):
    path = make_scan("ct")
    run(path)
    new = tmp_path / "elsewhere"
    new.mkdir()
    for folder in ("scans", "out"):
        (tmp_path / folder).rename(new / folder)
    monkeypatch.setattr(
        "attnseg.images.identity.content_digest", lambda source: pytest.fail("read")
    )
    assert run(new / "scans" / "ct.nii.gz", output=new / "out")[0] == {"ct": "skipped"}
    assert len(lines(new / "out")) == 1


def test_absolute_paths_of_older_manifests_are_read_as_before(
    run, make_scan, tmp_path, monkeypatch
):
    path = make_scan("ct")
    run(path)
    (line,) = lines(tmp_path / "out")
    line["scan"]["sources"][0]["path"] = str(path)
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(line) + "\n")
    monkeypatch.setattr(
        "attnseg.images.identity.content_digest", lambda source: pytest.fail("read")
    )
    assert run(path)[0] == {"ct": "skipped"}
    assert len(lines(tmp_path / "out")) == 1


def test_a_line_says_which_scan_it_is_of(run, make_scan, tmp_path):
    path = make_scan("ct")
    run(path)
    (line,) = lines(tmp_path / "out")
    (source,) = line["scan"]["sources"]
    state = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source["path"], source["size"]) == ("../scans/ct.nii.gz", state.st_size)
    assert (source["mtime_ns"], source["sha256"]) == (state.st_mtime_ns, digest)
    assert line["scan"]["shape"] == [13, 17, 9]
    np.testing.assert_array_equal(line["scan"]["affine"], nib.load(path).affine)


def test_each_channel_counts(run, make_model, make_scan, tmp_path):
    model = make_model(channels=2)
    for index in range(2):
        make_scan(f"case_{index:04d}", seed=index)
    folder = tmp_path / "scans"
    assert run(folder, model=model)[0] == {"case": "done"}
    assert run(folder, model=model)[0] == {"case": "skipped"}
    make_scan("case_0001", seed=7)
    states, said = run(folder, model=model)
    assert states == {"case": "done"}
    assert "has changed" in said
    # The first channel of this patient, the second of another.
    make_scan("case_0001", seed=8, folder="other")
    shutil.copy2(folder / "case_0000.nii.gz", tmp_path / "other")
    with pytest.raises(UsageError, match="is another scan"):
        run(tmp_path / "other", model=model)


@pytest.mark.parametrize("suffix", ["hdr", "mhd", "nhdr"])
def test_the_voxels_beside_a_header_count(run, tmp_path, suffix):
    def write(seed):
        values = np.random.default_rng(seed).normal(100, 20, (6, 5, 4)).astype("<f4")
        if suffix == "hdr":
            nib.save(nib.Nifti1Pair(values, np.eye(4)), tmp_path / "ct.hdr")
            return
        (tmp_path / "ct.raw").write_bytes(values.tobytes(order="F"))
        text = {
            "mhd": "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_FLOAT\n"
            "ElementDataFile = ct.raw\n",
            "nhdr": "NRRD0004\ntype: float\ndimension: 3\nsizes: 6 5 4\n"
            "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
            "space origin: (0,0,0)\nendian: little\n"
            "encoding: raw\ndata file: ct.raw\n",
        }[suffix]
        if not (tmp_path / f"ct.{suffix}").exists():
            (tmp_path / f"ct.{suffix}").write_text(text)

    path = tmp_path / f"ct.{suffix}"
    write(0)
    assert run(path)[0] == {"ct": "done"}
    assert run(path)[0] == {"ct": "skipped"}
    write(1)
    states, said = run(path)
    assert states == {"ct": "done"}
    assert "has changed" in said


def test_a_mask_that_lies_elsewhere_is_made_anew(run, make_scan, tmp_path):
    path = make_scan("ct")
    run(path)
    mask = tmp_path / "out" / "ct.nii.gz"
    whole = mask.read_bytes()
    scan = nib.load(path)
    moved = scan.affine.copy()
    moved[0, 3] += 5
    for shape, affine, why in (
        ((6, 5, 4), scan.affine, "6 × 5 × 4 voxels where the scan has 13 × 17 × 9"),
        (scan.shape, moved, "up to 5 mm away"),
    ):
        nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), mask)
        states, said = run(path)
        assert states == {"ct": "done"}
        assert why in said
        assert "made anew" in said
        assert mask.read_bytes() == whole
    mask.write_bytes(whole[:40])
    assert "ct.nii.gz cannot be read" in run(path)[1]


def test_each_file_of_a_mask_counts(run, make_scan, tmp_path):
    path, job = make_scan("ct"), Job(MaskFormat(per_label=True))
    run(path, job=job)
    assert run(path, job=job)[0] == {"ct": "skipped"}
    (tmp_path / "out" / "ct" / "organ_2.nii.gz").unlink()
    states, said = run(path, job=job)
    assert states == {"ct": "done"}
    assert "organ_2.nii.gz is not there" in said
    other = make_scan("ct", folder="other", seed=5)
    with pytest.raises(UsageError, match="is another scan"):
        run(other, job=job)


def test_pictures_of_one_name(make_model, make_picture, tmp_path):
    model = make_model(slice_axis=2)
    first, second = (make_picture("a.png", seed=s, folder=f"p{s}") for s in (0, 1))
    assert predict([first], tmp_path / "out", model=model)[0].state == "done"
    assert predict([first], tmp_path / "out", model=model)[0].state == "skipped"
    with pytest.raises(UsageError, match="is another scan"):
        predict([second], tmp_path / "out", model=model)
    # A mask of another size in its place.
    shutil.copy(make_picture("b.png", rows=9, columns=8), tmp_path / "out" / "a.png")
    (outcome,) = predict([first], tmp_path / "out", model=model)
    assert outcome.state == "done"
    assert "8 × 9 × 1 voxels where the scan has 31 × 23 × 1" in outcome.warnings[0]


def test_masks_of_an_older_manifest_are_kept_where_they_fit(run, make_scan, tmp_path):
    paths = [make_scan(name, seed=seed) for seed, name in enumerate("ab")]
    run(*paths)
    without_identity(tmp_path / "out")
    states, said = run(*paths)
    assert states == {"a": "skipped", "b": "skipped"}
    assert said.count("2 mask(s) of an older manifest were kept because they lie on their") == 1
    assert run(*paths, overwrite=True)[0] == {"a": "done", "b": "done"}
    states, said = run(*paths)
    assert states == {"a": "skipped", "b": "skipped"}
    assert "older manifest" not in said


def test_a_mask_of_an_older_manifest_on_another_grid_is_not_overwritten_unasked(
    run, make_scan, tmp_path
):
    run(make_scan("ct", folder="A"))
    without_identity(tmp_path / "out")
    other = make_scan("ct", folder="B", shape=(10, 9, 8), affine=OTHER_GRID)
    before = (tmp_path / "out" / "ct.nii.gz").read_bytes()
    for settings in ({}, {"overlap": 0.25}, {"how": dry_run}):
        with pytest.raises(UsageError, match=r"13 × 17 × 9 voxels where the scan has 10 × 9 × 8"):
            run(other, **settings)
    assert (tmp_path / "out" / "ct.nii.gz").read_bytes() == before
    assert run(other, overwrite=True)[0] == {"ct": "done"}
    assert nib.load(tmp_path / "out" / "ct.nii.gz").shape == (10, 9, 8)


def test_a_mask_that_no_line_tells_of(run, make_scan, tmp_path):
    """Left by a killed process it lies on the scan's grid and is made again; others are refused."""
    path = make_scan("ct")
    run(path)
    (tmp_path / "out" / MANIFEST).unlink()
    assert run(path)[0] == {"ct": "done"}
    (tmp_path / "out" / MANIFEST).unlink()
    other = make_scan("ct", folder="B", shape=(10, 9, 8), affine=OTHER_GRID)
    with pytest.raises(UsageError, match="no line of a manifest says so"):
        run(other)


def test_the_latest_line_counts_in_whichever_file(make_model, make_scan, tmp_path):
    """Another process's file is the newer one, and its line of this scan the older."""
    models = [make_model(seed=seed, name=f"m{seed}") for seed in (0, 1)]
    for name in "ab":
        make_scan(name)
    folder, output = tmp_path / "scans", tmp_path / "out"
    predict([folder], output, model=models[0], shard="1/2")  # a
    predict([folder / "a.nii.gz"], output, model=models[1])
    Manifest(output, shard="1of2").add(Outcome("c", "failed"))
    (outcome,) = predict([folder / "a.nii.gz"], output, model=models[0])
    assert outcome.state == "done"


def test_what_lies_beside_a_mask_is_of_the_same_scan(run, make_scan, tmp_path):
    path, more = make_scan("ct"), Job(attention=True, probabilities=True)
    run(path)
    assert run(path, job=more)[0] == {"ct": "done"}
    assert run(path, job=more)[0] == {"ct": "skipped"}
    assert run(path)[0] == {"ct": "skipped"}
    make_scan("ct", seed=4)
    said = run(path)[1]
    assert "ct_probabilities.nii.gz, ct_attention.nii.gz was made of it before it changed" in said
    states, said = run(path, job=more)
    assert states == {"ct": "done"}, "α of the scan as it was is none of this one"
    assert run(path, job=more)[0] == {"ct": "skipped"}
    # α of this scan keeps another one of the name away, mask or none.
    (tmp_path / "out" / "ct.nii.gz").unlink()
    with pytest.raises(UsageError, match=r"ct_probabilities\.nii\.gz was made of"):
        run(make_scan("ct", folder="B", seed=9))


def test_two_scans_never_go_to_one_file(run, make_scan, tmp_path):
    both = [make_scan(name) for name in ("sub-01_T1w", "sub-01_T2w")]
    with pytest.raises(UsageError, match="would both be written to sub-01/anat/sub-01_dseg"):
        run(*both, job=Job(MaskFormat(bids=True)))
    # A scan that is called as another one's probabilities.
    paths = [make_scan(name) for name in ("ct", "ct_probabilities")]
    with pytest.raises(UsageError, match=r"would both be written to ct_probabilities\.nii\.gz"):
        run(*paths, job=Job(probabilities=True))
    run(paths[1])
    with pytest.raises(UsageError, match="is another scan"):
        run(paths[0], job=Job(probabilities=True))


def test_volumes_are_those_of_the_scan_as_it_is(run, make_scan, tmp_path):
    path = make_scan("ct")
    run(path, job=Job(statistics=True))
    make_scan("ct", seed=3)
    run(path)
    rows = (tmp_path / "out" / "statistics.csv").read_text().splitlines()
    assert rows == ["scan,label,volume_ml"], "no volume of a mask that is no more"


def test_names_of_labels_are_those_of_the_line_that_wrote_the_file(tmp_path):
    book = Manifest(tmp_path)
    book.add(Outcome("ct", "done", mask="ct.nii.gz", labels={1: "liver"}))
    book.add(Outcome("ct", "done", mask="ct.nrrd", labels={1: "spleen"}))
    assert names_in_manifest(tmp_path / "ct.nii.gz") == {1: "liver"}
    assert names_in_manifest(tmp_path / "ct.nrrd") == {1: "spleen"}


def test_a_scan_that_changes_while_it_is_read_fails(make_model, make_scan, tmp_path):
    path = make_scan("ct")
    predictor = Predictor.load(make_model(), device="cpu")
    read = predictor.read

    def slow(*sources):
        image = read(*sources)
        make_scan("ct", seed=1)
        return image

    predictor.read = slow
    (outcome,) = predict_cohort([Scan("ct", (path,))], predictor, tmp_path / "out", model_id="x")
    assert outcome.state == "failed"
    assert "was changed while it was read" in outcome.reason
    assert not (tmp_path / "out" / "ct.nii.gz").exists()


def test_a_dry_run_leaves_out_what_is_done(run, make_scan, capsys):
    done, new = make_scan("done"), make_scan("new")
    run(done)
    work, said = run(done, new, how=dry_run)
    assert [each.scan.name for each in work] == ["new"]
    assert "– done: done before" in said
    make_scan("done", seed=2)
    work, said = run(done, new, how=dry_run)
    assert [each.scan.name for each in work] == ["done", "new"]
    assert "! the scan has changed since done.nii.gz was made of it" in said


def test_a_foreign_mask_in_the_folder_is_not_replaced(run, make_scan, tmp_path):
    """`-o` is a folder of masks that somebody drew, of other scans with the same names."""
    path = make_scan("ct")
    drawn = Image(np.zeros((1, 4, 4, 4)), Geometry((4, 4, 4), np.eye(4)))
    mask = tmp_path / "out" / "ct.nii.gz"
    write_labels(mask, np.zeros((4, 4, 4), np.uint8), like=drawn, dtype=np.dtype(np.uint8))
    before = mask.read_bytes()
    with pytest.raises(UsageError, match="no line of a manifest says so"):
        run(path)
    assert mask.read_bytes() == before


def test_pages_say_where_a_mask_is_of_another_scan(run, two_patients, tmp_path):
    """The grids are the same, and so are the names: only the line knows."""
    a, b = two_patients
    run(a)
    mask, said = tmp_path / "out" / "ct.nii.gz", []
    note = f"{mask}: was made of {a}, and {b} is another scan"
    for scan, expected in ((a, []), (b, [note])):
        said.clear()
        view(scan, mask, output=tmp_path / "page.html", say=said.append)
        assert [text.partition(", or has")[0] for text in said] == expected
    for scan, expected in ((a, 0), (b, 1)):
        page = report(tmp_path / "out", images=scan.parent).read_text(encoding="utf-8")
        named = [f"../{path.parent.name}/{path.name}" for path in (scan, a)]
        assert page.count(f"{named[0]} is not the scan that its mask was made of, {named[1]}") == (
            expected
        )


def test_a_comparison_says_where_masks_are_of_two_scans(run, two_patients, tmp_path, capsys):
    a, b = two_patients
    folders = [tmp_path / name for name in ("of_a", "of_b")]
    for scan, folder in zip(two_patients, folders, strict=True):
        run(scan, output=folder.name)
    shutil.copytree(folders[0], tmp_path / "refs", ignore=lambda *_: {MANIFEST})

    def said(one, other, images):
        page = tmp_path / "page.html"
        compare(one, other, tmp_path / "refs", images=images.parent, html=page)
        return " ".join(capsys.readouterr().out.split())

    assert "note" not in said(folders[0], folders[0], a)
    assert f"masks of 1 case(s) were made of two different scans: ct ({a} and {b})" in said(
        *folders, a
    )
    assert f"{b} is not shown: it is not the scan that a mask of ct was made of, {a}" in said(
        folders[0], folders[0], b
    )


def test_probabilities_that_are_not_of_the_mask_say_nothing_of_it(
    run, make_scan, make_model, tmp_path
):
    """They lie beside the mask under the scan's name; the scan, or the model, was another."""
    path, more = make_scan("ct"), Job(probabilities=True)
    run(path, job=more)
    shutil.copytree(tmp_path / "out", tmp_path / "refs", ignore=lambda *_: {MANIFEST})
    (tmp_path / "refs" / "ct_probabilities.nii.gz").unlink()

    def calibration():
        return evaluate(tmp_path / "out", tmp_path / "refs", full=True).calibration

    assert (list(calibration().cases), calibration().failed) == (["ct"], {})
    run(path, model=make_model(seed=5, name="other"))
    assert "was not made together with ct.nii.gz" in calibration().failed["ct"]
    run(path, job=more)
    make_scan("ct", seed=3)
    run(path)
    assert "was not made together with ct.nii.gz" in calibration().failed["ct"]
    assert calibration().cases == {}


def test_a_name_is_one_in_both_forms_of_unicode(run, make_scan, tmp_path):
    """macOS writes ü as two letters: the same mask, and the same other patient."""
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    a = make_scan(composed, folder="A")
    run(a)
    moved = a.rename(a.parent / f"{apart}.nii.gz")
    assert set(run(moved)[0].values()) == {"skipped"}
    with pytest.raises(UsageError, match="is another scan"):
        run(make_scan(apart, folder="B", seed=5))
