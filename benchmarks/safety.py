"""What knowing each scan costs: this checkout beside an earlier one, in turns.

    git worktree add ../before ffad272
    python benchmarks/safety.py --before ../before --data ../shared/data/hippocampus

Three commands, each a whole process, cold start included:

plan    `attnseg predict --dry-run` of a cohort of small scans
rerun   `attnseg predict` over the same scans when all of them are finished
check   `attnseg check` of a data set

Each checkout finishes the cohort by itself first, so that a rerun reads its own manifest.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import _common as common
import _made as made
import _measure as measure
import numpy as np

from attnseg.images import Geometry, Image, write_image

SHAPE = (12, 14, 10)


def make_cohort(folder: Path, count: int) -> None:
    """Write `count` scans of noise on the network's own spacing, those that are not there."""
    for index in range(count):
        path = folder / f"scan{index:05d}.nii.gz"
        if not path.exists():
            noise = np.random.default_rng(index).normal(40, 60, (1, *SHAPE)).astype(np.float32)
            write_image(path, Image(noise, Geometry(SHAPE, np.diag([1.5, 1.5, 1.5, 1.0]))))


def in_turns(
    checkouts: dict[str, Path], arguments: dict[str, list[object]], *, rounds: int, work: Path
) -> dict[str, list[float]]:
    """Seconds of `attnseg` with these arguments in each checkout, arm after arm in every round."""

    def run(name: str) -> dict[str, float]:
        command = [sys.executable, "-m", "attnseg", *arguments[name]]
        environment = {"PYTHONPATH": str(checkouts[name].resolve())}
        return measure.watched(command, env=environment, log=work / f"{name}.log")

    found = measure.in_rounds(list(checkouts), run, rounds=rounds, warm_up=True)
    return {name: [each["seconds"] for each in answers] for name, answers in found.items()}


def compared(seconds: dict[str, list[float]], *, scans: int) -> dict[str, Any]:
    """Spread of both, the median of the paired ratios, and milliseconds per scan between them."""
    pairs = list(zip(seconds["after"], seconds["before"], strict=True))
    return {
        **{name: common.spread(values) for name, values in seconds.items()},
        "after_over_before": round(statistics.median(a / b for a, b in pairs), 4),
        "more_ms_per_scan": round(1000 * statistics.median(a - b for a, b in pairs) / scans, 3),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="the earlier checkout")
    parser.add_argument("--data", type=Path, help="a data set to check; none: that part is left")
    parser.add_argument("--scans", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("runs/safety"), help="kept")
    parser.add_argument("--json", type=Path, default=common.RESULTS / "safety.json")
    asked = parser.parse_args()

    checkouts = {"before": asked.before, "after": Path(__file__).parents[1]}
    scans, model = asked.work / "scans", asked.work / "model.safetensors"
    make_cohort(scans, asked.scans)
    made.write_tiny(model, 3, side=16)
    base = ["predict", scans, "-m", model, "--backend", "torch"]
    rerun = {name: [*base, "-o", asked.work / f"masks_{name}"] for name in checkouts}
    dry = {name: [*base, "-o", asked.work / "nothing", "--dry-run"] for name in checkouts}
    parts = {"plan": (dry, asked.scans), "rerun": (rerun, asked.scans)}
    if asked.data is not None:
        cases = len(list((asked.data / "imagesTr").iterdir()))
        parts["check"] = ({name: ["check", asked.data] for name in checkouts}, cases)

    results = {}
    for part, (arguments, count) in parts.items():
        print(part, file=sys.stderr)
        seconds = in_turns(checkouts, arguments, rounds=asked.rounds, work=asked.work)
        results[part] = compared(seconds, scans=count)
    rows: list[tuple[object, ...]] = [("", "before s", "after s", "after/before", "ms/scan more")]
    rows += [
        (part, each["before"]["median"], each["after"]["median"], each["after_over_before"],
         each["more_ms_per_scan"])
        for part, each in results.items()
    ]  # fmt: skip
    print(common.table(rows))
    settings = {"scans": asked.scans, "shape": SHAPE, "rounds": asked.rounds, "data": asked.data}
    common.write_result(asked.json, settings=settings, results=results)


if __name__ == "__main__":
    main()
