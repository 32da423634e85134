"""A prediction on a full disk: one line, nothing half written, done by the same command later."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import largest_file

from attnseg.errors import DiskFullError
from attnseg.inference import Job


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("job", [Job(probabilities=True), Job(attention=True)])
def test_rows_without_room_fail_the_scan_and_a_rerun_mends_it(run, make_scan, tmp_path, job):
    scan = make_scan(shape=(26, 34, 18))
    run(scan, output="reference", job=job, backend="torch")
    with largest_file(12_000):
        states, said = run(scan, job=job, backend="torch")
    assert states == {"scan": "failed"}
    assert ".nii.gz: larger than a file may be here" in " ".join(said.split())
    assert names(tmp_path / "out") == {"manifest.jsonl"}
    states, _ = run(scan, job=job, backend="torch")
    assert states == {"scan": "done"}
    assert names(tmp_path / "out") == names(tmp_path / "reference")
    for path in (tmp_path / "reference").glob("*.nii.gz"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_a_manifest_without_room_ends_in_one_line(run, make_scan, tmp_path):
    scan = make_scan()
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.parent.mkdir()
    line = json.dumps({"name": "other", "state": "failed", "text": "x" * 8000}) + "\n"
    manifest.write_text(line + '{"name": "ha')
    with largest_file(8200), pytest.raises(DiskFullError, match=r"manifest\.jsonl: .*is kept$"):
        run(scan, backend="torch")
    assert manifest.read_text() == line  # the half line is gone, and no new one is there
    states, _ = run(scan, backend="torch")
    assert states == {"scan": "done"}
    lines = [json.loads(text) for text in manifest.read_text().splitlines()]
    assert [each["name"] for each in lines] == ["other", "scan"]


@pytest.mark.parametrize("kind", ["--save-probabilities", "--save-attention"])
def test_a_small_disk_of_any_size(make_model, make_scan, tmp_path, request, kind):
    """One line or success, never half a file; with space the same command completes."""
    if not request.config.getoption("--soak"):
        pytest.skip("mounts file systems; run with --soak")
    disk = tmp_path / "disk"
    disk.mkdir()
    model, scans = make_model(), [make_scan(f"s{n}", seed=n, shape=(26, 34, 18)) for n in range(3)]

    def mount(*options: str) -> bool:
        return not subprocess.run(["mount", *options, str(disk)], capture_output=True).returncode

    def predict(output: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            [
                *(sys.executable, "-m", "attnseg", "predict", *map(str, scans), "-m", str(model)),
                *("-o", str(output), "--backend", "torch", "--device", "cpu", kind),
            ],
            capture_output=True, text=True, timeout=300, env=os.environ | {"COLUMNS": "400"},
        )  # fmt: skip

    assert predict(tmp_path / "reference").returncode == 0
    reference = {path.name: path.read_bytes() for path in (tmp_path / "reference").glob("*.nii.gz")}
    for kilobytes in (4, 8, 16, 32, 64, 100, 128, 160, 200, 256, 400, 1000):
        if not mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs"):
            pytest.skip("file systems cannot be mounted here")
        try:
            result = predict(disk / "out")
            said = result.stdout + result.stderr
            assert result.returncode in (0, 1, 3), said
            assert "Traceback" not in said
            there = {path.name: path for path in disk.rglob("*") if path.is_file()}
            assert not [name for name in there if name.startswith(".partial-")]
            for name in there.keys() & reference.keys():
                assert there[name].read_bytes() == reference[name]
            if "manifest.jsonl" in there:
                for line in there["manifest.jsonl"].read_text().splitlines():
                    json.loads(line)
            assert mount("-o", "remount,size=100m")
            result = predict(disk / "out")
            assert result.returncode == 0, result.stderr
            for name, content in reference.items():
                assert (disk / "out" / name).read_bytes() == content
        finally:
            subprocess.run(["umount", str(disk)], check=True)
