"""Two predictions into one folder at the same time: each scan is done once, and has one line."""

import errno
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from claiming import claimed, end

from attnseg.errors import RunError
from attnseg.inference import Job, Predictor, find_scans, manifest, predict_cohort
from attnseg.inference.local_engine import predict_here
from attnseg.inference.manifest import MANIFEST, NewLines, Outcome, append_outcome
from attnseg.inference.masks import MaskFormat
from attnseg.locks import LOCK_FILE

NAMES = ["a", "b", "c", "d", "e", "f"]


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    """For manifests that others begin: these cohorts are over within a second."""
    monkeypatch.setattr(manifest, "_LOOK_SECONDS", 0.0)


@pytest.fixture
def cohort(make_model, make_scan, tmp_path):
    """Predict scans by `predict_cohort` into one folder: name → outcome."""
    scans = [make_scan(name, seed=seed) for seed, name in enumerate(NAMES)]
    predictors = {
        name: Predictor.load(make_model(name=name, seed=seed), device="cpu", **settings)
        for name, seed, settings in [
            ("one", 0, {}), ("other", 1, {}), ("overlap", 0, {"overlap": 0.25})
        ]
    }  # fmt: skip

    def run(*, model="one", names=NAMES, output="out", found=None, **how):
        found = found or find_scans(
            [path for path in scans if path.name[0] in names], num_channels=1
        )
        outcomes = predict_cohort(
            found, predictors[model], tmp_path / output, model_id=f"id of {model}", **how
        )
        return {each.name: each for each in outcomes}

    return run


