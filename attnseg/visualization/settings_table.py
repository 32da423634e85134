"""What a run was planned and set to be, in words with units, each number with its reason."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from attnseg.config import AugmentationConfig, Config, TrainingConfig
from attnseg.figures import sound
from attnseg.spec import Architecture, ClipZScore, ModelSpec, Normalization
from attnseg.visualization.report_parts import facts

_CONFIGURED = "as configured"
_GATES = {
    "grid": "on the coarser grid, α upsampled",
    "skip": "at the resolution of the skip",
    "none": "none",
}
_LOSSES = {
    "dice_ce": "Dice + cross-entropy",
    "dice_focal": "Dice + focal",
    "tversky": "Tversky",
    "generalized_dice": "generalised Dice",
}
_OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD"}
_MIRRORS = {
    "auto": "mirrored along all axes in 2D, not in 3D",
    "all": "mirrored along every axis",
    "swap": "mirrored along every axis, left and right labels changing places",
    "none": "not mirrored",
}
Row = tuple[str, str, str]


def plan_table(spec: ModelSpec, plan: Mapping[str, Any]) -> str:
    """Number, value and reason as a table.

    Args:
        spec: of the planned model.
        plan: `plan.json`.
    """
    lines = "".join(
        f'<tr><td class="case">{escape(name)}</td><td>{escape(value)}</td>'
        f'<td class="muted">{escape(reason)}</td></tr>'
        for name, value, reason in _plan(spec, plan)
        if value
    )
    return (
        '<table class="findings"><thead><tr><th>Number</th><th>Value</th><th>Reason</th></tr>'
        f"</thead><tbody>{lines}</tbody></table>"
    )


def training_table(config: Config) -> str:
    """What shapes a training, in words; every setting by its key in a part that folds."""
    every = facts(_flat(config.model_dump(mode="json")))
    return (
        f"{facts(_training(config.training))}"
        f"<details><summary>Every setting, by its key in config.yaml</summary>{every}</details>"
    )


def is_flat(spec: ModelSpec) -> bool:
    """Whether the data are pictures, whose pixels have no known size: one voxel deep, 1 × 1 × 1."""
    seen = sound(spec.fingerprint)
    shape = seen.get("median_shape", (0, 0, 0))
    spacing = seen.get("median_spacing_mm", (0, 0, 0))
    return shape[-1] == 1 and set(spacing) == {1.0}


def times(numbers: Sequence[float]) -> str:
    """As 40 × 40 × 64."""
    return "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}".join(f"{each:.4g}" for each in numbers)


def _plan(spec: ModelSpec, plan: Mapping[str, Any]) -> Iterator[Row]:
    net, how = spec.architecture, spec.preprocessing
    why = dict(plan.get("reasons", {}))
    model = why.pop("network and patch", _CONFIGURED)
    reason = why.pop("spacing_mm", _CONFIGURED)
    if not is_flat(spec):
        yield "voxel spacing", f"{times(how.spacing_mm)} mm along R, A, S", reason
    alike: dict[tuple[str, str], list[str]] = {}
    for name, each in zip(spec.channel_names, how.normalization, strict=True):
        reason = why.pop(f"normalization of {name}", _CONFIGURED)
        alike.setdefault((_intensities(each), reason), []).append(name)
    for (value, reason), channels in alike.items():
        yield f"intensities of {', '.join(channels)}", value, reason
    yield "network", f"{net.spatial_dims}D, {_blocks(net)}", _reason(why.pop("dim", model))
    yield "levels", str(len(net.channels)), _reason(why.pop("levels", model))
    features = ", ".join(map(str, net.channels))
    yield "feature channels", f"{features}, finest level first", why.pop("channels", model)
    yield "downsampling", _runs(net.strides), "what becomes one from level to level"
    yield "kernels", _runs(net.kernel_sizes), "3 along each axis, 1 along one that is much coarser"
    finest = ", the finest skip too" if net.gate_finest and net.gate != "none" else ""
    yield "attention gates", _GATES[net.gate] + finest, _CONFIGURED
    deep = f"the loss is taken on {net.deep_supervision} coarser levels too"
    yield "deep supervision", deep if net.deep_supervision else "none", _CONFIGURED
    yield "patch", _patch(spec), why.pop("patch", model)
    batch = plan.get("batch_size")
    yield "batch", f"{batch} patches a step" if batch else "", why.pop("batch_size", _CONFIGURED)
    for key, reason in why.items():  # what a later version explains
        yield key.replace("_", " "), "–", reason
    directions = ("left–right", "up–down" if is_flat(spec) else "front–back", "head–foot")
    axes = ", ".join(directions[axis] for axis in spec.mirror_axes)
    yield "prediction may mirror", axes or "no axis", "those along which training mirrored"
    if plan.get("epochs"):
        yield "epochs", str(plan["epochs"]), "what fits into the hours asked for"
    if plan.get("disk_mb"):
        yield "disk", f"{plan['disk_mb']:,.0f} MB", "for the preprocessed cases"
    yield from _probe(plan.get("probe") or {})


def _runs(sizes: Sequence[Sequence[int]]) -> str:
    """Of each level, finest first, equal neighbours as one: 2 × 2 × 2 (3 times), 1 × 1 × 2."""
    runs = [(times(size), len(list(equal))) for size, equal in groupby(sizes)]
    return ", ".join(f"{size} ({n} times)" if n > 1 else size for size, n in runs)


def _probe(probe: Mapping[str, Any]) -> Iterator[Row]:
    told = f"measured on the {probe['device']}" if "device" in probe else "measured"
    if "seconds_per_step" in probe:
        yield "time", f"{probe['seconds_per_step']:.3g} s a step", told
    if "peak_memory_mb" in probe:
        yield "memory", f"{probe['peak_memory_mb'] / 1000:.2f} GB at most", told


def _training(how: TrainingConfig) -> Iterator[tuple[str, str]]:
    minutes = f"{how.max_minutes:g} minutes" if how.max_minutes is not None else ""
    yield "length", minutes or f"{how.epochs} epochs of {how.steps_per_epoch} steps"
    price = f", and {how.gate_price:g} × the gates' mean α" if how.gate_price else ""
    yield "loss", _LOSSES[how.loss] + price
    yield (
        "optimiser",
        f"{_OPTIMIZERS[how.optimizer]}, weight decay {how.weight_decay:g}, gradients clipped at a "
        f"norm of {how.gradient_clip:g}",
    )
    fall = "a cosine" if how.schedule == "cosine" else "a polynomial"
    rise = f"{how.learning_rate:g}, reached after {_percent(how.warmup)} of the run"
    yield "learning rate", f"{rise}, then down by {fall}"
    yield "patches", f"{_percent(how.foreground_fraction)} of them centred on a label"
    yield "augmentation", _augmentation(how.augmentation)
    yield "weights kept", f"averaged over steps, by {how.ema_decay:g} a step"
    yield (
        "watched",
        f"{how.validation_cases} held-out cases every {how.validation_every_epochs} epochs"
        if how.validation_cases
        else "nothing before the end",
    )
    yield "precision", "by the device" if how.precision == "auto" else how.precision
    yield "seed", f"{how.seed}{', the same bits every time' if how.deterministic else ''}"


def _augmentation(how: AugmentationConfig) -> str:
    elastic = how.elastic_probability
    deformed = f"; deformed in {_percent(elastic)} of patches" if elastic else ""
    turned = f"turned by up to {how.rotation_degrees:g}° and scaled by up to {_percent(how.scale)}"
    changed = "noise, blur, brightness, contrast, gamma and low resolution"
    return (
        f"{turned} in {_percent(how.spatial_probability)} of patches{deformed}; {changed} in "
        f"{_percent(how.intensity_probability)} each; {_MIRRORS[how.mirror]}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _intensities(how: Normalization) -> str:
    if isinstance(how, ClipZScore):
        low, high, mean = (
            f"{each:.4g}".replace("-", "−") for each in (how.low, how.high, how.mean)
        )
        return f"clipped to {low} to {high}, less {mean}, over {how.std:.4g}"
    return "mean 0 and deviation 1 in each scan"


def _blocks(net: Architecture) -> str:
    kind = f"{net.block} block" + ("s" if net.blocks_per_level > 1 else "")
    return f"{net.blocks_per_level} {kind} a level, {net.norm} norm"


def _patch(spec: ModelSpec) -> str:
    sides = [n for axis, n in enumerate(spec.patch) if axis != spec.slice_axis]
    if is_flat(spec):
        return f"{times(sides)} pixels"
    every = zip(spec.patch, spec.preprocessing.spacing_mm, strict=True)
    lengths = [round(n * mm) for axis, (n, mm) in enumerate(every) if axis != spec.slice_axis]
    return f"{times(sides)} voxels ({times(lengths)} mm)"


def _reason(text: str) -> str:
    """The plan repeats the number before its reason: `3d: the scans are volumes`."""
    number, colon, rest = text.partition(": ")
    return rest if colon and len(number) < 3 else text


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _told(value)


def _told(value: Any) -> str:
    """As it stands in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_told, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
