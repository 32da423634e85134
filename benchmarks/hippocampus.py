"""Dice after equal minutes on equal data: attnseg beside MONAI's Attention U-Net.

    python benchmarks/hippocampus.py --data ../shared/data/hippocampus --minutes 15 -o runs/compare

Any data set that attnseg trains on will do; the result is named after its folder. Both arms see the
same volumes, folds and patch, and are scored by the same evaluation on the scans' own grids. The
minutes are wall-clock minutes of training: those of attnseg include the validations of --curve.
An arm that was finished in the folder before is not trained again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import _common as common


def train_attnseg(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train through the command line that users type; returns what is known about the run."""
    folder = arguments.output / "attnseg"
    scores = folder / f"fold{arguments.fold}" / "validation.json"
    if not scores.exists():
        command = common.attnseg(
            "train", arguments.data, "-o", folder, "--fold", arguments.fold,
            "--max-minutes", arguments.minutes, "--seed", arguments.seed,
            "--workers", arguments.workers, "--overwrite",
        )  # fmt: skip
        if arguments.config:
            command += ["--config", str(arguments.config)]
        if not arguments.curve:
            command += ["--set", "training.validation_cases=0"]
        common.run(command)
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    lines = (scores.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    known: dict[str, Any] = {
        "steps": last["step"],
        "minutes": last["minutes"],
        "patch": plan["spec"]["patch"],
        "channels": plan["spec"]["architecture"]["channels"],
        "batch_size": plan["batch_size"],
    }
    if arguments.curve:
        known["curve"] = common.curve(scores.parent / "metrics.jsonl")
    return known | common.describe(common.read_scores(scores))


def train_monai(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train the peer on the folds and the plan of attnseg's run."""
    from _monai import train_and_predict

    run, output = arguments.output / "attnseg", monai_folder(arguments)
    if not (run / "plan.json").exists():
        raise SystemExit(f"{run}: no plan.json there; the monai arm takes it over: run attnseg too")
    if not (output / "validation.json").exists():
        train_and_predict(
            arguments.data, run, output, fold=arguments.fold, minutes=arguments.minutes,
            seed=arguments.seed, workers=arguments.workers,
        )  # fmt: skip
    known: dict[str, Any] = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return known | common.describe(common.read_scores(output / "validation.json"))


def monai_folder(arguments: argparse.Namespace) -> Path:
    """Where the peer's masks and scores go."""
    folder: Path = arguments.output / "monai" / f"fold{arguments.fold}"
    return folder


def report(arms: dict[str, Any], differences: dict[str, Any] | None) -> str:
    """A table: arms in columns, labels in rows."""
    labels = list(next(iter(arms.values()))["labels"])
    rows = [["Dice [95 % interval]", *arms]]
    for label in labels:
        cells = [common.interval_text(arm["labels"][label]) for arm in arms.values()]
        rows.append([label, *cells])
    rows.append(["mean", *(common.interval_text(arm, "mean_dice") for arm in arms.values())])
    rows.append(["steps", *(str(arm["steps"]) for arm in arms.values())])
    if differences:
        rows[0].append("attnseg - monai")
        for row in rows[1:-1]:
            row.append(common.interval_text(differences[row[0]], "difference"))
        rows[-1].append("")
    return common.table(rows)


def main() -> None:
    """Train, score, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="data set folder")
    parser.add_argument("--minutes", type=float, default=15.0, help="training time of each arm")
    parser.add_argument("--fold", type=int, default=0, help="fold held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare patches")
    parser.add_argument(
        "--arms", nargs="+", choices=("attnseg", "monai"), default=["attnseg", "monai"]
    )
    parser.add_argument("--config", type=Path, help="configuration of the attnseg arm")
    parser.add_argument("--curve", action="store_true", help="Dice over minutes of attnseg")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/DATA.json")
    arguments = parser.parse_args()
    if "monai" in arguments.arms:
        from _monai import refuse

        refuse(arguments.data)
    train = {"attnseg": train_attnseg, "monai": train_monai}
    # attnseg comes first: the other takes over its folds and plan.
    arms = {name: train[name](arguments) for name in sorted(arguments.arms)}
    differences = None
    if len(arms) == 2:
        ours = arguments.output / "attnseg" / f"fold{arguments.fold}" / "validation.json"
        differences = common.difference(
            [common.read_scores(ours)],
            [common.read_scores(monai_folder(arguments) / "validation.json")],
        )
    print(report(arms, differences))
    path = arguments.json or common.RESULTS / f"{arguments.data.resolve().name}.json"
    common.write_result(
        path,
        settings={**vars(arguments), "arms": sorted(arguments.arms)},
        results={"arms": arms, "attnseg - monai": differences},
    )


if __name__ == "__main__":
    main()
