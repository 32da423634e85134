"""Ray: the same files as in one process, and nothing lost with a worker."""

import json
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from attnseg.errors import RunError, UsageError
from attnseg.files import temporary_path
from attnseg.inference.predict import predict

pytest.importorskip("ray", reason="Ray is not installed (pip install 'attnseg[ray]')")


def test_unknown_engines_and_workers_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="--engine dask: unknown; use local or ray"):
        predict([tmp_path], tmp_path, engine="dask")
    with pytest.raises(UsageError, match="--workers 2: for --engine ray"):
        predict([tmp_path], tmp_path, workers=2)
    with pytest.raises(UsageError, match="--workers 0: must be 1 or more"):
        predict([tmp_path], tmp_path, engine="ray", workers=0)


def test_ray_that_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'attnseg\[ray\]'"):
        predict([tmp_path], tmp_path, engine="ray")


@pytest.fixture(scope="module")
def cluster():
    """Two processors in the same way as `attnseg predict` starts a cluster where none runs."""
    from attnseg.inference import ray_engine

    said = []
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as home:
        patch.setenv("HOME", home)  # Ray keeps its token there
        changes = {"num_cpus": 2, "_temp_dir": f"{home}/ray"}
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
        patch.setattr(ray_engine, "LOCAL_CLUSTER", ray_engine.LOCAL_CLUSTER | changes)
        with ray_engine.connected(said.append):
            yield said


@pytest.fixture
def scans(make_scan, tmp_path):
    for seed, name in enumerate(("a", "b", "c", "d")):
        make_scan(name, seed=seed)
    # Its header is whole: what is wrong is seen by the worker that reads it.
    whole = (tmp_path / "scans" / "a.nii.gz").read_bytes()
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "scans"


@pytest.fixture
def spread(cluster, scans, make_model, tmp_path):
    """Predict on two workers."""
    model = make_model()

    def run(output="ray", inputs=None, **changes):
        settings = {"engine": "ray", "workers": 2, "device": "cpu"} | changes
        return predict(inputs or [scans], tmp_path / output, model=model, **settings)

    return run


def masks(folder):
    return {path.name: path.read_bytes() for path in folder.glob("[a-z]*.nii.gz")}


def lines(folder):
    text = (folder / "manifest.jsonl").read_text()
    return {line["name"]: line for line in map(json.loads, text.splitlines())}


@pytest.mark.slow
def test_two_workers_give_the_files_of_one_process(spread, cluster, make_scan, tmp_path, capsys):
    spread("local", engine="local", workers=None)
    outcomes = spread()
    assert len(masks(tmp_path / "local")) == 4
    assert masks(tmp_path / "ray") == masks(tmp_path / "local")
    here, there = lines(tmp_path / "local"), lines(tmp_path / "ray")
    same = (
        "state", "scan", "mask", "model", "settings", "backend", "windows", "tiles", "versions",
    )  # fmt: skip
    for name, line in here.items():
        assert {key: there[name][key] for key in same} == {key: line[key] for key in same}
    assert there["broken"]["state"] == "failed"
    assert "cut short" in there["broken"]["reason"]
    assert {outcome.state for outcome in outcomes} == {"done", "failed"}
    assert "Ray, 2 CPU worker(s) on 1 node(s)" in capsys.readouterr().err

    states = {outcome.name: outcome.state for outcome in spread()}
    assert states == {**dict.fromkeys("abcd", "skipped"), "broken": "failed"}
    other = make_scan("a", seed=9, folder="patientB")
    with pytest.raises(UsageError, match=r"a\.nii\.gz was made of .*scans/a.*patientB/a"):
        spread(inputs=[other])
    make_scan("a", seed=9)
    states = {outcome.name: outcome for outcome in spread()}
    assert (states["a"].state, states["b"].state) == ("done", "skipped")
    assert "has changed" in states["a"].warnings[0]
    assert cluster == [
        "no Ray cluster runs here; starting one on this machine (`ray start` joins several)"
    ]


