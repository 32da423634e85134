"""From the data to the numbers of a run: spacing, patch, levels, channels, each with its reason."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnseg.config import Config
from attnseg.datasets import Dataset, Fingerprint
from attnseg.errors import DataError
from attnseg.files import write_text
from attnseg.spec import (
    Architecture,
    ClipZScore,
    Frozen,
    Label,
    ModelSpec,
    Normalization,
    Preprocessing,
    ZScore,
    validate,
)

_MAX_LEVELS = 6
_MIN_FEATURES = 4
# Patches of this many voxels train at about a second a step on two CPU cores with 16 channels, and
# fit an 8 GB GPU with 32.
_VOXEL_BUDGET = {"cpu": 64**3, "cuda": 128**3}
# An axis this much coarser than the finest is neither downsampled nor convolved across yet.
_ANISOTROPY = 2.0


class Plan(Frozen):
    """What a run was planned to be; `plan.json` of the run folder."""

    spec: ModelSpec
    reasons: dict[str, str]
    """Number → why, one sentence each."""


def make_plan(config: Config, dataset: Dataset, figures: Fingerprint, *, device: str) -> Plan:
    """Settle everything the configuration leaves to `auto`.

    Args:
        config: the experiment.
        dataset: names of channels and labels.
        figures: fingerprint of the training set.
        device: "cpu" or "cuda": how large a patch may be.
    """
    reasons: dict[str, str] = {}
    preprocessing = _preprocessing(config, dataset, figures, reasons)
    shape = [
        max(1, round(n * mm / target))
        for n, mm, target in zip(
            figures.median_shape, figures.median_spacing_mm, preprocessing.spacing_mm, strict=True
        )
    ]
    patch = _patch(
        config,
        shape,
        preprocessing.spacing_mm,
        _VOXEL_BUDGET.get(device, _VOXEL_BUDGET["cpu"]),
        reasons,
    )
    strides, kernels = _levels(patch, preprocessing.spacing_mm, config)
    levels = len(kernels)
    reasons["levels"] = (
        f"{levels}: each axis is halved while {_MIN_FEATURES} features remain and it is less than "
        f"{_ANISOTROPY:g} times as coarse as the finest"
    )
    if config.model.patch == "auto":
        totals = [_product(step[axis] for step in strides) for axis in range(3)]
        patch = [-(-n // total) * total for n, total in zip(patch, totals, strict=True)]
    channels = _channels(config, levels, reasons)
    heads = max(0, levels - 2) if config.model.deep_supervision else 0
    names = dataset.label_names
    labels = [Label(value=0, name="background")] + [
        Label(value=value, name=names.get(value, f"label {value}"))
        for value in figures.label_values
    ]
    architecture = Architecture(
        spatial_dims=3,
        in_channels=len(dataset.channel_names),
        out_channels=len(labels),
        channels=channels,
        strides=strides,
        kernel_sizes=kernels,
        blocks_per_level=config.model.blocks_per_level,
        block=config.model.block,
        norm=config.model.norm,
        gate=config.model.gate,
        gate_finest=config.model.gate_finest,
        deep_supervision=heads,
    )
    spec = ModelSpec(
        architecture=architecture,
        preprocessing=preprocessing,
        channel_names=dataset.channel_names,
        labels=tuple(labels),
        patch=tuple(patch),
        fingerprint=json.loads(json.dumps(asdict(figures))),
        provenance={
            "dataset": dataset.root.resolve().name,
            "layout": dataset.layout,
            "seed": config.training.seed,
        },
    )
    return Plan(spec=spec, reasons=reasons)


def save_plan(path: Path, plan: Plan) -> None:
    """Write the plan as JSON."""
    write_text(path, plan.model_dump_json(indent=2) + "\n")


def load_plan(path: Path) -> Plan:
    """Read a plan back.

    Raises:
        DataError: missing, or no longer a plan.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); start the run again") from None
    return validate(Plan, raw, source=str(path), error=DataError)


