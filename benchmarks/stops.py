"""Seconds from SIGTERM to the end of a command that is in the midst of something long.

    python benchmarks/stops.py --data ../shared/data/hippocampus --model runs/hippo

One command a stage, asked to stop as soon as it has got there: planning (a scan of
2000×2000×800 voxels under a bound of memory), reading (a packed scan that takes many seconds),
network (a window that takes several), export (probabilities of a fine grid from a coarse model) and
training (steps, and a validation). `--attnseg` names another program to compare with. A command
that has not ended after a minute is killed, and its seconds are null; one that had ended before it
was asked says so.
"""

import argparse
import gzip
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Stage:
    """A command, and how to see that it has come to where it is to be stopped.

    Args:
        name: of the stage.
        arguments: of the command line.
        reached: called with what was said on stderr so far and the seconds since the beginning.
    """

    name: str
    arguments: Sequence[str]
    reached: Callable[[str, float], bool]


def stop(program: Path, stage: Stage, folder: Path) -> dict:
    """What came of it."""
    log = folder / "said.txt"
    with log.open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [str(program), *stage.arguments], stdout=said, stderr=said, cwd=folder
        )
        begin = time.monotonic()
        while process.poll() is None and not stage.reached(
            log.read_text(encoding="utf-8"), time.monotonic() - begin
        ):
            time.sleep(0.02)
        time.sleep(0.3)
        if process.poll() is not None:
            return {"stage": stage.name, "ended_before": round(time.monotonic() - begin, 1)}
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=LIMIT_SECONDS)
            seconds = round(time.monotonic() - asked, 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            seconds = None
    left = [path.name for path in folder.rglob(".partial-*")]
    for path in left:
        next(folder.rglob(path)).unlink(missing_ok=True)
    return {
        "stage": stage.name,
        "seconds": seconds,
        "exit_code": process.returncode,
        "left_behind": left,
        "traceback": "Traceback" in log.read_text(encoding="utf-8"),
    }


def stages(folder: Path, data: Path, model: Path, out: Path) -> list[Stage]:
    """The five of them, their inputs written to `folder`."""
    giant = _sparse(folder / "giant.nii", (2000, 2000, 800))
    packed = _packed(folder / "packed.nii.gz", (640, 640, 640))
    small = _sparse(folder / "small.nii", (200, 200, 200))
    wide = _model(folder / "wide.safetensors", patch=(160, 160, 160), channels=(32, 64))
    coarse = _model(folder / "coarse.safetensors", patch=(32, 32, 32), spacing=4.0, classes=12)
    cpu = ["--device", "cpu", "--backend", "torch"]
    predict = ["predict", "-o", str(out / "masks"), *cpu, "--overwrite"]
    train = [
        "train", str(data), "--epochs", "1000", "--device", "cpu",
        "--set", "training.steps_per_epoch=4", "--set", "training.validation_every_epochs=1",
        "--set", "model.patch=[32,32,32]", "--set", "training.batch_size=2",
    ]  # fmt: skip

    def trained(run: str, validation: int) -> list[str]:
        cases = ["--set", f"training.validation_cases={validation}"]
        return [*train, "-o", str(out / run), "--overwrite", *cases]

    def metrics(run: str) -> bool:
        path = out / run / "fold0" / "last.ckpt"
        return path.exists()

    return [
        Stage(
            "planning",
            [*predict, str(giant), "-m", str(model), "--max-ram", "2G", "--dry-run"],
            lambda said, seconds: seconds > 2,
        ),
        Stage(
            "reading",
            [*predict, str(packed), "-m", str(model)],
            lambda said, seconds: "back end" in said,
        ),
        Stage(
            "network",
            [*predict, str(small), "-m", str(wide)],
            lambda said, seconds: "back end" in said,
        ),
        Stage(
            "export",
            [*predict, str(packed), "-m", str(coarse), "--save-probabilities"],
            lambda said, seconds: bool(list(out.rglob(".partial-*probabilities*"))),
        ),
        Stage("training, steps", trained("steps", 0), lambda said, seconds: metrics("steps")),
        Stage("training, validation", trained("held", 50), lambda said, seconds: metrics("held")),
    ]


def _sparse(path: Path, shape: tuple[int, int, int]) -> Path:
    header = _header(shape)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2 * int(np.prod(shape)))
    return path


def _packed(path: Path, shape: tuple[int, int, int]) -> Path:
    """Noise at every thousandth byte: it takes little to write, and its time to read."""
    plane = np.zeros(shape[:2], dtype=np.int16)
    plane.reshape(-1)[::500] = np.random.default_rng(0).integers(0, 500, plane.size // 500 + 1)
    piece = plane.tobytes()
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(_header(shape))
        for _ in range(shape[2]):
            file.write(piece)
    return path


def _header(shape: tuple[int, int, int]) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["pixdim"][1:4] = 1
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4)


def _model(
    path: Path,
    *,
    patch: tuple[int, int, int],
    channels: tuple[int, ...] = (8, 16),
    spacing: float = 1.0,
    classes: int = 3,
) -> Path:
    torch.manual_seed(0)
    network = AttentionUNet(3, 1, classes, channels=channels, strides=(2,) * (len(channels) - 1))
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {
                "spacing_mm": (spacing,) * 3,
                "normalization": [{"scheme": "zscore"}],
            },
            "channel_names": ["image"],
            "labels": [{"value": value, "name": f"label {value}"} for value in range(classes)],
            "patch": patch,
        }
    )
    save_model(path, network, spec)
    return path


def main() -> None:
    """Measure and print, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="data set to train on")
    parser.add_argument("--model", type=Path, required=True, help="run folder or model file")
    parser.add_argument(
        "--attnseg", type=Path, default=Path(sys.executable).parent / "attnseg", help="the program"
    )
    parser.add_argument("--only", nargs="+", help="names of stages")
    parser.add_argument("--scratch", type=Path, help="where inputs of some gigabytes may lie")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        folder = Path(name)
        inputs, out = folder / "inputs", folder / "out"
        inputs.mkdir()
        out.mkdir()
        every = stages(inputs, given.data.resolve(), given.model.resolve(), out)
        chosen = [each for each in every if not given.only or each.name in given.only]
        found = []
        for each in chosen:
            found.append(stop(given.attnseg.absolute(), each, out))
            print(found[-1], file=sys.stderr, flush=True)
    print(json.dumps({"program": given.attnseg.name, "stages": found}, indent=2))


if __name__ == "__main__":
    main()
