"""From the data to the numbers of a run: spacing, patch, levels, channels, each with its reason."""

import json
from collections.abc import Collection
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from pydantic import Field

from attnseg import limits
from attnseg.config import Config
from attnseg.datasets import Dataset, Fingerprint
from attnseg.errors import ConfigError, DataError, UsageError
from attnseg.files import load_json, write_text
from attnseg.names import readable
from attnseg.preprocessing import refuse_too_large
from attnseg.schema import Frozen, Ints, validate
from attnseg.spec import Label, ModelSpec, unnamed
from attnseg.training.decisions import (
    choose_batch,
    choose_network,
    choose_preprocessing,
    choose_slice_axis,
)
from attnseg.training.mirroring import mirroring_reason, prediction_mirror_axes


class Probe(Frozen):
    """A few training steps of the planned network on this machine, measured."""

    device: str
    seconds_per_step: float
    peak_memory_mb: float
    """Of the process (CPU) or of PyTorch on the GPU, in 10⁶ bytes."""


class Plan(Frozen):
    """What a run was planned to be: `plan.json`, which may be edited and given back."""

    version: int = Field(default=1, ge=1, le=1)
    spec: ModelSpec
    batch_size: int = Field(ge=1, le=limits.LARGEST_BATCH)
    """Samples a step, over all processes together."""
    epochs: int | None = Field(default=None, ge=1)
    """What fits into the hours asked for; None: the configuration decides."""
    disk_mb: float = 0.0
    """Of the preprocessed cases, in 10⁶ bytes."""
    probe: Probe | None = None
    reasons: dict[str, str] = Field(default_factory=dict)
    """Number → why, one sentence each."""


def make_plan(
    config: Config,
    dataset: Dataset,
    figures: Fingerprint,
    *,
    device: str,
    gpu_bytes: int | None = None,
    base: ModelSpec | None = None,
) -> Plan:
    """Settle everything the configuration leaves to `auto`.

    Args:
        config: the experiment.
        dataset: names of channels and labels, regions.
        figures: fingerprint of the data set.
        device: "cpu" or "cuda": how large a step may be.
        gpu_bytes: memory of the GPU to plan for; None: 8 GiB.
        base: spec of a model to start from; its network, spacing and patch are taken over.

    Raises:
        ConfigError: settings that do not fit the data.
    """
    reasons: dict[str, str] = {}
    preprocessing = choose_preprocessing(config, dataset, figures, base, reasons)
    spacing = preprocessing.spacing_mm
    shape = [
        max(1, round(n * mm / target))
        for n, mm, target in zip(
            figures.median_shape, figures.median_spacing_mm, spacing, strict=True
        )
    ]
    refuse_too_large(
        figures.median_shape, shape, source=f"{dataset.root}, the median scan", spacing_mm=spacing
    )
    axis = choose_slice_axis(config, dataset, shape, spacing, base, reasons)
    labels = _labels(dataset, figures.label_values)
    outputs = len(dataset.regions or labels)
    if base is not None:
        architecture = base.architecture.model_copy(
            update={"in_channels": len(dataset.channel_names), "out_channels": outputs}
        )
        patch: Ints = base.patch
        reasons["network and patch"] = "those of the model to start from"
    else:
        architecture, patch = choose_network(
            config, dataset, shape, spacing, axis, outputs, device, gpu_bytes, reasons
        )
    names = {label.value: label.name for label in labels}
    mirroring = config.training.augmentation
    reason = mirroring_reason(names, mirroring, patch=patch, regions=dataset.regions)
    if reason is not None:
        reasons["mirroring"] = reason
    said: dict[str, Any] = {
        "architecture": architecture,
        "preprocessing": preprocessing,
        "channel_names": dataset.channel_names,
        "labels": tuple(labels),
        "regions": dataset.regions,
        "patch": (patch[0], patch[1], patch[2]),
        "mirror_axes": prediction_mirror_axes(
            names, mirroring, patch=patch, regions=dataset.regions
        ),
        "fingerprint": json.loads(json.dumps(asdict(figures))),
        "provenance": {
            "dataset": readable(dataset.root.resolve().name),
            "layout": dataset.layout,
            "seed": config.training.seed,
        },
    }
    spec = validate(ModelSpec, said, source=f"plan of {dataset.root}", error=ConfigError)
    voxels = figures.num_cases * prod(shape)
    return Plan(
        spec=spec,
        batch_size=choose_batch(config, architecture, patch, axis, device, gpu_bytes, reasons),
        disk_mb=round(voxels * (4 * len(dataset.channel_names) + 2) / 1e6, 1),
        reasons=reasons,
    )


