"""Every command that writes, on a disk without room: one line, nothing half written, done later."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from predicted import predicted
from small_disk import largest_file, small_disk

from attnseg.images import Geometry, Image, write_image, write_labels
from attnseg.lock_file import LOCK_FILE
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

# Relative to the folder of `place`; OUT is the folder that is written to.
PREDICT = "predict data/images -m model.safetensors -o OUT --device cpu --backend torch"
COMMANDS = {
    "nifti": PREDICT,
    "mha": f"{PREDICT} --format mha",
    "nrrd": f"{PREDICT} --format nrrd",
    "per label": f"{PREDICT} --per-label",
    "statistics": f"{PREDICT} --statistics",
    "probabilities": f"{PREDICT} --save-probabilities",
    "maps": f"{PREDICT} --save-attention",
    "attention": "attention data/images -m model.safetensors -o OUT --device cpu --replaced 0",
    "report": "report masks --ref data/labels --images data/images -o OUT/r.html",
    "sheet": "report masks --ref data/labels --images data/images -o OUT/r.html --sheet OUT/s.png",
    "evaluate": "evaluate masks data/labels --json OUT/e.json --csv OUT/e.csv",
    "compare": "compare masks data/labels --ref data/labels --json OUT/c.json --csv OUT/c.csv "
    "--html OUT/c.html --images data/images",
    "view": "view data/images/c0.nii.gz data/labels/c0.nii.gz -o OUT/v.html",
    "plan": "plan data -o OUT/plan.json --no-probe --device cpu",
    "check": "check data --json OUT/c.json --html OUT/c.html",
    "fix": "check broken --fix OUT",
    "convert": "convert data OUT/nnunet --layout nnunet",
    "convert anew": "convert data OUT/mha --format mha",
    "convert scans": "convert data/images OUT --format nrrd",
}
# Seconds each, most of them matplotlib's.
SLOW = {"attention", "report", "sheet"}
# What a run tells of when it ran is another each time.
CHANGING = (".jsonl", ".html", "attention.json", "plan.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A data set, one that can be mended, a model, and its masks."""
    folder = tmp_path_factory.mktemp("place")
    for number in range(3):
        generator = np.random.default_rng(number)
        labels = np.zeros((18, 16, 10), np.uint8)
        labels[4:12, 3 + number : 11 + number, 2:8] = 1
        array = (labels * 50 + generator.normal(10, 5, labels.shape)).astype(np.float32)
        image = Image(array[None], Geometry(labels.shape, np.diag([-1.0, -1.0, 1.5, 1.0])))
        broken = array.copy()
        broken[0, 0, 0] = np.nan if number == 1 else 0
        for name, voxels in (("data", array), ("broken", broken)):
            scan = Image(voxels[None], image.geometry)
            write_image(folder / name / "images" / f"c{number}.nii.gz", scan)
            target = folder / name / "labels" / f"c{number}.nii.gz"
            write_labels(target, labels, like=image, dtype=np.dtype(np.uint8))
        predicted(folder / "masks", f"c{number}", labels=labels, image=image)
    torch.manual_seed(0)
    net = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,), gate_finest=True)
    torch.nn.init.normal_(net.heads[0].weight, std=3.0)
    spec = ModelSpec.model_validate(
        {
            "architecture": net.architecture,
            "preprocessing": {
                "spacing_mm": (1.0, 1.0, 1.5),
                "normalization": [{"scheme": "zscore"}],
            },
            "channel_names": ["CT"],
            "labels": [{"value": 0, "name": "background"}, {"value": 1, "name": "box"}],
            "patch": (12, 16, 8),
        }
    )
    save_model(folder / "model.safetensors", net, spec)
    return folder


@pytest.fixture
def run(attnseg, place, monkeypatch) -> Callable[..., object]:
    """Run a command of the table into a folder, with --overwrite where a message asks for it."""
    monkeypatch.chdir(place)

    def call(command: str, output: Path, *further: str):
        return attnseg(*command.replace("OUT", str(output)).split(), *further)

    return call


def files(folder: Path) -> dict[str, bytes]:
    """Path → content; the hidden file of locks is left out."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if path.name != LOCK_FILE
    }


def steady(found: dict[str, bytes]) -> dict[str, bytes | None]:
    return {name: None if name.endswith(CHANGING) else found[name] for name in found}


def hold_to(result, output: Path, reference: dict[str, bytes]) -> None:
    """The rules of a command that found no room."""
    assert result.code in (1, 3), result.out + result.err
    assert "Traceback" not in result.out + result.err
    told = " ".join((result.out + result.err).split())
    assert "larger than a file may be" in told or "no space left" in told or " free;" in told, told
    assert ".partial-" not in told
    assert "rows:" not in told
    if result.code == 1:
        assert result.err.count("attnseg: ") == 1, result.err
    found = files(output)
    assert not [name for name in found if ".partial-" in name]
    assert found.keys() <= reference.keys()
    for name, content in steady(found).items():
        if content is not None and name.endswith("attention.csv"):  # scans that had room alone
            assert set(content.splitlines()) <= set(reference[name].splitlines())
        else:
            assert content in (None, reference[name]), name


def complete(run, result, command: str, output: Path, reference: dict[str, bytes]) -> None:
    """With room the command that was told does what is missing."""
    further = ["--overwrite"] if "--overwrite" in result.err else []
    again = run(command, output, *further)
    assert again.code == 0, again.err
    assert steady(files(output)) == steady(reference)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in COMMANDS],
)
def test_files_without_room(run, tmp_path, kind) -> None:
    command = COMMANDS[kind]
    first = run(command, tmp_path / "reference")
    assert first.code == 0, first.out + first.err
    reference = files(tmp_path / "reference")
    largest = max(map(len, reference.values()))
    for number, size in enumerate((0, largest // 2, largest - 1)):
        output = tmp_path / f"out{number}"
        with largest_file(size):
            result = run(command, output)
        if number < 2 or result.code:  # times in a manifest are longer or shorter
            hold_to(result, output, reference)
            complete(run, result, command, output, reference)


@pytest.mark.parametrize("kind", COMMANDS)
def test_disks_of_any_size(run, tmp_path, kind, request) -> None:
    if not request.config.getoption("--soak"):
        pytest.skip("mounts file systems; run with --soak")
    command = COMMANDS[kind]
    first = tmp_path / "first" / "out"  # as deep as the disk's: paths in files are relative
    assert run(command, first).code == 0
    reference = files(first)
    for kilobytes in (4, 8, 12, 16, 24, 32, 48, 64, 100, 160, 256, 400):
        disk = tmp_path / "disk"
        with small_disk(disk, kilobytes) as resize:
            result = run(command, disk / "out")
            if result.code:
                hold_to(result, disk / "out", reference)
            resize(100_000)
            if result.code:
                complete(run, result, command, disk / "out", reference)
