"""Scans are planned while the first are predicted; the back end is settled as for all at once."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from attnseg.errors import DataError
from attnseg.inference import Predictor, find_scans, plan_cohort, predict_cohort, work
from attnseg.inference.sources import Scan
from attnseg.inference.work import Job


@pytest.fixture
def scans(make_scan, tmp_path):
    for seed in range(5):
        make_scan(f"s{seed}", seed=seed)
    return find_scans([tmp_path / "scans"], num_channels=1)


def test_masks_are_written_before_the_last_header_is_read(scans, make_model, tmp_path):
    """The last header comes when the first scan has ended, and not before."""
    predictor = Predictor.load(make_model(), device="cpu", backend="torch")
    ended, outline = threading.Event(), predictor.outline
    planned, planned_by_then = [], []

    def wait_for_the_first(*sources):
        if sources == scans[-1].paths:
            assert ended.wait(60), "planning was waited for"
        return outline(*sources)

    def on_outcome(outcome):
        if not ended.is_set():
            planned_by_then.extend(planned)
        ended.set()

    predictor.outline = wait_for_the_first
    outcomes = predict_cohort(
        scans, predictor, tmp_path / "out", model_id="x",
        on_plan=lambda each: planned.append(each.scan.name), on_outcome=on_outcome,
    )  # fmt: skip
    assert [outcome.state for outcome in outcomes] == ["done"] * 5
    assert planned_by_then == ["s0", "s1", "s2"], "one ahead of the one at hand"
    assert planned == [scan.name for scan in scans], "each is told once"


@pytest.fixture
def settled(make_scan, make_model, monkeypatch):
    """What the back end is settled by for scans of so many windows, and how many are seen first."""
    predictor = Predictor.load(make_model(), device="cpu")
    real, runner = predictor.outline(make_scan()), predictor.runner
    started, seen = [], []

    def windows_of(outline):
        seen.append(outline)
        return outline.stored_bytes

    monkeypatch.setattr(
        predictor, "outline", lambda path: replace(real, stored_bytes=int(path.name))
    )
    monkeypatch.setattr(predictor, "windows_of", windows_of)
    monkeypatch.setattr(runner, "start", lambda windows, **rest: started.append(windows))

    def settle(windows):
        started.clear()
        seen.clear()
        cohort = [Scan(f"s{i}", (Path(str(count)),)) for i, count in enumerate(windows)]
        next(plan_cohort(cohort, predictor, Job()))
        return runner._choice(started[0], "auto"), len(seen), runner._choice(sum(windows), "auto")

    return settle


# Of the tiny model's: a hundredth of the work that is worth compiling is about this many.
FEW, MANY = 2_000, 10**7


@pytest.mark.parametrize(
    "windows",
    [
        [1], [0, 1, 2], [MANY], [1, MANY, 1], [FEW] * work.SEEN, [1] * (work.SEEN - 1) + [MANY],
        [FEW * i for i in range(work.SEEN)],
    ],
)  # fmt: skip
def test_small_cohorts_get_the_back_end_that_all_their_work_is_worth(settled, windows):
    pytest.importorskip("openvino")
    chosen, _, of_all = settled(windows)
    assert chosen == of_all


def test_a_large_cohort_is_not_read_through_before_it_begins(settled):
    pytest.importorskip("openvino")
    assert settled([MANY] * 1000) == ("openvino", 1, "openvino"), "the first one decides it"
    # None is worth it alone, and all of them are: the first ones stand for the others.
    chosen, seen, of_all = settled([100] * 1000)
    assert (chosen, of_all) == ("openvino", "openvino")
    assert seen == work.SEEN
    assert settled([0] * 1000) == ("torch", work.SEEN, "torch")


@pytest.mark.parametrize("seen", [1, 2, 32])
def test_a_scan_without_room_beside_openvino_is_predicted_by_pytorch(
    scans, make_model, tmp_path, monkeypatch, seen
):
    """From its turn on; from the first scan on where it is among those that are seen first."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(work, "SEEN", seen)
    monkeypatch.setattr("attnseg.inference.backends._WORTH_COMPILING", 1)
    model = make_model()
    predictor = Predictor.load(model, device="cpu", max_ram=2**40)
    plan = predictor.plan

    def no_room_for_the_third(outline, *, source, **rest):
        if source == str(scans[2].paths[0]) and predictor.runner.backend == "openvino":
            raise DataError("no room")
        return plan(outline, source=source, **rest)

    predictor.plan = no_room_for_the_third
    outcomes = predict_cohort(scans, predictor, tmp_path / "out", model_id="x")
    used = [outcome.backend for outcome in outcomes]
    assert used == (["torch"] * 5 if seen == 32 else ["openvino"] * 2 + ["torch"] * 3)
    for scan, outcome in zip(scans, outcomes, strict=True):
        alone = Predictor.load(model, device="cpu", backend=outcome.backend)
        predict_cohort([scan], alone, tmp_path / "alone", model_id="x")
        masks = [(tmp_path / folder / scan.mask_name).read_bytes() for folder in ("out", "alone")]
        assert masks[0] == masks[1]