def _preprocessing(
    config: Config, dataset: Dataset, figures: Fingerprint, reasons: dict[str, str]
) -> Preprocessing:
    spacing = config.preprocessing.spacing_mm
    if spacing == "auto":
        reasons["spacing_mm"] = f"median of {figures.num_cases} cases"
        spacing = tuple(round(mm, 4) for mm in figures.median_spacing_mm)  # type: ignore[assignment]
    else:
        reasons["spacing_mm"] = "given in the configuration"
    schemes: list[Normalization] = []
    for name, intensity in zip(dataset.channel_names, figures.intensity, strict=True):
        wanted = config.preprocessing.normalization
        if wanted == "ct" or (wanted == "auto" and name.strip().lower() == "ct"):
            schemes.append(
                ClipZScore(
                    low=intensity.percentile_00_5,
                    high=intensity.percentile_99_5,
                    mean=intensity.mean,
                    std=max(intensity.std, 1e-6),
                )
            )
            reasons[f"normalization of {name}"] = (
                "CT: clipped to the foreground's percentiles 0.5 and 99.5, scaled by its mean and "
                "deviation, since its units mean the same in every scan"
            )
        else:
            schemes.append(ZScore())
            reasons[f"normalization of {name}"] = (
                "z-score over each scan's own foreground, since its units differ from scan to scan"
            )
    return Preprocessing(spacing_mm=spacing, normalization=tuple(schemes))


def _patch(
    config: Config,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    budget: int,
    reasons: dict[str, str],
) -> list[int]:
    """The median scan, its longest sides (in mm) cut until the budget holds."""
    if config.model.patch != "auto":
        reasons["patch"] = "given in the configuration"
        return list(config.model.patch)
    patch = list(shape)
    while _product(patch) > budget:
        longest = max(range(3), key=lambda axis: patch[axis] * spacing_mm[axis])
        patch[longest] -= 1
    cut = "cut to" if patch != list(shape) else "within"
    reasons["patch"] = (
        f"the median scan of {'×'.join(map(str, shape))} voxels, {cut} the budget of {budget:,} "
        "voxels and rounded up to the network's strides"
    )
    return patch


def _levels(
    patch: Sequence[int], spacing_mm: Sequence[float], config: Config
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Strides and kernels: coarse axes join once the fine ones have come down to their spacing."""
    size, spacing = [float(n) for n in patch], list(spacing_mm)
    strides: list[tuple[int, ...]] = []
    kernels = [_kernel(spacing)]
    wanted = None if config.model.channels == "auto" else len(config.model.channels)
    while len(kernels) < (wanted or _MAX_LEVELS):
        finest = min(mm for mm, n in zip(spacing, size, strict=True) if n > 1)
        step = tuple(
            2 if n >= 2 * _MIN_FEATURES and mm < _ANISOTROPY * finest else 1
            for n, mm in zip(size, spacing, strict=True)
        )
        if max(step) == 1:
            if wanted is None:
                break
            step = tuple(2 if n > 1 else 1 for n in size)  # the user asked for this many levels
        size = [n / s for n, s in zip(size, step, strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, step, strict=True)]
        strides.append(step)
        kernels.append(_kernel(spacing))
    return tuple(strides), tuple(kernels)


def _kernel(spacing_mm: Sequence[float]) -> tuple[int, ...]:
    return tuple(1 if mm >= _ANISOTROPY * min(spacing_mm) else 3 for mm in spacing_mm)


def _channels(config: Config, levels: int, reasons: dict[str, str]) -> tuple[int, ...]:
    if config.model.channels != "auto":
        reasons["channels"] = "given in the configuration"
        return config.model.channels
    base, most = config.model.base_channels, config.model.max_channels
    reasons["channels"] = f"{base} at the finest level, doubled at each, at most {most}"
    return tuple(min(base * 2**level, most) for level in range(levels))


def _product(numbers: Any) -> int:
    result = 1
    for number in numbers:
        result *= int(number)
    return result
