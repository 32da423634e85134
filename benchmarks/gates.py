"""What the gates are worth: the same training with and without them, several seeds.

    python benchmarks/gates.py --data ../shared/data/hippocampus --epochs 30 -o runs/gates

Every run has as many steps, and the arms of a seed the same patches. With `--jobs 2` they run side
by side, one core each. The difference is paired by case; its interval is over cases and seeds.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common

NAMES = ("none", "grid", "skip")


def folder_of(output: Path, gates: str, seed: int) -> Path:
    """Run folder of one training."""
    return output / f"{gates}_seed{seed}"


def scores_of(output: Path, gates: str, seed: int, fold: int) -> Path:
    """Scores of one training."""
    return folder_of(output, gates, seed) / f"fold{fold}" / "validation.json"


def command(arguments: argparse.Namespace, gates: str, seed: int) -> list[str]:
    """The training as a user would type it."""
    line = common.attnseg(
        "train", arguments.data, "-o", folder_of(arguments.output, gates, seed),
        "--fold", arguments.fold, "--epochs", arguments.epochs, "--seed", seed, "--gates", gates,
        "--overwrite", "--set", "training.validation_cases=0",
        "--set", f"data.cache={arguments.output / 'cache'}",
    )  # fmt: skip
    if arguments.config:
        line += ["--config", str(arguments.config)]
    return line


def run_together(commands: Sequence[tuple[list[str], Path]], *, pin: bool) -> None:
    """Run commands side by side, each with its log; a failure of any ends the benchmark."""
    processes = []
    cores = sorted(os.sched_getaffinity(0))
    for number, (line, log) in enumerate(commands):
        core = cores[number % len(cores)]
        print("$ attnseg", *line[3:], f"> {log}", flush=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as stream:
            processes.append(
                subprocess.Popen(
                    ["taskset", "--cpu-list", str(core), *line] if pin else line,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "OMP_NUM_THREADS": "1"} if pin else None,
                )
            )
    failed = [process.wait() for process in processes]
    for code, (_, log) in zip(failed, commands, strict=True):
        if code:
            sys.exit(f"a training failed; see {log}")


def train_all(arguments: argparse.Namespace) -> None:
    """All arms of all seeds; what is there is left."""
    for seed in arguments.seeds:
        waiting = [
            (command(arguments, gates, seed), arguments.output / f"{gates}_seed{seed}.log")
            for gates in arguments.gates
            if not scores_of(arguments.output, gates, seed, arguments.fold).exists()
        ]
        for start in range(0, len(waiting), arguments.jobs):
            run_together(waiting[start : start + arguments.jobs], pin=arguments.jobs > 1)


def compare(scores: dict[str, list[common.Scores]]) -> dict[str, Any]:
    """Each arm's Dice per seed, and every further arm's difference from the first."""
    arms = {
        gates: {
            "mean_dice": [common.describe(each)["mean_dice"] for each in runs],
            "per_seed": [common.describe(each) for each in runs],
        }
        for gates, runs in scores.items()
    }
    first, *others = scores
    differences = {
        f"{gates} - {first}": common.difference(scores[gates], scores[first]) for gates in others
    }
    return {"arms": arms, "differences": differences}


def report(result: dict[str, Any], seeds: Sequence[int]) -> str:
    """Two tables: mean Dice per seed, and differences per label."""
    rows = [["mean Dice", *(f"seed {seed}" for seed in seeds), "mean"]]
    for gates, arm in result["arms"].items():
        values = arm["mean_dice"]
        cells = [f"{value:.4f}" for value in (*values, sum(values) / len(values))]
        rows.append([gates, *cells])
    tables = [common.table(rows)]
    for name, labels in result["differences"].items():
        lines = [[name, "difference [95 % interval]"]]
        lines += [
            [label, common.interval_text(entry, "difference")] for label, entry in labels.items()
        ]
        tables.append(common.table(lines))
    return "\n\n".join(tables)


def main() -> None:
    """Train, compare, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="data set folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--gates", nargs="+", choices=NAMES, default=["none", "grid"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--fold", type=int, default=0, help="fold held out")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one core each")
    parser.add_argument("--config", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/gates_DATA.json")
    arguments = parser.parse_args()
    train_all(arguments)
    scores = {
        gates: [
            common.read_scores(scores_of(arguments.output, gates, seed, arguments.fold))
            for seed in arguments.seeds
        ]
        for gates in arguments.gates
    }
    result = compare(scores)
    print(report(result, arguments.seeds))
    path = arguments.json or common.RESULTS / f"gates_{arguments.data.resolve().name}.json"
    common.write_result(path, settings=vars(arguments), results=result)


if __name__ == "__main__":
    main()
