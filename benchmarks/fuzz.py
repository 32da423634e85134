"""Model files and run folders with one thing changed: each ends in one line or the right mask.

    python benchmarks/fuzz.py --count 2000 --seed 0

A model, a run, its data and a folder of masks are made once. Each case copies what it needs,
changes one thing (length, type, size, sign, text, order, one bit, another file in its place), and
runs a command that reads it, in a process forked from this one. It fails where

- Python's traceback or a warning is printed, or no line says what was wrong,
- a mask is another than that of the unchanged model, though the change was not signed,
- ten seconds or 2 GB are not enough,
- a file lies where none belongs, or a temporary one is left.

`--only 17` does case 17 of the seed again, keeps its folder and shows what was printed.
"""

import argparse
import collections
import contextlib
import importlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import _common as common
import _mutations as mutations
import numpy as np
import torch
import yaml

from attnseg.cli.app import main as attnseg
from attnseg.cli.output import guard_output
from attnseg.datasets import make_phantoms
from attnseg.files import load_json
from attnseg.images import read_labels
from attnseg.models import AttentionUNet, load_spec, save_model
from attnseg.spec import ModelSpec

SECONDS, BYTES = 10.0, 2 * 10**9
_FOLD = "run/fold0"
_TEXT = ("run/plan.json", "run/splits.json", "run/checked.json", f"{_FOLD}/cases.json",
         f"{_FOLD}/validation.json", "data/dataset.json")  # fmt: skip
_LINES = (f"{_FOLD}/metrics.jsonl", "masks/manifest.jsonl")
_BINARY = (f"{_FOLD}/last.ckpt", f"{_FOLD}/best.safetensors")
_MODELS = ("model3d.safetensors", "model2d.safetensors", f"{_FOLD}/model.safetensors")
_TRAIN = ["--device", "cpu", "--set", "training.steps_per_epoch=2"]


@dataclass(frozen=True)
class Ending:
    """How a command ended: exit code, what it printed, seconds, most bytes; why it was killed."""

    code: int
    out: str
    err: str
    seconds: float
    peak: int
    killed: str = ""


@dataclass(frozen=True)
class Result:
    """A case: what was changed, the command, how it ended, and what is wrong with that."""

    number: int
    file: str
    change: str
    command: str
    code: int
    seconds: float
    peak_mb: int
    said: str
    faults: list[str]


# Running


def run(
    arguments: list[str], folder: Path, *, limit: float = SECONDS, modules: Path | None = None
) -> Ending:
    """A command in a process of its own, in `folder`, watched."""
    out, err = folder.with_name("out.txt"), folder.with_name("err.txt")
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        _child(arguments, folder, out, err, modules)
    peak, killed, usage = 0, "", None
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        peak = max(peak, _resident(child))
        took = time.perf_counter() - begin
        killed = "time" if took > limit else "memory" if peak > BYTES else ""
        if killed:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.004)
    seconds = time.perf_counter() - begin
    code = os.waitstatus_to_exitcode(status)
    texts = [path.read_text(encoding="utf-8", errors="surrogateescape") for path in (out, err)]
    return Ending(code, *texts, seconds, max(peak, 1024 * usage.ru_maxrss), killed)


def _child(arguments: list[str], folder: Path, out: Path, err: Path, modules: Path | None) -> None:
    code = 70
    try:
        os.chdir(folder)
        for number, path in enumerate(("/dev/null", out, err)):
            how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
            os.dup2(os.open(path, how, 0o644), number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            for number in range(3)
        )
        sys.argv = ["attnseg", *arguments]
        guard_output()
        attnseg()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if modules is not None:
            modules.write_text("\n".join(sorted(sys.modules)))
        os._exit(code)


