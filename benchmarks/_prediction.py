"""The four parts of `prediction.py`: each takes the arguments and returns what it found."""

import argparse
import math
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import _common as common
import _made as made
import _measure as measure
import _peers as peers
import numpy as np

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
    import torch

    from attnseg.memory import keep_freed_memory

    keep_freed_memory()  # for the peers too
    results: dict[str, Any] = {}
    with torch.inference_mode():
        for patch in ((96, 96, 96), (40, 56, 40)):
            x = torch.randn(1, 1, *patch, generator=torch.Generator().manual_seed(0))
            calls = windows(arguments.channels, patch, compiled=arguments.compile)
            ours = [calls[name](x) for name in calls if name.startswith("attnseg")]
            for other in ours[1:]:
                torch.testing.assert_close(other, ours[0], atol=1e-2, rtol=1e-2)
            rounds = arguments.rounds * max(1, round(96**3 / math.prod(patch) / 4))
            steps = {name: lambda call=call, x=x: call(x) for name, call in calls.items()}
            seconds = common.in_turns(steps, rounds=rounds)
            base = seconds["MONAI AttentionUnet"]
            results["×".join(map(str, patch))] = {
                name: {
                    "seconds": common.spread(values, digits=4),
                    "times as fast as MONAI": common.median_interval(
                        np.array(base) / np.array(values)
                    ),
                }
                for name, values in seconds.items()
            }
    return results


def windows(
    channels: Sequence[int], patch: tuple[int, int, int], *, compiled: bool
) -> dict[str, Callable[[Any], Any]]:
    """Functions of a window `[1, 1, *patch]`, by name."""
    import torch
    from network import CLASSES, monai

    from attnseg.models import AttentionUNet

    torch.manual_seed(0)
    ours = AttentionUNet(
        3, 1, CLASSES, channels=channels, strides=(2,) * (len(channels) - 1)
    ).eval()
    calls: dict[str, Callable[[Any], Any]] = {}
    for name in ("torch", "openvino"):
        try:
            calls[f"attnseg {name}"] = attnseg_backend(name, ours, patch)
        except (ImportError, TypeError) as error:
            print(f"attnseg {name} is left out: {error}", file=sys.stderr)
    calls["MONAI AttentionUnet"] = monai(channels, gated=True).eval()
    calls["MONAI without gates"] = monai(channels, gated=False).eval()
    if compiled:
        calls["MONAI compiled"] = torch.compile(monai(channels, gated=True).eval())
        calls["attnseg compiled"] = attnseg_backend("torch", ours, patch, compiled=True)
    return calls


def attnseg_backend(
    name: str, ours: Any, patch: tuple[int, int, int], *, compiled: bool = False
) -> Callable[[Any], Any]:
    """The one place that knows attnseg's back ends: `name` of `ours` for windows of `patch`."""
    import torch

    from attnseg.inference import backends

    spec, device = made.spec_of(ours, patch), torch.device("cpu")
    return backends.make_backend(ours, spec, device, backend=name, compiled=compiled)


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
        "attnseg, own model": [*predict, "-m", used.own],
        "MONAI script, same layers": [*monai, *parts],
    }
    if not arguments.without_nnunet:
        commands["nnUNetv2_predict"] = [
            arguments.peers / "bin" / "nnUNetv2_predict", "-i", used.peer_scans, "-d", "4",
            "-c", "3d_fullres", "-f", "0", "--disable_tta", "-device", "cpu",
        ]  # fmt: skip
    commands |= {f"{name}, again": commands[name] for name in list(commands)[:2]}
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
