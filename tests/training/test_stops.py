"""A stop ends training with the last step saved, and every other command where it stands."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from chaos import hears
from stuck import leftovers, stop_where_stuck

SETTINGS = [
    "model.patch=[16,16,8]", "model.channels=[4,8]", "data.num_folds=3", "training.batch_size=1",
    "training.steps_per_epoch=2", "training.validation_cases=1",
    "training.validation_every_epochs=1",
]  # fmt: skip
OPTIONS = [text for setting in SETTINGS for text in ("--set", setting)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_validation_is_left_with_the_last_step_saved(toy, tmp_path, kind):
    """However long it takes: nothing of the training is lost, and --resume goes on."""
    run = tmp_path / "run"
    train = ["train", toy, "-o", run, "--epochs", "2", "--device", "cpu", *OPTIONS]
    stop_where_stuck(train, where="attnseg.training.watch:peek", kind=kind)
    assert not leftovers(run)
    again = subprocess.run(
        [sys.executable, "-m", "attnseg", "train", "-o", str(run), "--resume"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "resuming after step 2," in again.stderr
    lines = (run / "fold0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines][-1:] == [4]


@pytest.mark.slow
@pytest.mark.parametrize(
    "where",
    [
        "attnseg.images.nifti:_read",  # checking
        "attnseg.training.cache:_preprocess_case",
        "attnseg.training.finish:validate_fold",
        "attnseg.training.finish:save_model",
    ],
)
def test_around_the_steps_it_stops_where_it_stands(toy, tmp_path, where):
    run = tmp_path / "run"
    train = ["train", toy, "-o", run, "--epochs", "1", "--device", "cpu", *OPTIONS]
    stop_where_stuck(train, where=where)
    assert not leftovers(tmp_path)


COMMANDS = {
    "check": ["check", "{toy}", "--json", "{out}.json"],
    "plan": ["plan", "{toy}", "-o", "{out}.json"],
    "convert": ["convert", "{toy}", "{out}", "--layout", "nnunet"],
    "evaluate": ["evaluate", "{toy}/labels", "{toy}/labels", "--json", "{out}.json"],
    "compare": ["compare", *["{toy}/labels"] * 2, "--ref", "{toy}/labels", "--html", "{out}.html"],
    "view": ["view", "{toy}/images/case0.nii.gz", "-o", "{out}.html", "--no-open"],
}


@pytest.mark.parametrize(
    "command",
    [name if name == "check" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_other_commands_stop_where_they_stand(toy, tmp_path, command):
    given = [text.format(toy=toy, out=tmp_path / "out") for text in COMMANDS[command]]
    stop_where_stuck(given, where="attnseg.images.nifti:_read")
    assert not leftovers(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "where"),
    [
        (["doctor"], "torch.cuda:device_count"),
        (["model", "show", "{model}"], "attnseg.models:describe_model"),
        (["demo", "-o", "{out}"], "attnseg.datasets.phantoms:make_phantom"),
        (["demo", "-o", "{out}"], "attnseg.files:Path.replace"),
    ],
)
def test_what_needs_no_data_stops_where_it_stands(learned, tmp_path, given, where):
    model = learned[0] / "fold0" / "model.safetensors"
    stop_where_stuck(
        [text.format(model=model, out=tmp_path / "out") for text in given], where=where
    )
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_a_report_stops_where_it_stands(learned, tmp_path):
    run, _ = learned
    report = ["report", run, "-o", tmp_path / "out" / "report.html"]
    stop_where_stuck(report, where="attnseg.images.nifti:_read")
    assert not leftovers(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_stop_at_any_moment_of_any_command(toy, tmp_path, full):
    """From the moment on that the process can hear it; what is written is whole."""
    generator = random.Random(0)
    run = ["train", toy, "-o", "{out}/run", "--epochs", "2", "--device", "cpu", *OPTIONS]
    commands = [run, *COMMANDS.values()]
    for index in range(max(3, full(60))):
        out = tmp_path / f"out{index}"
        out.mkdir()
        given = generator.choice(commands)
        given = [str(text).format(toy=toy, out=out / "made") for text in given]
        kind = generator.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        process = subprocess.Popen(
            [sys.executable, "-m", "attnseg", *given],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not hears(process.pid):
            time.sleep(0.001)
        try:
            process.wait(timeout=generator.uniform(0, 8))
        except subprocess.TimeoutExpired:
            process.send_signal(kind)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 130), (given, said)
        assert "Traceback" not in said
        assert not leftovers(out)
        for path in out.rglob("*.json*"):
            lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
            assert all(json.loads(line) for line in lines)
