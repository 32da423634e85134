"""A prediction that is stuck somewhere in C obeys a stop, and leaves whole files."""

import json
import signal
import subprocess
import sys

import nibabel as nib
import pytest
from stuck import leftovers, stop_where_stuck

from attnseg.inference.predict import predict

slow = pytest.mark.slow
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.mark.parametrize(
    ("stage", "where", "kind"),
    [
        ("network", "attnseg.inference.runner:Runner.__call__", TERM),
        ("writing", "attnseg.files:Path.replace", HUP),
        pytest.param("loading", "attnseg.inference.predictor:load_model", INT, marks=slow),
        pytest.param("planning", "attnseg.inference.predictor:read_outline", TERM, marks=slow),
        pytest.param("reading", "attnseg.inference.predictor:read_case", TERM, marks=slow),
        pytest.param("export", "attnseg.inference.predictor:_hand_over", TERM, marks=slow),
        pytest.param("after", "attnseg.inference.predictor:apply", INT, marks=slow),
    ],
)
def test_it_stops_where_it_stands(make_model, make_scan, tmp_path, stage, where, kind):
    for seed, name in enumerate("abc"):
        make_scan(name, seed=seed)
    out, model = tmp_path / "out", make_model()
    predict([tmp_path / "scans" / "a.nii.gz"], out, model=model, device="cpu")
    before = (out / "manifest.jsonl").read_text()
    stop_where_stuck(
        ["predict", tmp_path / "scans", "-m", model, "-o", out, "--device", "cpu",
         "--save-probabilities", "--statistics"],
        where=where, kind=kind,
    )  # fmt: skip
    assert not leftovers(tmp_path), stage
    text = (out / "manifest.jsonl").read_text()
    assert text.startswith(before)
    assert [json.loads(line)["state"] for line in text.splitlines()] == ["done"]
    for mask in out.glob("*.nii.gz"):
        nib.load(mask).get_fdata()


@slow
@pytest.mark.parametrize(
    ("where", "options"),
    [
        ("attnseg.inference.taken:compare_scan", ["--verify"]),
        ("attnseg.inference.budget:Blocks.of", ["--dry-run", "--overwrite"]),
    ],
)
def test_hashing_and_a_dry_run_stop(make_model, make_scan, tmp_path, where, options):
    make_scan("a")
    out, model = tmp_path / "out", make_model()
    predict([tmp_path / "scans"], out, model=model, device="cpu")
    stop_where_stuck(["predict", tmp_path / "scans", "-m", model, "-o", out, *options], where=where)


@slow
@pytest.mark.parametrize("where", ["attnseg.images.nifti:_read", "attnseg.files:Path.replace"])
def test_attention_stops_where_it_stands(make_model, make_scan, tmp_path, where):
    scan, model = make_scan("a"), make_model()
    stop_where_stuck(["attention", scan, "-m", model, "-o", tmp_path / "out"], where=where)
    assert not leftovers(tmp_path)


@slow
@pytest.mark.parametrize("kind", [TERM, INT])
def test_a_second_signal_ends_it_at_once(tmp_path, kind):
    """Although the block that was asked says it will end by itself."""
    script = """
import hashlib
from attnseg.files import atomic_path
from attnseg.signals import end_on_signals, stop_on_signals
from pathlib import Path
import sys
end_on_signals()
with stop_on_signals(patient=True), atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("STUCK", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "file")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "STUCK\n"
    process.send_signal(kind)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=3)
    process.send_signal(kind)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "attnseg: stopped; files that were written are whole\n"
    assert not list(tmp_path.iterdir())


def test_what_is_ignored_stays_ignored_and_other_signals_are_no_stop():
    """SIGHUP under nohup; a child that has ended, in a process that looks out for such."""
    script = """
import os, signal, time
from attnseg.signals import end_on_signals, stop_asked
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, lambda *given: None)
end_on_signals()
os.kill(os.getpid(), signal.SIGHUP)
os.kill(os.getpid(), signal.SIGCHLD)
child = os.fork()
if not child:
    time.sleep(30)
os.kill(child, signal.SIGUSR1)
os.waitpid(child, 0)
time.sleep(0.5)
print(stop_asked())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"False\n", b"")


@slow
@pytest.mark.parametrize("kind", [TERM, INT])
def test_a_stop_before_anything_is_loaded(kind):
    """As soon as there is code of attnseg that could hear it."""
    script = """
import os, signal, sys
import attnseg.__main__ as entry
begin = entry.end_on_signals
def begin_and_be_stopped():
    begin()
    os.kill(os.getpid(), int(sys.argv[1]))
entry.end_on_signals = begin_and_be_stopped
entry.start()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(int(kind))], capture_output=True, timeout=60, text=True
    )
    assert done.returncode == 130
    assert done.stderr == "attnseg: stopped; files that were written are whole\n"
