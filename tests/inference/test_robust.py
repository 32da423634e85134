"""A cohort that meets bad scans, is killed, or runs for long."""

import json
import random
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from attnseg.inference import Predictor, find_scans, predict_cohort
from attnseg.memory import release_freed_memory, resident_bytes

FOUR_D = np.zeros((6, 5, 4, 3), np.float32)


def command(folder, model):
    return [
        sys.executable, "-m", "attnseg", "predict", str(folder / "scans"), "-m", str(model),
        "-o", str(folder / "out"), "--backend", "torch", "--device", "cpu",
    ]  # fmt: skip


def masks(folder):
    return {path.name: path.read_bytes() for path in (folder / "out").glob("*.nii.gz")}


def lines(folder):
    text = (folder / "out" / "manifest.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_ten_scans_of_which_three_are_broken(make_model, make_scan, tmp_path):
    """Seven masks, three reasons, exit code 3; a rerun touches only what is missing."""
    model = make_model()
    paths = [make_scan(f"s{index}", seed=index) for index in range(10)]
    paths[2].write_bytes(paths[2].read_bytes()[:-500])
    nan = np.full((6, 5, 4), np.nan, np.float32)
    nib.Nifti1Image(nan, np.eye(4)).to_filename(paths[5])
    nib.Nifti1Image(FOUR_D, np.eye(4)).to_filename(paths[7])
    done = subprocess.run(command(tmp_path, model), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "7 done, 3 failed" in done.stderr
    states = {line["name"]: line for line in lines(tmp_path)}
    reasons = {name: line["reason"] for name, line in states.items() if line["state"] == "failed"}
    assert list(reasons) == ["s2", "s5", "s7"]
    assert "cut short" in reasons["s2"]
    assert "120 of 120 voxels are NaN" in reasons["s5"]
    assert "(6, 5, 4, 3) where a 3D image or a 4D one of 1 channel(s) is expected" in reasons["s7"]
    for line in states.values():
        assert line["versions"]["attnseg"]
        if line["state"] == "done":
            assert set(line["seconds"]) == {"reading", "network", "export", "writing"}
            assert line["peak_ram_mb"] > 50
            assert line["backend"] == "torch"
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    assert len(written) == 7
    missing = tmp_path / "out" / "s4.nii.gz"
    missing.unlink()
    again = subprocess.run(command(tmp_path, model), capture_output=True, text=True)
    assert again.returncode == 3
    assert "1 done, 6 skipped, 3 failed" in again.stderr
    for path, stamp in written.items():
        assert (path.stat().st_mtime_ns == stamp) == (path != missing)


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost(make_model, make_scan, tmp_path, full):
    """Never a partial mask under its final name; a rerun ends with every scan."""
    model = make_model()
    names = [f"s{index}" for index in range(6)]
    for index, name in enumerate(names):
        make_scan(name, seed=index, shape=(30, 31, 32))
    begin = time.monotonic()
    subprocess.run(command(tmp_path, model), check=True, capture_output=True)
    whole = time.monotonic() - begin
    expected = masks(tmp_path)
    assert len(expected) == 6
    generator = random.Random(0)
    hits = 0
    for _ in range(max(2, full(20))):
        (tmp_path / "out").rename(tmp_path / f"before-{hits}-{generator.random()}")
        process = subprocess.Popen(
            command(tmp_path, model), stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(timeout=generator.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            hits += 1
        if (tmp_path / "out").exists():
            assert masks(tmp_path).items() <= expected.items()
        done = subprocess.run(command(tmp_path, model), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert masks(tmp_path) == expected
        states = {line["name"]: line["state"] for line in lines(tmp_path)}
        assert states == dict.fromkeys(names, "done")
        assert not list((tmp_path / "out").glob(".partial-*"))
    assert hits > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_stops_with_whole_files(make_model, make_scan, tmp_path, kind):
    model = make_model()
    for index in range(60):
        make_scan(f"s{index}", seed=index, shape=(60, 61, 42))
    process = subprocess.Popen(
        command(tmp_path, model), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list((tmp_path / "out").glob("*.nii.gz")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(kind)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert 0 < len(masks(tmp_path)) < 60
    for path in (tmp_path / "out").glob("*.nii.gz"):
        assert nib.load(path).get_fdata().shape == (60, 61, 42)
    assert not list((tmp_path / "out").glob(".partial-*"))


@pytest.mark.slow
def test_memory_stays_flat(make_model, make_scan, tmp_path, full):
    """Resident memory over the last quarter of many scans is that over the first, within 3 %."""
    count = max(40, full(200))
    for index in range(count):
        make_scan(f"s{index:03}", seed=index, shape=(14 + index % 7, 20, 12))
    taken = []

    def note(outcome):
        release_freed_memory()
        taken.append(resident_bytes())

    predictor = Predictor.load(make_model(), device="cpu", backend="torch")
    scans = find_scans([tmp_path / "scans"], num_channels=1)
    predict_cohort(scans, predictor, tmp_path / "out", model_id="x", on_outcome=note)
    assert len(taken) == count
    quarter = count // 4
    first, last = np.mean(taken[:quarter]), np.mean(taken[-quarter:])
    assert last == pytest.approx(first, rel=0.03)