def states(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {name: each.state for name, each in outcomes.items()}


def lines(folder: Path) -> list[dict]:
    paths = sorted(folder.glob("manifest*.jsonl"))
    return [json.loads(text) for path in paths for text in path.read_text().splitlines()]


def done(folder: Path) -> list[str]:
    return sorted(line["name"] for line in lines(folder) if line["state"] == "done")


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def test_what_another_run_has_is_left_to_it(cohort, tmp_path):
    out = tmp_path / "out"
    with claimed(out, "b.nii.gz", "e.nii.gz") as other:
        found = cohort()
        assert states(found) == dict.fromkeys("acdf", "done") | dict.fromkeys("be", "elsewhere")
        assert found["b"].reason.startswith(f"being done by process {other.pid} (attnseg test, ")
        assert done(out) == ["a", "c", "d", "f"]
        assert len(lines(out)) == 4, "what another does has no line of ours"
    found = cohort()  # it was killed
    assert states(found) == dict.fromkeys("acdf", "skipped") | dict.fromkeys("be", "done")
    assert done(out) == NAMES
    assert not (out / LOCK_FILE).exists()


def test_what_another_run_lets_go_is_done_in_the_end(cohort, tmp_path):
    order = []
    with claimed(tmp_path / "out", "b.nii.gz", "c.nii.gz") as other:

        def on_outcome(outcome):
            order.append(outcome.name)
            if len(order) == 1:
                end(other)

        found = cohort(on_outcome=on_outcome)
    assert states(found) == dict.fromkeys(NAMES, "done")
    assert order[:1] == ["a"]
    assert order[-1:] in (["b"], ["c"])
    assert done(tmp_path / "out") == NAMES


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("shard", ["", "2of3"])
def test_what_another_run_has_done_meanwhile_is_not_done_again(cohort, tmp_path, overwrite, shard):
    out = tmp_path / "out"
    if overwrite:
        cohort()
    before = len(lines(out))
    inner = {}

    def on_outcome(outcome):
        if outcome.name == "a":
            inner.update(cohort(names="ef", shard=shard, overwrite=overwrite))

    outer = cohort(on_outcome=on_outcome, overwrite=overwrite)
    assert states(inner) == {"e": "done", "f": "done"}
    assert states(outer) == dict.fromkeys("abcd", "done") | dict.fromkeys("ef", "skipped")
    assert outer["e"].reason == "done by another run meanwhile"
    assert len(lines(out)) == before + 6
    cohort(output="alone")
    assert masks(out) == masks(tmp_path / "alone")


def test_a_mask_without_what_is_asked_for_beside_it_is_made_again(cohort, tmp_path):
    def on_outcome(outcome):
        if outcome.name == "a":
            cohort(names="ef")

    found = cohort(on_outcome=on_outcome, job=Job(probabilities=True))
    assert states(found) == dict.fromkeys(NAMES, "done")
    assert (tmp_path / "out" / "f_probabilities.nii.gz").exists()


def test_a_mask_in_another_format_is_no_mask_in_this_one(cohort, tmp_path):
    def on_outcome(outcome):
        if outcome.name == "a":
            cohort(names="ef", job=Job(masks=MaskFormat("nrrd")))

    assert states(cohort(on_outcome=on_outcome)) == dict.fromkeys(NAMES, "done")


def test_a_name_that_another_scan_has_taken_meanwhile_is_refused(cohort, make_scan, tmp_path):
    """Whoever predicts: the workers of Ray do not look for themselves."""
    stranger = find_scans([make_scan("e", folder="elsewhere", seed=99)], num_channels=1)

    def blind(scans, work, predictor, output, base, job):
        unlooked = replace(job, before_writing=Job().before_writing)
        return predict_here(scans, work, predictor, output, base, unlooked)

    def on_outcome(outcome):
        if outcome.name == "a":
            cohort(found=stranger)

    found = cohort(on_outcome=on_outcome, engine=blind)
    assert states(found) == dict.fromkeys("abcdf", "done") | {"e": "failed"}
    assert "another run has made it of " in found["e"].reason
    assert [line["state"] for line in lines(tmp_path / "out") if line["name"] == "e"] == [
        "done",
        "failed",
    ]


@pytest.mark.parametrize("model", ["other", "overlap"])
def test_another_model_at_the_same_time_is_refused(cohort, tmp_path, model):
    refused = []

    def on_outcome(outcome):
        with pytest.raises(RunError) as caught:
            cohort(model=model, names="ef")
        refused.append(str(caught.value))

    assert states(cohort(on_outcome=on_outcome)) == dict.fromkeys(NAMES, "done")
    assert refused[0].startswith(f"{tmp_path / 'out'}: process ")
    assert "predicts into this folder with another model or other settings; wait" in refused[0]
    assert {line["model"] for line in lines(tmp_path / "out")} == {"id of one"}
    assert states(cohort(model=model)) == dict.fromkeys(NAMES, "done"), "afterwards it may"


def test_a_folder_that_cannot_be_locked_is_predicted_into_and_told(cohort, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    said = []
    assert states(cohort(say=said.append)) == dict.fromkeys(NAMES, "done")
    assert said == [
        f"note: {tmp_path / 'out'}: cannot be locked (No locks available); see to it that no other "
        "attnseg writes there meanwhile"
    ]


def test_claims_end_with_the_lines_and_with_errors(cohort, tmp_path):
    def stop(scan):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cohort(job=Job(on_window=stop))
    assert not (tmp_path / "out" / LOCK_FILE).exists()
    assert states(cohort()) == dict.fromkeys(NAMES, "done")


def test_new_lines_are_those_written_since(tmp_path):
    path = tmp_path / MANIFEST
    append_outcome(path, Outcome("A", "done", mask="A.nii.gz"))
    with path.open("a") as stream:
        stream.write('{"name": "b", "st')
    news = NewLines(tmp_path)
    assert news.of("a") == {}
    append_outcome(path, Outcome("b", "done", mask="b.nii.gz", model="x"))
    append_outcome(path, Outcome("c", "failed"))
    append_outcome(tmp_path / "manifest-1of2.jsonl", Outcome("B", "done", mask="b.nrrd"))
    found = news.of("b")
    assert {name: line["model"] for name, line in found.items()} == {"b.nii.gz": "x", "b.nrrd": ""}
    assert news.of("c") == news.of("a") == {}
    append_outcome(path, Outcome("b", "done", mask="b.nii.gz", model="y"))
    assert news.of("b")["b.nii.gz"]["model"] == "y"


def start(folder: Path, model: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "attnseg", "predict", str(folder / "scans")]
    return subprocess.Popen(
        [*command, "-m", str(model), "-o", str(folder / "out"), "--device", "cpu", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def many(make_model, make_scan, tmp_path):
    """A model, twelve scans, and their masks by one process alone."""
    model = make_model()
    for number in range(12):
        make_scan(f"s{number:02}", shape=(36, 28, 18), seed=number)
    names = find_scans([tmp_path / "scans"], num_channels=1)
    predict_cohort(names, Predictor.load(model, device="cpu"), tmp_path / "alone", model_id="alone")
    return model, masks(tmp_path / "alone")


@pytest.mark.slow
def test_two_processes_share_a_cohort(many, tmp_path):
    model, alone = many
    both = [start(tmp_path, model), start(tmp_path, model)]
    said = [each.communicate(timeout=300)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert done(tmp_path / "out") == sorted(name.removesuffix(".nii.gz") for name in alone)
    assert masks(tmp_path / "out") == alone
    assert not (tmp_path / "out" / LOCK_FILE).exists()
    assert sum(text.count("✓") for text in said) == len(alone), "no scan was done twice"
    assert not list((tmp_path / "out").glob(".partial*"))


@pytest.mark.slow
def test_one_of_two_is_killed_and_the_other_does_the_rest(many, tmp_path, full):
    """At random moments."""
    model, alone = many
    generator = random.Random(0)
    out = tmp_path / "out"
    for round in range(max(1, full(20))):
        for path in out.glob("*") if round else ():
            path.unlink()
        both = [start(tmp_path, model), start(tmp_path, model)]
        until = time.monotonic() + 120
        while len(list(out.glob("*.nii.gz"))) < 3:
            assert {each.poll() for each in both} <= {None, 0}, [
                each.communicate() for each in both
            ]
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.3))
        killed, other = generator.sample(both, 2)
        killed.kill()
        killed.communicate()
        _, said = other.communicate(timeout=300)
        assert other.returncode == 0, said
        assert masks(out) == alone
        assert not list(out.glob(".partial*")), "what was half written is gone"
        counts = Counter(done(out))
        assert set(counts) == {name.removesuffix(".nii.gz") for name in alone}
        # A mask that was there when its process was killed before it wrote the line is made again.
        assert set(counts.values()) == {1}


def test_the_table_of_volumes_is_written_in_turn(run, make_scan, tmp_path):
    """Of two runs that end at once the later one writes what both have done."""
    scans = [make_scan(name) for name in "ab"]
    job = Job(statistics=True)
    run(scans[0], job=job)
    with claimed(tmp_path / "out", "statistics.csv") as other:
        soon = threading.Timer(0.3, lambda: (add_line(tmp_path / "out"), end(other)))
        soon.start()
        run(scans[1], job=job)
        soon.join()
    rows = (tmp_path / "out" / "statistics.csv").read_text().splitlines()
    assert {row.partition(",")[0] for row in rows} == {"scan", "a", "b", "later"}


def add_line(folder: Path) -> None:
    outcome = Outcome("later", "done", mask="later.nii.gz", volumes_ml={"liver": 1.0})
    append_outcome(folder / MANIFEST, outcome)
