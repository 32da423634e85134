"""Limits that no real model meets.

What is beyond them is damaged or means harm, and is refused before memory is asked for.
"""

import math
import re
from collections.abc import Sequence

MOST_CHANNELS = 4096
MOST_LEVELS = 16
MOST_BLOCKS = 32
MOST_LABELS = 65_536
LARGEST_KERNEL = 31
LARGEST_STRIDE = 64
LARGEST_PATCH, LONGEST_SIDE = 512**3, 8192
MOST_PARAMETERS = 10**9
# Numbers of one level's features of one window: 32 GiB.
MOST_FEATURES = 2**33
SMALLEST_SPACING, LARGEST_SPACING = 1e-9, 1e9
LARGEST_BATCH = 65_536
# Of what scans are shifted and scaled by: float32 holds ten thousand million times as much.
LARGEST_NUMBER = 1e28
_LONGEST_NAME = 200
# Control characters, ends of lines, and what turns the direction of the text behind it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(name: str) -> str:
    """A name as it may stand in tables, pages and file names.

    Raises:
        ValueError: it may not.
    """
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name of {len(name):,} characters; give it {_LONGEST_NAME} or fewer")
    if found := _CONTROL.search(name):
        raise ValueError(f"a name with the control character {found[0]!a}; leave that out")
    return name


def real_spacing(millimetres: float) -> float:
    """A spacing within what microscopes and maps have.

    Raises:
        ValueError: it is not.
    """
    if not SMALLEST_SPACING <= millimetres <= LARGEST_SPACING:
        raise ValueError(
            f"a spacing must lie between {SMALLEST_SPACING:g} and {LARGEST_SPACING:g} mm"
        )
    return millimetres


def parameters(
    widths: Sequence[int],
    kernels: Sequence[Sequence[int]],
    strides: Sequence[Sequence[int]],
    *,
    blocks: int,
) -> int:
    """Weights of the convolutions of an encoder and its decoder, those of gates and heads left out.

    Args:
        widths: channels of the scan, then of each level.
        kernels: of each level.
        strides: between neighbouring levels.
        blocks: in each level of the encoder.
    """
    total = 0
    for level, kernel in enumerate(kernels):
        narrow, wide = widths[level], widths[level + 1]
        total += math.prod(kernel) * wide * (narrow + wide * (2 * blocks - 1))
        if level < len(strides):
            total += math.prod(kernel) * 3 * wide**2  # of the decoder
            total += math.prod(strides[level]) * wide * widths[level + 2]
    return total


def most_features(
    window: Sequence[int], widths: Sequence[int], strides: Sequence[Sequence[int]], *, outputs: int
) -> int:
    """Numbers of the largest features of one window: a level's channels times its voxels.

    Args:
        window: voxels per axis.
        widths: channels of each level.
        strides: between neighbouring levels.
        outputs: of the finest level.
    """
    most, size = 0, list(window)
    for level, wide in enumerate(widths):
        if level:
            size = [-(-n // step) for n, step in zip(size, strides[level - 1], strict=True)]
        most = max(most, math.prod(size) * (wide if level else max(wide, outputs)))
    return most
