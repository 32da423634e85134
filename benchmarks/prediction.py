"""Prediction beside MONAI and nnU-Net: export, network, a cohort, and growth with size.

    python benchmarks/prediction.py --data ../shared/data/hippocampus --install-peers

Four parts, each by itself with `--only`; the others' results in the JSON are then kept:

export   25 classes from 128×170×170 to 192×384×384, from logits in memory to labels in memory:
         nnU-Net's default and its torch variant beside attnseg, on smooth logits and on noise
network  one window on this machine, the same levels and channels (16 to 128)
cohort   twenty hippocampus scans, cold start included, every arm its own command
growth   seconds a voxel and peak memory over volume and classes, a tiny network

Arms take turns, and every memory figure comes from a process that did nothing else. Where arms have
the same logits or weights their labels are compared before anything is reported; in the cohort each
has weights of its own, and only the number of masks is checked. nnU-Net lives in an environment of
its own; where there is none its arms are left out and the result says so.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common
import _made as made
import _measure as measure
import _peers as peers
import _prediction
from _prediction_plot import draw

PARTS = {
    "export": _prediction.export,
    "network": _prediction.network,
    "cohort": _prediction.cohort,
    "growth": _prediction.growth,
}


def kept(path: Path, parts: Sequence[str]) -> dict[str, Any]:
    """Results of the other parts in an earlier file."""
    if not path.exists():
        return {}
    former = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {name: value for name, value in former.items() if name not in parts}


def three(text: str) -> tuple[int, int, int]:
    """`96x96x96` → (96, 96, 96)."""
    r, a, s = map(int, text.split("x"))
    return r, a, s


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--data", type=Path, help="hippocampus, for the cohort")
    parser.add_argument("--peers", type=Path, default=Path(".venv-nnunet"), help="nnU-Net's own")
    parser.add_argument("--install-peers", action="store_true", help="make it if it is missing")
    parser.add_argument("--work", type=Path, default=Path("runs/prediction"), help="kept")
    parser.add_argument("--json", type=Path, default=common.RESULTS / "prediction.json")
    parser.add_argument("--plot", type=Path, default=Path("docs/prediction.png"))
    asked = parser.add_argument_group("export")
    asked.add_argument("--classes", type=int, default=25)
    asked.add_argument("--shape", type=int, nargs=3, default=[128, 170, 170])
    asked.add_argument("--target", type=int, nargs=3, default=[192, 384, 384])
    asked.add_argument("--export-rounds", type=int, default=3)
    asked = parser.add_argument_group("network")
    asked.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    asked.add_argument(
        "--windows", type=three, nargs="+", default=[(96, 96, 96), (40, 56, 40)], metavar="RxAxS"
    )
    asked.add_argument("--rounds", type=int, default=15, help="at 96³; more of small windows")
    asked.add_argument("--compile", action="store_true", help="torch.compile as well")
    asked = parser.add_argument_group("cohort")
    asked.add_argument("--scans", type=int, default=20)
    asked.add_argument("--cohort-rounds", type=int, default=3)
    asked.add_argument("--model", type=Path, help="trained model of attnseg; default: random")
    asked.add_argument("--predict-options", default="", help='as "--backend openvino"')
    asked = parser.add_argument_group("growth")
    asked.add_argument("--factors", type=int, nargs="+", default=list(made.REPEATS))
    asked.add_argument("--growth-classes", type=int, nargs="+", default=[3, 25, 118])
    arguments = parser.parse_args()
    if "cohort" in arguments.only and arguments.data is None:
        parser.error("the cohort needs --data")
    missing = ""
    if {"export", "cohort"} & set(arguments.only):
        missing = peers.peer_environment(arguments.peers, install=arguments.install_peers)
    arguments.without_nnunet = missing
    results = kept(arguments.json, arguments.only)
    for name in arguments.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        # Each with its own machine: with --only they may come from different days.
        results[name] = {"machine": common.machine()} | PARTS[name](arguments)
    if missing:
        print(f"nnU-Net's arms are left out: {missing}")
    else:
        results["nnU-Net"] = measure.told(
            [peers.peer_python(arguments.peers), peers.HERE / "_nnunet.py", "versions"]
        )
    common.write_result(arguments.json, settings=vars(arguments), results=results)
    draw(results, arguments.plot)


if __name__ == "__main__":
    main()
