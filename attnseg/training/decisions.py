"""The rules by which data become numbers; each leaves its reason, one sentence.

`reasons` is filled on the way: number → why.
"""

from collections.abc import Sequence
from math import prod

from attnseg.config import Config
from attnseg.datasets import Dataset, Fingerprint
from attnseg.errors import ConfigError
from attnseg.spec import (
    Architecture,
    ClipZScore,
    Ints,
    ModelSpec,
    Normalization,
    Preprocessing,
    Spacing,
    ZScore,
)
from attnseg.training.topology import (
    cut_to_budget,
    levels_of,
    levels_reason,
    round_to_strides,
    step_bytes,
)

# Voxels of a patch on a CPU: two of them in 3D, or four slices, train in half a second to a second
# on two cores with 16 channels. Larger ones show more at once but leave too few steps: in the same
# minutes on the head's organs, 64³ voxels came to a loss of 1.02 and these to 0.95.
_CPU_PATCH = 48**3
_CPU_SLICE = 256**2
_CPU_BATCH = 64**3  # of all patches of a step
_SMALLEST_BATCH, _LARGEST_BATCH = 2, 16
# Of a GPU's memory, what activations may take; weights, workspace and fragments need the rest.
_SHARE = 0.7
_DEFAULT_GPU_BYTES = 8 << 30
# nnU-Net's rule: slices this many times as thick as the finest axis, and as few, count as coarse.
_THICK = 3.0


def choose_preprocessing(
    config: Config,
    dataset: Dataset,
    figures: Fingerprint,
    base: ModelSpec | None,
    reasons: dict[str, str],
) -> Preprocessing:
    """Spacing and normalisation; those of `base` where the configuration leaves them open."""
    spacing: Spacing
    if config.preprocessing.spacing_mm != "auto":
        reasons["spacing_mm"] = "given in the configuration"
        spacing = config.preprocessing.spacing_mm
    elif base is not None:
        reasons["spacing_mm"] = "that of the model to start from"
        spacing = base.preprocessing.spacing_mm
    else:
        spacing = _spacing(figures, reasons)
    former = (
        dict(zip(base.channel_names, base.preprocessing.normalization, strict=True)) if base else {}
    )
    schemes: list[Normalization] = []
    for name, intensity in zip(dataset.channel_names, figures.intensity, strict=True):
        wanted = config.preprocessing.normalization
        if wanted == "auto" and name in former:
            schemes.append(former[name])
            reasons[f"normalization of {name}"] = "that of the model to start from"
        elif wanted == "ct" or (wanted == "auto" and name.strip().lower() == "ct"):
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


def _spacing(figures: Fingerprint, reasons: dict[str, str]) -> Spacing:
    """The median; along thick slices the 10th percentile, so that fine scans keep their detail."""
    spacing = [_rounded(mm) for mm in figures.median_spacing_mm]
    coarse = max(range(3), key=lambda axis: spacing[axis])
    others = [axis for axis in range(3) if axis != coarse]
    thick = spacing[coarse] > _THICK * max(spacing[axis] for axis in others)
    few = figures.median_shape[coarse] * _THICK < min(figures.median_shape[a] for a in others)
    reasons["spacing_mm"] = f"median of {figures.num_cases} cases"
    if thick and few:
        spacing[coarse] = _rounded(figures.percentile_10_spacing_mm[coarse])
        reasons["spacing_mm"] += (
            f"; along {'RAS'[coarse]}, whose slices are more than {_THICK:g} times as thick as "
            "the pixels, the 10th percentile, so that the finer scans keep their slices"
        )
    return spacing[0], spacing[1], spacing[2]


def _rounded(mm: float) -> float:
    """To four decimals; of what is finer than they can tell, four figures."""
    return round(mm, 4) if mm >= 1e-3 else float(f"{mm:.4g}")


def choose_slice_axis(
    config: Config,
    dataset: Dataset,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    base: ModelSpec | None,
    reasons: dict[str, str],
) -> int | None:
    """The axis across which a 2D network takes slices; None: a 3D network."""
    if base is not None:
        return base.slice_axis
    flat = dataset.pictures or (config.model.dim == "auto" and min(shape) == 1)
    if dataset.pictures and config.model.dim == "3d":
        raise ConfigError("model.dim 3d: these are pictures; leave it out or give 2d")
    if not flat and config.model.dim != "2d":
        reasons["dim"] = "3d: the scans are volumes" if config.model.dim == "auto" else "as given"
        return None
    # Slices lie across the coarsest axis; of equal ones across the shortest, axial at last.
    axis = max(range(3), key=lambda each: (shape[each] == 1, spacing_mm[each], -shape[each], each))
    reasons["dim"] = (
        "2d: the images are pictures"
        if flat
        else f"2d as given: slices across {'RAS'[axis]}, the coarsest axis"
    )
    return axis