def _resident(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * resource.getpagesize() if len(fields) > 1 else 0


# What is changed


def make_bed(bed: Path) -> None:
    """Data, a run of one fold, two models and masks, by attnseg itself."""
    make_phantoms(bed / "data", num_train=4, num_test=1, shape=(16, 16, 12))
    settings = {
        "data.num_folds": 2, "model.patch": "[16,16,8]", "model.channels": "[4,6]",
        "training.batch_size": 2, "training.validation_every_epochs": 1,
    }  # fmt: skip
    said = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    _must(["train", "data", "-o", "run", "--epochs", "1", *said, *_TRAIN], bed)
    scan = next((bed / "data/imagesTs").iterdir())
    (bed / "scan").mkdir()
    scan.rename(bed / "scan" / scan.name)
    shutil.copy(bed / _FOLD / "model.safetensors", bed / "model3d.safetensors")
    _write_2d(bed / "model2d.safetensors", load_spec(bed / "model3d.safetensors"))
    for kind in ("3d", "2d"):
        _must(predict(f"model{kind}.safetensors", f"reference{kind}"), bed)
    shutil.copytree(bed / "reference3d", bed / "masks")
    _must(["plan", "data", "-o", "plan.json", "--config", "run/config.yaml", "--no-probe"], bed)


def _must(arguments: list[str], bed: Path) -> None:
    ending = run(arguments, bed, limit=300.0, modules=bed.with_name("modules.txt"))
    if ending.code:
        raise SystemExit(f"the bed could not be made: {arguments}\n{ending.out}\n{ending.err}")
    # What the command has imported on its way need not be imported again for every case.
    for name in bed.with_name("modules.txt").read_text().split():
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _write_2d(path: Path, spec: ModelSpec) -> None:
    torch.manual_seed(0)
    network = AttentionUNet(2, 1, 3, channels=(4, 6), strides=(2,), deep_supervision=0)
    changed = spec.model_dump() | {
        "architecture": network.architecture,
        "labels": [{"value": value, "name": f"tissue {value}"} for value in range(4)],
        "regions": [
            {"name": "whole", "members": (1, 2, 3), "value": 1},
            {"name": "core", "members": (2,), "value": 2},
            {"name": "rim", "members": (3,), "value": 7},
        ],
        "preprocessing": {"spacing_mm": (12, 12, 12), "normalization": [{"scheme": "zscore"}]},
        "patch": (16, 16, 1),
        "mirror_axes": (0, 1),
        "after_processing": (),
    }
    save_model(path, network, ModelSpec.model_validate(changed))


def predict(model: str, output: str = "new") -> list[str]:
    """A prediction of the scan within 1.5 GB."""
    return [
        "predict",
        "scan",
        "-m",
        model,
        "-o",
        output,
        "--backend",
        "torch",
        "--max-ram",
        "1500M",
    ]


Mutate = Callable[[random.Random, Path], str]


def _bytes(change: Callable[[random.Random, bytes], tuple[bytes, str]]) -> Mutate:
    def mutate(rng: random.Random, path: Path) -> str:
        content, said = change(rng, path.read_bytes())
        path.write_bytes(content)
        return said

    return mutate


def _json(rng: random.Random, path: Path) -> str:
    said, change = mutations.text(rng, load_json(path))
    path.write_text(said, encoding="utf-8", errors="surrogatepass")
    return change


def _yaml(rng: random.Random, path: Path) -> str:
    said, change = mutations.text(rng, yaml.safe_load(path.read_text()), yaml=True)
    path.write_text(said, encoding="utf-8", errors="surrogatepass")
    return change


def _other(bed: Path) -> Mutate:
    others = [bed / name for name in (*_MODELS, *_TEXT, *_LINES, *_BINARY, "run/config.yaml")]

    def mutate(rng: random.Random, path: Path) -> str:
        return mutations.put_other(rng, path, others)

    return mutate


def _signed(change: Callable[..., tuple[bytes, str]], signed: bool) -> Mutate:
    return _bytes(lambda rng, content: change(rng, content, signed=signed))


def choose(rng: random.Random, bed: Path) -> tuple[str, Mutate, list[str]]:
    """File, what changes it, and a command that reads it."""
    raw, other = _bytes(mutations.raw), _other(bed)
    kind = rng.choices(("model", "text", "config", "lines", "binary", "plan"), (10, 4, 2, 1, 2, 1))[
        0
    ]
    resume = ["train", "--resume", "-o", "run", "--epochs", "2", "--device", "cpu"]
    if kind == "model":
        file = rng.choice(_MODELS)
        ways = [
            raw, other, _bytes(mutations.header), _signed(mutations.model_spec, False),
            *[_signed(mutations.model_spec, True)] * 4,
            _signed(mutations.tensors, False), _signed(mutations.tensors, True),
        ]  # fmt: skip
        commands = [predict(file)] * 4 + [
            [*predict(file), "--dry-run"], ["model", "show", file], ["model", "verify", file],
            ["train", "data", "-o", "new", "--init", file, "--epochs", "1", *_TRAIN,
             "--set", "data.num_folds=2", "--set", "training.batch_size=2"],
        ]  # fmt: skip
        if file.startswith("run"):
            commands = [predict("run"), ["report", "run"], predict(file)]
        return file, rng.choice(ways), rng.choice(commands)
    if kind == "config":
        commands = [
            resume, ["report", "run"],
            ["train", "--fold", "1", "--config", "run/config.yaml", "-o", "run", "--epochs", "1"],
            ["plan", "data", "--config", "run/config.yaml", "-o", "new/plan.json"],
        ]  # fmt: skip
        return (
            "run/config.yaml",
            rng.choice([_yaml, _yaml, _yaml, raw, other]),
            rng.choice(commands),
        )
    if kind == "plan":
        command = ["train", "data", "--plan", "plan.json", "-o", "new", "--epochs", "1",
                   "--set", "data.num_folds=2", *_TRAIN]  # fmt: skip
        return "plan.json", rng.choice([_json, _json, _json, raw, other]), command
    if kind == "text":
        file = rng.choice(_TEXT)
        commands = [resume, ["report", "run"]]
        if file == "data/dataset.json":
            commands = [
                ["check", "data"],
                resume,
                ["plan", "data", "--no-probe", "-o", "new/plan.json"],
            ]
        return file, rng.choice([_json, _json, _json, raw, other]), rng.choice(commands)
    if kind == "lines":
        file = rng.choice(_LINES)
        commands = [resume, ["report", "run"]]
        if file.startswith("masks"):
            commands = [["report", "masks"], predict("model3d.safetensors", "masks"),
                        ["evaluate", "masks", "data/labelsTs"]]  # fmt: skip
        return file, rng.choice([_bytes(mutations.lines)] * 3 + [raw, other]), rng.choice(commands)
    ways = [raw, other, _bytes(mutations.header), *[_signed(mutations.tensors, True)] * 3]
    return rng.choice(_BINARY), rng.choice(ways), resume


# One case


def do_case(number: int, seed: int, bed: Path, work: Path) -> Result:
    """Change one thing, run one command, see how it ends."""
    rng = random.Random(f"{seed}-{number}")
    folder = work / "case"
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(bed, folder, copy_function=os.link, symlinks=True)
    file, mutate, command = choose(rng, bed)
    path = folder / file
    path.unlink()
    shutil.copy(bed / file, path)
    change = mutate(rng, path)
    before = _listing(folder)
    ending = run(command, folder)
    faults = find_faults(ending, folder, before, command, bed, change)
    said = next((line for line in ending.err.splitlines()[::-1] if line.strip()), "")
    return Result(
        number, file, change, " ".join(command), ending.code, round(ending.seconds, 3),
        ending.peak // 10**6, said[:300], faults,
    )  # fmt: skip


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


_ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PLACES = {"predict": ("new", "masks", "reference"), "train": ("new", "run"), "plan": ("new",)}


def find_faults(
    ending: Ending, folder: Path, before: set[str], command: list[str], bed: Path, change: str
) -> list[str]:
    """What is wrong with how a case ended."""
    faults = [f"more than its {ending.killed}"] if ending.killed else []
    everything = ending.out + ending.err
    if "Traceback" in everything:
        faults.append("traceback: " + everything.strip().splitlines()[-1][:300])
    elif ending.code not in (0, 1, 2, 3) and not ending.killed:
        faults.append(f"exit code {ending.code}")
    if "Warning:" in ending.err:
        faults.append("a warning of Python")
    if found := _ESCAPES.search(everything):
        faults.append(f"printed {found[0]!a}")
    if ending.code and not ending.killed and not everything.strip():
        faults.append("ended without a word")
    if ending.code == 1 and "Traceback" not in everything:
        rows = [row for row in ending.err.splitlines() if row.strip()]
        if not any(row.startswith("attnseg: ") for row in rows):
            faults.append("no line says why")
        if max(map(len, rows), default=0) > 1500 or len(rows) > 40:
            faults.append(f"{len(rows)} lines, the longest of {max(map(len, rows))} letters")
    new = _listing(folder) - before
    places = _PLACES.get(command[0], ("run", "masks") if command[0] == "report" else ())
    # A configuration may name a folder of its own for preprocessed cases.
    told = ".data.cache" in change
    if not told and (stray := sorted(name for name in new if not name.startswith(places))):
        faults.append(f"files outside: {stray[:5]}")
    if partial := [name for name in new if ".partial-" in name]:
        faults.append(f"left over: {partial[:3]}")
    if ending.code == 0 and "new" in command and command[0] == "predict":
        faults += _mask_faults(folder, command, bed, change)
    return faults


def _mask_faults(folder: Path, command: list[str], bed: Path, change: str) -> list[str]:
    # Another model that is whole makes its own masks.
    if "--dry-run" in command or change.endswith(", signed") or change.startswith("content of"):
        return []
    reference = "reference2d" if "model2d.safetensors" in command else "reference3d"
    (wanted,) = (bed / reference).glob("*.nii.gz")
    mask = folder / "new" / wanted.name
    if not mask.exists():
        return ["no mask, and exit code 0"]
    same = np.array_equal(read_labels(mask).array, read_labels(wanted).array)
    return [] if same else ["another mask than that of the model as it was saved"]


def main() -> None:
    """Make the bed, do the cases, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case; its folder is kept")
    parser.add_argument("--work", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--output", type=Path, default=common.RESULTS / "fuzz.json")
    asked = parser.parse_args()

    import attnseg.check
    import attnseg.inference
    import attnseg.report
    import attnseg.training  # noqa: F401  once, for all children

    torch.set_num_threads(1)
    work = asked.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    bed = work / "bed"
    bed.mkdir(parents=True)
    make_bed(bed)
    begin = time.perf_counter()
    numbers = range(asked.count) if asked.only is None else [asked.only]
    results = []
    for number in numbers:
        result = do_case(number, asked.seed, bed, work)
        results.append(result)
        if result.faults or asked.only is not None:
            print(f"{asdict(result)}\n", flush=True)
    if asked.only is not None:
        print((work / "out.txt").read_text()[-5000:], (work / "err.txt").read_text()[-5000:])
        return
    failed = [each for each in results if each.faults]
    summary = {
        "cases": len(results),
        "failed": [asdict(each) for each in failed],
        "exit_codes": dict(collections.Counter(str(each.code) for each in results)),
        "longest_seconds": max(each.seconds for each in results),
        "most_mb": max(each.peak_mb for each in results),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(
        {key: value for key, value in summary.items() if key != "failed"}, f"{len(failed)} failed"
    )
    settings = {"count": asked.count, "seed": asked.seed}
    common.write_result(asked.output, settings=settings, results=summary)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
