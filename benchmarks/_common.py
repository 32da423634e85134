"""What the benchmarks share: machine and versions, timing in turns, scores, tables."""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from attnseg.evaluation import bootstrap_interval, paired_difference
from attnseg.files import write_text

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "attnseg", "torch", "triton", "monai", "accelerate", "numpy", "dynamic_network_architectures",
)  # fmt: skip


# Machine and output


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, threads, versions."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def write_result(path: Path, *, settings: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Write settings and results with the machine they were measured on; NaN becomes null."""
    content = {"machine": machine(), "settings": dict(settings), "results": dict(results)}
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")
    print(f"written to {path}")


def table(rows: Iterable[Sequence[object]]) -> str:
    """Columns under each other: the first to the left, numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Path):
        # Where a folder lies on this machine is nobody's business.
        return value.name if value.is_absolute() else str(value)
    return value


# Timing


def in_turns(steps: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, one after another in every round, so that all share the noise.

    Every second round goes backwards: what drifts, and what one step leaves behind for the next,
    falls on both sides. One round before these warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name in list(steps)[:: -1 if number % 2 else 1]:
            begin = time.perf_counter()
            steps[name]()
            if number > 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def spread(values: Sequence[float], *, digits: int = 3) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {
        "median": round(float(middle), digits),
        "quartile_1": round(float(low), digits),
        "quartile_3": round(float(high), digits),
        "n": len(values),
    }


def median_interval(values: Sequence[float] | np.ndarray, *, draws: int = 10_000) -> dict[str, Any]:
    """Median with its 95 % bootstrap interval."""
    found = np.asarray(values, dtype=float)
    picks = np.random.default_rng(0).integers(len(found), size=(draws, len(found)))
    low, high = np.percentile(np.median(found[picks], axis=1), (2.5, 97.5))
    return {
        "median": round(float(np.median(found)), 4),
        "ci95": [round(float(low), 4), round(float(high), 4)],
        "n": len(found),
    }


# Training runs


def attnseg(*arguments: object) -> list[str]:
    """The command line of `attnseg`."""
    return [sys.executable, "-m", "attnseg", *map(str, arguments)]


def run(command: Sequence[str]) -> None:
    """Show and run a command; its failure ends the benchmark."""
    print("$ attnseg", *command[3:], flush=True)
    if subprocess.run(command).returncode:
        sys.exit(f"{' '.join(command)}: failed, see above")


@dataclass(frozen=True)
class Scores:
    """Dice of every case and label: the table of a `validation.json`.

    Args:
        cases: names.
        labels: names, in the order of their values.
        dice: `[cases, labels]`, NaN where neither mask has the label.
    """

    cases: tuple[str, ...]
    labels: tuple[str, ...]
    dice: np.ndarray

    @property
    def of_cases(self) -> np.ndarray:
        """`[cases]`: mean over the labels of each case."""
        known = ~np.isnan(self.dice)
        with np.errstate(invalid="ignore"):
            return np.where(known, self.dice, 0).sum(axis=1) / known.sum(axis=1)

    def only(self, cases: Sequence[str]) -> "Scores":
        """The same for some of the cases, in the given order."""
        rows = [self.cases.index(name) for name in cases]
        return Scores(tuple(cases), self.labels, self.dice[rows])


def read_scores(path: Path) -> Scores:
    """The Dice in what `attnseg train` and `attnseg evaluate --json` write."""
    content = json.loads(path.read_text(encoding="utf-8"))
    labels = sorted(content["labels"], key=lambda label: label["value"])
    missing: dict[str, Any] = {"dice": None}
    rows = [
        [case["labels"].get(str(label["value"]), missing)["dice"] for label in labels]
        for case in content["cases"]
    ]
    return Scores(
        tuple(case["name"] for case in content["cases"]),
        tuple(label["name"] for label in labels),
        np.array(rows, dtype=float).reshape(len(rows), len(labels)),
    )


def common_cases(*scores: Scores) -> list[Scores]:
    """The same cases in the same order for all; cases that one of them lacks are left out."""
    assert len({each.labels for each in scores}) == 1, [each.labels for each in scores]
    names = [name for name in scores[0].cases if all(name in each.cases for each in scores)]
    return [each.only(names) for each in scores]


def describe(scores: Scores) -> dict[str, Any]:
    """Mean Dice with its 95 % interval, over all and of each label, and every case's own."""
    entries = {
        name: _with_interval(column)
        for name, column in zip(scores.labels, scores.dice.T, strict=True)
    }
    low, high = bootstrap_interval(scores.dice)
    return {
        "mean_dice": round(statistics.fmean(entry["dice"] for entry in entries.values()), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "labels": entries,
        "cases": {
            case: [round(float(dice), 4) for dice in row]
            for case, row in zip(scores.cases, scores.dice, strict=True)
        },
    }


def _with_interval(column: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap_interval(column)
    return {"dice": round(float(np.nanmean(column)), 4), "ci95": [round(low, 4), round(high, 4)]}


def difference(a: Sequence[Scores], b: Sequence[Scores]) -> dict[str, Any]:
    """Mean of a − b over the cases both have, paired by case; several scores are several seeds."""
    together = common_cases(*a, *b)
    ours, theirs = together[: len(a)], together[len(a) :]
    named = {
        name: ([each.dice[:, index] for each in ours], [each.dice[:, index] for each in theirs])
        for index, name in enumerate(ours[0].labels)
    }
    named = {"mean": ([s.of_cases for s in ours], [s.of_cases for s in theirs])} | named
    result = {}
    for name, (left, right) in named.items():
        found = paired_difference(np.array(left), np.array(right))
        result[name] = {
            "difference": round(found.mean, 4),
            "ci95": [round(found.low, 4), round(found.high, 4)],
        }
    return result


def curve(metrics: Path) -> list[tuple[float, float]]:
    """(minutes, Dice) of every validation in a `metrics.jsonl`."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [
        (line["minutes"], line["dice"])
        for line in lines
        if line.get("dice") is not None and not math.isnan(line["dice"])
    ]


def interval_text(entry: Mapping[str, Any], key: str = "dice") -> str:
    """`0.8512 [0.8401, 0.8623]`."""
    low, high = entry["ci95"]
    return f"{entry[key]:.4f} [{low:.4f}, {high:.4f}]"