def choose_network(
    config: Config,
    dataset: Dataset,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    slice_axis: int | None,
    outputs: int,
    device: str,
    gpu_bytes: int | None,
    reasons: dict[str, str],
) -> tuple[Architecture, Ints]:
    """Architecture and patch; `shape` and `spacing_mm` are those of the median scan, resampled."""
    axes = [axis for axis in range(3) if axis != slice_axis]
    spacing = [spacing_mm[axis] for axis in axes]
    wanted = None if config.model.channels == "auto" else len(config.model.channels)

    def build(size: Sequence[int]) -> Architecture:
        strides, kernels = levels_of(size, spacing, wanted=wanted)
        levels = len(kernels)
        return Architecture(
            spatial_dims=len(axes),
            in_channels=len(dataset.channel_names),
            out_channels=outputs,
            channels=_channels(config, levels, reasons),
            strides=strides,
            kernel_sizes=kernels,
            blocks_per_level=config.model.blocks_per_level,
            block=config.model.block,
            norm=config.model.norm,
            gate=config.model.gate,
            gate_finest=config.model.gate_finest,
            deep_supervision=max(0, levels - 2) if config.model.deep_supervision else 0,
        )

    if config.model.patch != "auto":
        given = config.model.patch
        if slice_axis is not None and given[slice_axis] != 1:
            raise ConfigError(
                f"model.patch {list(given)}: a 2d network takes slices across {'RAS'[slice_axis]}, "
                "so its patch must be 1 there"
            )
        reasons["patch"] = "given in the configuration"
        size = [given[axis] for axis in axes]
        net = build(size)
    else:
        whole = [shape[axis] for axis in axes]
        # On a GPU rounding up is paid from the share of memory that is left free.
        budget = _CPU_PATCH if slice_axis is None else _CPU_SLICE
        if device != "cpu":
            budget = 2 * prod(whole)
        size = cut_to_budget(whole, spacing, budget)
        net = build(size)
        if device != "cpu":
            memory = _SHARE * (gpu_bytes or _DEFAULT_GPU_BYTES) / _SMALLEST_BATCH
            while step_bytes(net, size, bytes_per_number=2) > memory:
                if prod(size) == 1:
                    raise ConfigError(
                        f"{(gpu_bytes or _DEFAULT_GPU_BYTES) / 2**20:,.0f} MiB of GPU memory: not "
                        "even a patch of one voxel fits; plan for a larger GPU, or lower "
                        "model.base_channels"
                    )
                size = cut_to_budget(size, spacing, int(0.95 * prod(size)))
                net = build(size)
        cut = "within" if size == whole else "cut to"
        bound = (
            "what a CPU trains quickly"
            if device == "cpu"
            else f"{(gpu_bytes or _DEFAULT_GPU_BYTES) / 2**30:g} GiB of GPU memory"
        )
        reasons["patch"] = (
            f"the median scan of {'×'.join(map(str, whole))} voxels, {cut} {bound}, and rounded to "
            "the network's strides"
        )
        size = round_to_strides(size, spacing, net.strides, budget=budget)
    reasons["levels"] = levels_reason(len(net.channels))
    patch = [1, 1, 1]
    for axis, n in zip(axes, size, strict=True):
        patch[axis] = n
    return net, tuple(patch)


def choose_batch(
    config: Config,
    net: Architecture,
    patch: Sequence[int],
    slice_axis: int | None,
    device: str,
    gpu_bytes: int | None,
    reasons: dict[str, str],
) -> int:
    """Samples a step."""
    if config.training.batch_size != "auto":
        reasons["batch_size"] = "given in the configuration"
        return config.training.batch_size
    if device == "cpu":
        many = _CPU_BATCH // prod(patch)
        reasons["batch_size"] = f"as many patches as make {_CPU_BATCH:,} voxels a step"
    else:
        memory = _SHARE * (gpu_bytes or _DEFAULT_GPU_BYTES)
        size = patch if slice_axis is None else [n for a, n in enumerate(patch) if a != slice_axis]
        many = int(memory / step_bytes(net, size, bytes_per_number=2))
        reasons["batch_size"] = "as many patches as the GPU memory holds"
    bounded = min(max(many, _SMALLEST_BATCH), _LARGEST_BATCH)
    reasons["batch_size"] += f", from {_SMALLEST_BATCH} to {_LARGEST_BATCH}"
    return bounded


def _channels(config: Config, levels: int, reasons: dict[str, str]) -> Ints:
    if config.model.channels != "auto":
        reasons["channels"] = "given in the configuration"
        return config.model.channels
    base, most = config.model.base_channels, config.model.max_channels
    reasons["channels"] = f"{base} at the finest level, doubled at each, at most {most}"
    return tuple(min(base * 2**level, most) for level in range(levels))
