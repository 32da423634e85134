"""Random streams: every kind of change draws from one of its own."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The random streams of a run; the numbers are part of what a seed means."""

    ORDER = 0
    PLACE = 1
    AFFINE = 2
    ELASTIC = 3
    MIRROR = 4
    NOISE = 5
    BLUR = 6
    BRIGHTNESS = 7
    CONTRAST = 8
    GAMMA = 9
    LOW_RESOLUTION = 10


def generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """The draws of one stream for one sample (or round of the cases, for `ORDER`)."""
    return np.random.default_rng((seed, stream, number))