@pytest.mark.slow
def test_nothing_is_lost_with_a_worker(spread, tmp_path, monkeypatch, capsys):
    """The worker that begins the second scan is killed; one scan takes down every worker."""
    from attnseg.inference import crew

    begun, killed = tmp_path / "begun", tmp_path / "killed"
    begun.mkdir()

    class Fragile(crew.Worker):  # local classes travel to the workers by value
        def predict(self, scan, *rest):
            (begun / scan.name).touch()
            second = len(list(begun.iterdir())) >= 2 and not killed.exists()
            if second:
                killed.touch()
            if second or scan.name == "c":
                os.kill(os.getpid(), signal.SIGKILL)
            return super().predict(scan, *rest)

    monkeypatch.setattr(crew, "Worker", Fragile)
    states = {outcome.name: outcome for outcome in spread()}
    assert killed.exists()
    assert "its worker on" in capsys.readouterr().err
    assert {name: each.state for name, each in states.items()} == {
        "a": "done", "b": "done", "broken": "failed", "c": "failed", "d": "done",
    }  # fmt: skip
    assert "took down its worker 3 times" in states["c"].reason
    assert "--max-ram" in states["c"].reason
    assert "\n" not in states["c"].reason
    monkeypatch.undo()
    spread("local", engine="local", workers=None)
    found = masks(tmp_path / "local")
    found.pop("c.nii.gz")
    assert masks(tmp_path / "ray") == found


@pytest.mark.slow
def test_a_signal_ends_the_workers_and_leaves_whole_files(spread, tmp_path, monkeypatch):
    import ray

    from attnseg.inference import crew

    class Stuck(crew.Worker):
        def predict(self, scan, output, *rest):
            if scan.name == "b":
                with temporary_path(output / scan.mask_name) as half:
                    half.write_bytes(b"half")
                    signal.pause()
            return super().predict(scan, output, *rest)

    half = ".partial-*-b.nii.gz"
    wait = ray.wait

    asked = []

    def interrupted(*arguments, **options):
        if list((tmp_path / "ray").glob(half)) and not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return wait(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(crew, "Worker", Stuck)
        patch.setattr(ray, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            spread()
    assert "b.nii.gz" not in masks(tmp_path / "ray")
    assert not list((tmp_path / "ray").glob(".partial-*")), "those of the workers went with them"
    again = spread(engine="local", workers=None)
    assert {outcome.name: outcome.state for outcome in again}["b"] == "done"
    assert len(masks(tmp_path / "ray")) == 4
    assert not list((tmp_path / "ray").glob(".partial-*"))


@pytest.mark.slow
def test_a_cluster_that_does_not_see_the_files_is_told(spread, monkeypatch, capsys):
    from attnseg.inference import crew

    class Elsewhere(crew.Worker):
        def load(self, models, settings, *, threads, needed):
            needed = [path / "not mounted" for path in needed]
            return super().load(models, settings, threads=threads, needed=needed)

    monkeypatch.setattr(crew, "Worker", Elsewhere)
    with pytest.raises(RunError, match=r"no Ray worker is left for 5 scan\(s\) .* is not there; "):
        spread(workers=1)
    assert "a worker cannot start on" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_joins_the_running_cluster_and_nothing_is_reported(
    cluster, scans, make_model, tmp_path
):
    import ray

    command = [sys.executable, "-m", "attnseg", "predict", scans, "-m", make_model()]
    command += ["-o", tmp_path / "out", "--engine", "ray", "--device", "cpu", "--statistics"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Ray, 1 CPU worker(s) on 1 node(s)" in done.stderr
    assert "starting one" not in done.stderr
    assert len(masks(tmp_path / "out")) == 4
    assert (tmp_path / "out" / "statistics.csv").exists()
    seen = ray.remote(lambda: os.environ["RAY_USAGE_STATS_ENABLED"])
    assert ray.get(seen.remote()) == "0"


@pytest.mark.slow
def test_two_drivers_share_the_scans(cluster, spread, scans, make_model, tmp_path):
    """Their workers want the same processors: who comes second waits, and loses nothing."""
    spread("local", engine="local", workers=None)
    command = [sys.executable, "-m", "attnseg", "predict", scans, "-m", make_model()]
    command += ["-o", tmp_path / "ray", "--engine", "ray", "--workers", "2", "--device", "cpu"]
    drivers = [
        subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for each in drivers:
        _, said = each.communicate(timeout=200)
        assert each.returncode in (0, 3), said
        assert "Traceback" not in said
    assert masks(tmp_path / "ray") == masks(tmp_path / "local")
    done = [json.loads(text) for text in (tmp_path / "ray/manifest.jsonl").read_text().splitlines()]
    assert sorted(line["name"] for line in done if line["state"] == "done") == list("abcd")
    assert not list((tmp_path / "ray").glob(".partial-*"))
