"""The network's shape from the data's: levels, strides, kernels; and what a shape costs."""

from collections.abc import Sequence
from math import prod

from attnseg.schema import Ints
from attnseg.spec import Architecture

_MIN_LEVELS, _MAX_LEVELS = 2, 6
_MIN_FEATURES = 4
# An axis this much coarser than the finest is neither downsampled nor convolved across yet.
ANISOTROPY = 2.0
# Tensors of a level's size that a training step keeps, for each of its channels: measured, see
# tests/training/test_topology.py.
_KEPT_PER_CHANNEL = 10


def levels_of(
    patch: Sequence[int], spacing_mm: Sequence[float], *, wanted: int | None
) -> tuple[tuple[Ints, ...], tuple[Ints, ...]]:
    """Strides and kernels: coarse axes join once the fine ones have come down to their spacing.

    Args:
        patch: voxels per axis; two or three axes.
        spacing_mm: of the same axes.
        wanted: number of levels the user asked for; None: as many as the patch carries, and two
            at least.
    """
    size, spacing = [float(n) for n in patch], list(spacing_mm)
    strides: list[Ints] = []
    kernels = [_kernel(spacing)]
    while len(kernels) < (wanted or _MAX_LEVELS):
        finest = min(
            (mm for mm, n in zip(spacing, size, strict=True) if n > 1), default=min(spacing)
        )
        step = tuple(
            2 if n >= 2 * _MIN_FEATURES and mm < ANISOTROPY * finest else 1
            for n, mm in zip(size, spacing, strict=True)
        )
        if max(step) == 1:
            if wanted is None and len(kernels) >= _MIN_LEVELS:
                break
            step = tuple(2 if n > 1 else 1 for n in size)  # so many levels there must be
        size = [n / s for n, s in zip(size, step, strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, step, strict=True)]
        strides.append(step)
        kernels.append(_kernel(spacing))
    return tuple(strides), tuple(kernels)


def levels_reason(levels: int) -> str:
    """Why so many."""
    return (
        f"{levels}: each axis is halved while {_MIN_FEATURES} features remain and it is less than "
        f"{ANISOTROPY:g} times as coarse as the finest; {_MIN_LEVELS} at least"
    )


def round_to_strides(
    patch: Sequence[int], spacing_mm: Sequence[float], strides: Sequence[Ints], *, budget: int
) -> list[int]:
    """The patch with every axis a multiple of the network's total stride, within the budget.

    Rounded up; where that exceeds `budget` voxels the longest sides in mm give a stride back.
    """
    totals = [prod(step[axis] for step in strides) for axis in range(len(patch))]
    rounded = [-(-n // total) * total for n, total in zip(patch, totals, strict=True)]
    while prod(rounded) > budget:
        able = [axis for axis, n in enumerate(rounded) if n > totals[axis]]
        if not able:
            break
        longest = max(able, key=lambda axis: rounded[axis] * spacing_mm[axis])
        rounded[longest] -= totals[longest]
    return rounded


def cut_to_budget(shape: Sequence[int], spacing_mm: Sequence[float], budget: int) -> list[int]:
    """The shape, its longest sides in mm shortened until it holds at most `budget` voxels.

    No side becomes shorter than one voxel.
    """
    patch = list(shape)
    while prod(patch) > max(1, budget):
        able = [axis for axis, n in enumerate(patch) if n > 1]
        longest = max(able, key=lambda axis: patch[axis] * spacing_mm[axis])
        patch[longest] -= 1
    return patch


def step_bytes(net: Architecture, patch: Sequence[int], *, bytes_per_number: int = 4) -> int:
    """Estimated memory of one sample in a training step: what the backward pass needs, bytes."""
    size = [float(n) for n in patch]
    total = 0.0
    steps = ((1,) * net.spatial_dims, *net.strides)
    for channels, step in zip(net.channels, steps, strict=True):
        size = [-(-n // s) for n, s in zip(size, step, strict=True)]
        blocks = (1 + net.blocks_per_level) / 2
        total += prod(size) * channels * _KEPT_PER_CHANNEL * blocks
    return int(total * bytes_per_number)


def _kernel(spacing_mm: Sequence[float]) -> Ints:
    return tuple(1 if mm >= ANISOTROPY * min(spacing_mm) else 3 for mm in spacing_mm)
