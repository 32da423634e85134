"""nnU-Net beside attnseg: its environment, its folders, and models of equal layers for all arms."""

import json
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _measure as measure
import torch

from attnseg.datasets import find_dataset
from attnseg.models import AttentionUNet, build_network, save_model
from attnseg.spec import ModelSpec
from attnseg.training.plan import load_plan

HERE = Path(__file__).parent
ROOT = HERE.parent
DATASET = "Dataset004_Hippocampus"
_TRAINED = f"{DATASET}/nnUNetTrainer__nnUNetPlans__3d_fullres"


# nnU-Net's environment


def peer_environment(folder: Path, *, install: bool) -> str:
    """Make nnU-Net's own environment in `folder`, if it is not there.

    It gets what the extra `peers` names and nothing of attnseg, as nnU-Net's users have it.

    Returns:
        why it cannot be used; empty where it can.
    """
    done = folder / ".installed"
    if not done.exists() and not install:
        return f"no nnU-Net in {folder.name}; --install-peers puts it there"
    if not done.exists():
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = extras["project"]["optional-dependencies"]["peers"]
        venv.create(folder, with_pip=True)
        command = [peer_python(folder), "-m", "pip", "install", "--quiet"]
        subprocess.run([*command, "-c", ROOT / "constraints.txt", *wanted], check=True)
        done.touch()
    return ""


def peer_python(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def folders_of(work: Path) -> dict[str, str]:
    """The environment variables by which nnU-Net finds its three folders, under `work`."""
    names = ("raw", "preprocessed", "results")
    return {f"nnUNet_{name}": str((work / "nnunet" / name).resolve()) for name in names}


# Scans and models of the cohort


@dataclass(frozen=True)
class Cohort:
    """What the arms of the cohort read.

    Args:
        scans: folder of `NAME.nii.gz`.
        peer_scans: the same files as `NAME_0000.nii.gz`.
        same: attnseg's model file of nnU-Net's layers.
        own: attnseg's model file as it plans for the set, or the user's.
        monai: folder of MONAI's `network.json` and `weights.pt`.
        facts: what was used, for the result.
    """

    scans: Path
    peer_scans: Path
    same: Path
    own: Path
    monai: Path
    facts: dict[str, Any]


def prepare_cohort(
    data: Path, work: Path, *, peers: Path | None, count: int, model: Path | None
) -> Cohort:
    """Put scans and models into `work`; nnU-Net plans only once.

    Args:
        data: the hippocampus set (Decathlon).
        work: folder; kept for the next time.
        peers: nnU-Net's environment; None: without it its usual plan for this set is taken.
        count: scans, evenly spread over the set.
        model: a trained model of attnseg; None: its plan for the set with random weights.
    """
    dataset = find_dataset(data)
    files = spread_over([case.images[0] for case in dataset.cases], count)
    scans, peer_scans = work / "scans", work / "scans_nnunet"
    for folder, end in ((scans, ".nii.gz"), (peer_scans, "_0000.nii.gz")):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, folder / file.name.replace(".nii.gz", end))
    plans = plan_by_nnunet(data, work, peers) if peers else USUAL_PLANS
    models = work / "models"
    own_plan = models / "plan.json"
    if not own_plan.exists():
        models.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "attnseg", "plan", data, "-o", own_plan, "--no-probe"]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    own_spec = load_plan(own_plan).spec
    same_spec = same_layers(plans, own_spec)
    save_model(models / "same.safetensors", random_network(same_spec), same_spec)
    if model is None:
        save_model(models / "own.safetensors", random_network(own_spec), own_spec)
    else:
        shutil.copyfile(model, models / "own.safetensors")
    write_monai(models / "monai", same_spec)
    return Cohort(
        scans, peer_scans, models / "same.safetensors", models / "own.safetensors",
        models / "monai",
        {
            "scans": len(files),
            "same layers": summary(same_spec),
            "own": summary(own_spec),
            "weights": "random" if model is None else f"random; attnseg own: {model.name}",
            "nnU-Net's plan": "its planner's" if peers else "its usual one, taken over",
        },
    )  # fmt: skip


def spread_over(items: Sequence[Path], count: int) -> list[Path]:
    """`count` of the items, evenly spread and in order.

    Example:
        >>> spread_over([Path("a"), Path("b"), Path("c"), Path("d")], 2)
        [PosixPath('a'), PosixPath('c')]
    """
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


