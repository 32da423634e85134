"""The four parts of `prediction.py`: each takes the arguments and returns what it found."""

import argparse
import math
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _common as common
import _made as made
import _measure as measure
import _peers as peers
import numpy as np
from _window import ARMS, COMPILED, Worker

HERE = peers.HERE
# Least share of voxels on which two ways to the same labels must agree. Float32 and float64 round
# ties differently, and next to each other two classes are tied more often in noise.
AGREE = 0.999


# Export


def export(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every export on the same logits, each in its own process."""
    work = arguments.work / "export"
    work.mkdir(parents=True, exist_ok=True)
    logits = work / "logits.npy"
    arms: dict[str, list[Any]] = {"attnseg": [sys.executable, HERE / "_arms.py", "export"]}
    if not arguments.without_nnunet:
        script = [peers.peer_python(arguments.peers), HERE / "_nnunet.py", "export", "--variant"]
        arms |= {f"nnU-Net {variant}": [*script, variant] for variant in ("default", "torch")}
    outputs = {name: work / f"{slug(name)}.npy" for name in arms}

    def call(name: str) -> dict[str, float]:
        given = ["--logits", logits, "--target", *arguments.target, "-o", outputs[name]]
        return measure.told([*arms[name], *given], env=nnunet_env(arguments))

    results: dict[str, Any] = {}
    for kind, make in (("smooth", made.smooth_logits), ("noise", made.noise_logits)):
        np.save(logits, make(arguments.classes, tuple(arguments.shape)))
        found = measure.in_rounds(list(arms), call, rounds=arguments.export_rounds)
        results[kind] = {
            "arms": summarised(found),
            "times as long as attnseg": ratios(found, "attnseg"),
        } | compare({name: np.load(path) for name, path in outputs.items()})
    for path in (logits, *outputs.values()):
        path.unlink()
    return results


# Network


def network(arguments: argparse.Namespace) -> dict[str, Any]:
    """One window by every network and back end, in turns."""
    arms = [arm for arm in ARMS if arguments.compile or arm not in COMPILED]
    return {
        "×".join(map(str, patch)): turns(
            arms, patch, arguments.channels, arguments.work / "network",
            # As long as at 96³, so far as that makes sense.
            rounds=arguments.rounds * max(1, round(96**3 / math.prod(patch) / 4)),
        )
        for patch in arguments.windows
    }  # fmt: skip


def turns(
    arms: Sequence[str],
    patch: tuple[int, int, int],
    channels: Sequence[int],
    work: Path,
    *,
    rounds: int,
) -> dict[str, Any]:
    """Seconds of a window by every arm; attnseg's outputs are compared before."""
    work.mkdir(parents=True, exist_ok=True)
    outputs = {arm: work / f"{slug(arm)}.npy" for arm in arms}
    workers = {}
    for arm in arms:  # one after another: each warms up by itself
        try:
            workers[arm] = Worker(arm, patch, channels, outputs[arm])
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr)
    ours = [arm for arm in workers if arm.startswith("attnseg")]
    for arm in ours[1:]:
        np.testing.assert_allclose(
            np.load(outputs[arm]), np.load(outputs[ours[0]]), atol=1e-2, err_msg=arm
        )
    steps = {arm: worker.seconds for arm, worker in workers.items()}
    seconds = common.in_turns(steps, rounds=rounds)
    base = np.array(seconds["MONAI AttentionUnet"])
    return {
        arm: {
            "seconds": common.spread(values, digits=4),
            "times as fast as MONAI": common.spread(base / np.array(values)),
            "peak_mb": round(workers[arm].close(), 1),
        }
        for arm, values in seconds.items()
    }


# Cohort


