"""`attnseg plan`: what a training on this data would be, before it is one."""

from pathlib import Path

import torch

from attnseg.config import Config
from attnseg.datasets import Fingerprint, fingerprint
from attnseg.errors import UsageError
from attnseg.inference.backends import resolve_device
from attnseg.training.console import Display, plan_lines
from attnseg.training.plan import Plan, check_batch, save_plan
from attnseg.training.prepare import check, settle_plan, settle_splits
from attnseg.training.prepared import find
from attnseg.training.probe import probe


def plan_dataset(
    config: Config,
    output: Path,
    *,
    gpu_bytes: int | None = None,
    hours: float | None = None,
    explain: bool = False,
    measure: bool = True,
    device: str = "auto",
) -> list[str]:
    """Check the data, plan, measure a few steps, write the plan; returns what to tell the user.

    Args:
        config: the experiment.
        output: path of the plan.
        gpu_bytes: plan for a GPU of this memory, which need not be here.
        hours: time that the training may take; the epochs that fit are measured, so it needs the
            machine that will train.
        explain: tell the reason of every number.
        measure: time the planned steps on this machine.
        device: where they are timed.

    Raises:
        AttnsegError: data or configuration that cannot be used.
        UsageError: hours without a measurement, or too few for one epoch.
    """
    place = resolve_device(device)
    display = Display()
    dataset = find(config, display)
    splits = settle_splits(config, dataset)
    facts = check(dataset, display, splits=splits, patient_pattern=config.data.patient_pattern)
    planned_for = torch.device("cuda") if gpu_bytes else place
    plan = settle_plan(config, dataset, facts, device=planned_for, gpu_bytes=gpu_bytes)
    check_batch(plan, parts=config.training.accumulate)
    # Planned for a GPU that is not here, a measurement on the CPU would say nothing.
    here = planned_for.type == place.type
    if measure and here:
        plan = plan.model_copy(update={"probe": probe(plan, config.training, device=place)})
    if hours is not None:
        plan = _fitted(plan, config, hours)
    save_plan(output, plan)
    lines = [
        *(_data_lines(fingerprint(facts)) if explain else []),
        *plan_lines(plan, explain=explain),
    ]
    if measure and not here:
        lines.append("  not measured: it is planned for a GPU and there is none here")
    return [
        *lines,
        f"{output} written; train it with: attnseg train {config.data.root} --plan {output}"
        + " --fold none" * (len(splits) < 2),
    ]


def _data_lines(figures: Fingerprint) -> list[str]:
    """What the plan was made from."""
    shape = "×".join(map(str, figures.median_shape))
    median, low, high = (
        " × ".join(f"{mm:g}" for mm in spacing)
        for spacing in (figures.median_spacing_mm, figures.min_spacing_mm, figures.max_spacing_mm)
    )
    stored = ", ".join(f"{code} {count}" for code, count in figures.orientations.items())
    volumes = ", ".join(
        f"{value}: {volume / 1000:.3g} ml"
        for value, volume in zip(figures.label_values, figures.label_volumes_mm3, strict=True)
    )
    foreground = "; ".join(
        f"mean {each.mean:.4g}, {each.percentile_00_5:.4g} to {each.percentile_99_5:.4g}"
        for each in figures.intensity
    )
    return [
        f"data: {figures.num_cases} cases, median {shape} voxels of {median} mm ({low} to {high})",
        f"  stored as: {stored}",
        f"  median volume of each label: {volumes}",
        f"  intensity of labelled voxels, per channel: {foreground}",
    ]


def _fitted(plan: Plan, config: Config, hours: float) -> Plan:
    if plan.probe is None:
        raise UsageError(
            "--hours needs a measurement of the planned steps: run it on the machine that will "
            "train, without --no-probe"
        )
    epoch = plan.probe.seconds_per_step * config.training.steps_per_epoch
    if not 0 < hours < 10**5:
        raise UsageError(f"--hours {hours:g}: must be a number of hours above 0, as 12 or 0.5")
    epochs = int(hours * 3600 / epoch)
    if epochs < 1:
        raise UsageError(
            f"--hours {hours:g}: one epoch takes {epoch / 3600:.2f} h here; allow more, or give "
            "fewer --set training.steps_per_epoch"
        )
    reason = (
        f"{hours:g} h at {plan.probe.seconds_per_step:.3f} s a step and "
        f"{config.training.steps_per_epoch} steps an epoch"
    )
    return plan.model_copy(update={"epochs": epochs, "reasons": {**plan.reasons, "epochs": reason}})