# What nnU-Net's planner gives for hippocampus, of `configurations.3d_fullres`.
USUAL_PLANS: dict[str, Any] = {
    "patch_size": [40, 56, 40],
    "spacing": [1.0, 1.0, 1.0],
    "architecture": {
        "arch_kwargs": {
            "features_per_stage": [32, 64, 128, 256],
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
            "kernel_sizes": [[3, 3, 3]] * 4,
            "n_conv_per_stage": [2, 2, 2, 2],
        }
    },
}


def plan_by_nnunet(data: Path, work: Path, peers: Path) -> dict[str, Any]:
    """nnU-Net's own plan for the set, and a checkpoint of random weights; `3d_fullres`."""
    variables = folders_of(work)
    raw, made, results = (Path(folder) for folder in variables.values())
    model, checkpoint = results / _TRAINED, results / _TRAINED / "fold_0" / "checkpoint_final.pth"
    if not checkpoint.exists():
        _write_raw(data, raw / DATASET)
        for tool in ("nnUNetv2_extract_fingerprint", "nnUNetv2_plan_experiment"):
            command = [peers / "bin" / tool, "-d", "4"]
            measure.watched(command, env=variables, log=work / "logs" / f"{tool}.log")
        model.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(raw / DATASET / "dataset.json", model / "dataset.json")
        shutil.copyfile(made / DATASET / "nnUNetPlans.json", model / "plans.json")
        script = HERE / "_nnunet.py"
        command = [peer_python(peers), script, "checkpoint", "--model", model]
        measure.told(command, env=variables)
    plans: dict[str, Any] = json.loads((model / "plans.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = plans["configurations"]["3d_fullres"]
    return found


def _write_raw(data: Path, folder: Path) -> None:
    """The set as nnU-Net's raw layout has it, files linked."""
    dataset = find_dataset(data)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in dataset.cases:
        assert case.label is not None, case.name
        _link(case.images[0], folder / "imagesTr" / f"{case.name}_0000.nii.gz")
        _link(case.label, folder / "labelsTr" / f"{case.name}.nii.gz")
    names = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {name: int(value) for value, name in names.items()},
        "numTraining": len(dataset.cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    if not target.exists():
        target.symlink_to(source.resolve())


def same_layers(plans: dict[str, Any], base: ModelSpec) -> ModelSpec:
    """attnseg's spec with the patch, spacing, levels, channels and convolutions of nnU-Net's plan.

    Args:
        plans: `configurations.3d_fullres`; its axes are S, A, R.
        base: gives channels, labels and normalisation of the set.
    """
    net = plans["architecture"]["arch_kwargs"]
    assert set(net["n_conv_per_stage"]) == {2}, "attnseg's blocks are of two convolutions"
    architecture = base.architecture.model_dump() | {
        "channels": tuple(net["features_per_stage"]),
        "strides": tuple(tuple(stride[::-1]) for stride in net["strides"][1:]),
        "kernel_sizes": tuple(tuple(kernel[::-1]) for kernel in net["kernel_sizes"]),
        "blocks_per_level": 1,
        "block": "plain",
        "deep_supervision": 0,
    }
    preprocessing = base.preprocessing.model_dump() | {"spacing_mm": tuple(plans["spacing"][::-1])}
    content = base.model_dump() | {
        "architecture": architecture,
        "preprocessing": preprocessing,
        "patch": tuple(plans["patch_size"][::-1]),
    }
    return ModelSpec.model_validate(content)


def random_network(spec: ModelSpec, *, seed: int = 0) -> AttentionUNet:
    """Untrained weights, the same for the same seed."""
    torch.manual_seed(seed)
    return build_network(spec.architecture)


def write_monai(folder: Path, spec: ModelSpec) -> None:
    """MONAI's AttentionUnet of the same levels and channels, random weights, for its script."""
    from monai.networks.nets import AttentionUnet

    arguments = {
        "spatial_dims": 3,
        "in_channels": spec.architecture.in_channels,
        "out_channels": spec.architecture.out_channels,
        "channels": spec.architecture.channels,
        "strides": spec.architecture.strides,
    }
    told = {
        "arguments": arguments,
        "patch": spec.patch,
        "spacing_mm": spec.preprocessing.spacing_mm,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.json").write_text(json.dumps(told), encoding="utf-8")
    torch.manual_seed(0)
    torch.save(AttentionUnet(**arguments).state_dict(), folder / "weights.pt")


def summary(spec: ModelSpec) -> dict[str, Any]:
    """What of a spec decides how fast it is."""
    keys = ("channels", "strides", "blocks_per_level", "block", "gate")
    told = spec.architecture.model_dump(include=set(keys))
    return {"patch": spec.patch, "spacing_mm": spec.preprocessing.spacing_mm} | told