def cohort(arguments: argparse.Namespace) -> dict[str, Any]:
    """Twenty scans from files to files, each arm a fresh process timed from outside."""
    work = arguments.work / "cohort"
    used = peers.prepare_cohort(
        arguments.data, work, count=arguments.scans, model=arguments.model,
        peers=None if arguments.without_nnunet else arguments.peers,
    )  # fmt: skip
    extra = shlex.split(arguments.predict_options)
    predict = [sys.executable, "-m", "attnseg", "predict", used.scans, "--overwrite", *extra]
    monai = [sys.executable, HERE / "_monai_predict.py", "--scans", used.scans]
    parts = ["--network", used.monai / "network.json", "--weights", used.monai / "weights.pt"]
    commands: dict[str, list[Any]] = {
        "attnseg, same layers": [*predict, "-m", used.same],
        "attnseg, same layers, again": [*predict, "-m", used.same],
        "attnseg, own model": [*predict, "-m", used.own],
        "attnseg, own model, again": [*predict, "-m", used.own],
        "MONAI script, same layers": [*monai, *parts],
    }
    if not arguments.without_nnunet:
        commands["nnUNetv2_predict"] = [
            arguments.peers / "bin" / "nnUNetv2_predict", "-i", used.peer_scans, "-d", "4",
            "-c", "3d_fullres", "-f", "0", "--disable_tta", "-device", "cpu",
        ]  # fmt: skip
    masks = {name: work / "masks" / slug(name) for name in commands}

    def call(name: str) -> dict[str, float]:
        # A cold start finds nothing that attnseg compiled before; "again" is the second command of
        # a user, who has it in the cache.
        cache = work / ("cache_kept" if name.endswith("again") else "cache")
        for folder in (masks[name], work / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        env = {"XDG_CACHE_HOME": str(cache.resolve()), **nnunet_env(arguments)}
        command = [*commands[name], "-o", masks[name]]
        figures = measure.watched(command, env=env, log=work / "logs" / f"{masks[name].name}.log")
        written = len(list(masks[name].glob("*.nii.gz")))
        assert written == used.facts["scans"], f"{name}: {written} masks"
        return figures

    found = measure.in_rounds(list(commands), call, rounds=arguments.cohort_rounds, warm_up=True)
    labels = {
        name: measure.told([sys.executable, HERE / "_arms.py", "shares", "--masks", folder])
        for name, folder in masks.items()
    }
    ours = ("attnseg, same layers", "attnseg, own model")
    return {
        "arms": summarised(found),
        **{f"times as long as {name}": ratios(found, name) for name in ours},
        "shares of labels": labels,
        "used": used.facts,
    }


# Growth


def growth(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds a voxel and peak memory, over volume and classes."""
    work = arguments.work / "growth"
    rows = []
    for classes in arguments.growth_classes:
        spec = made.write_tiny(work / "tiny.safetensors", classes)
        for factor in arguments.factors:
            row: dict[str, Any] = {"classes": classes, "factor": factor}
            need = made.monai_need_mb(spec, factor)
            arms = ["attnseg", "monai"] if need < 0.8 * made.available_mb() else ["attnseg"]
            if len(arms) == 1:
                row["monai"] = f"left out: its logits alone need {need / 1000:.1f} GB"
            outputs = {by: work / f"{by}.npy" for by in arms}
            for by in arms:
                command = [sys.executable, HERE / "_arms.py", "growth", "--by", by]
                command += ["--model", work / "tiny.safetensors", "--factor", factor]
                figures = measure.told([*command, "-o", outputs[by]])
                row["voxels"] = int(figures.pop("voxels"))
                row[by] = {key: round(value, 2) for key, value in figures.items()}
                row[by]["ns_per_voxel"] = round(1e9 * figures["seconds"] / row["voxels"], 2)
            row |= compare({by: np.load(path) for by, path in outputs.items()})
            print(f"  {row}", file=sys.stderr, flush=True)
            rows.append(row)
    return {"rows": rows}


# What the parts share


def compare(labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The share of voxels on which each agrees with the first, checked.

    Raises:
        SystemExit: two ways to the same labels differ in more than ties.
    """
    first, *others = labels
    shares = {f"{name} = {first}": float(np.mean(labels[name] == labels[first])) for name in others}
    for pair, share in shares.items():
        if share < AGREE:
            sys.exit(f"{pair} in {share:.4%} of the voxels only: not the same computation")
    return {"agree": {pair: round(share, 7) for pair, share in shares.items()}}


def summarised(found: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Median and quartiles of every figure of every arm."""
    return {
        name: {key: common.spread([each[key] for each in answers]) for key in answers[0]}
        for name, answers in found.items()
    }


def ratios(
    found: Mapping[str, Sequence[Mapping[str, float]]], base: str, *, key: str = "seconds"
) -> dict[str, Any]:
    """How many times as long as `base` each other arm took, round by round."""
    return {
        name: common.spread(
            [a[key] / b[key] for a, b in zip(answers, found[base], strict=True)], digits=2
        )
        for name, answers in found.items()
        if name != base
    }


def slug(name: str) -> str:
    """An arm's name as a file's.

    Example:
        >>> slug("attnseg, own model")
        'attnseg_own_model'
    """
    return "_".join(re.findall(r"\w+", name))


def nnunet_env(arguments: argparse.Namespace) -> dict[str, str]:
    """For the subprocess only."""
    return peers.folders_of(arguments.work / "cohort")