def save_plan(path: Path, plan: Plan) -> None:
    """Write the plan as JSON."""
    write_text(path, plan.model_dump_json(indent=2) + "\n")


def load_plan(path: Path) -> Plan:
    """Read a plan back.

    Raises:
        DataError: missing, or no longer a plan.
    """
    try:
        raw = load_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a plan ({error}); make one with `attnseg plan DATA`"
        ) from None
    return validate(Plan, raw, source=str(path), error=DataError, exact=True)


def check_plan(
    plan: Plan,
    dataset: Dataset,
    label_values: Collection[int],
    *,
    source: str,
    fewer_labels: bool = False,
) -> None:
    """A plan that was given must be one for this data.

    Args:
        plan: for instance of a run that goes on.
        dataset: names of channels and labels, regions.
        label_values: those of its masks.
        source: of the plan, named in the error.
        fewer_labels: whether the masks may lack labels that the plan has.

    Raises:
        ConfigError: other channels, labels or regions than the data set's.
    """
    labels = _labels(dataset, label_values)
    if fewer_labels:
        found = {label.value for label in labels}
        labels += [label for label in plan.spec.labels if label.value not in found]
        labels = [labels[0], *sorted(labels[1:], key=lambda label: label.value)]
    ours = (dataset.channel_names, labels, dataset.regions)
    theirs = (plan.spec.channel_names, list(plan.spec.labels), plan.spec.regions)
    for what, mine, given in zip(("channels", "labels", "regions"), ours, theirs, strict=True):
        if mine != given:
            raise ConfigError(
                f"{source}: its {what} are {given}, those of {dataset.root} are {mine}; make a "
                "plan for this data with `attnseg plan`"
            )


def check_batch(plan: Plan, *, parts: int) -> None:
    """Whether a step of the plan can be taken.

    Args:
        plan: as planned or given.
        parts: what a batch is cut into: processes times `training.accumulate`.

    Raises:
        UsageError: a batch that cannot be cut so, or of which batch norm can take no deviation.
    """
    net, batch = plan.spec.architecture, plan.batch_size
    if batch % parts:
        raise UsageError(
            f"batch of {batch}: must be a multiple of {parts}, the number of processes times "
            f"training.accumulate; give --set training.batch_size={parts}"
        )
    size = [n for axis, n in enumerate(plan.spec.patch) if axis != plan.spec.slice_axis]
    for stride in net.strides:
        size = [-(-n // s) for n, s in zip(size, stride, strict=True)]
    if net.norm == "batch" and batch // parts * prod(size) < 2:
        raise UsageError(
            f"model.norm batch: a step sees {batch // parts} patch of {prod(size)} voxel at the "
            "coarsest level, and one number has no deviation; give training.batch_size of at "
            f"least {2 * parts}, a larger model.patch, or model.norm instance"
        )


def _labels(dataset: Dataset, label_values: Collection[int]) -> list[Label]:
    names = dataset.label_names
    united = {value for region in dataset.regions for value in region.members}
    return [Label(value=0, name="background")] + [
        Label(value=value, name=names.get(value, unnamed(value)))
        for value in sorted({*label_values, *united} - {0})
    ]
