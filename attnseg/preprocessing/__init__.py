"""Scan → network input and back: orientation, normalisation, resampling."""

from attnseg.preprocessing.normalization import foreground_statistics, is_constant, normalize
from attnseg.preprocessing.orientation import AxisOrder
from attnseg.preprocessing.pipeline import (
    Grid,
    channel_in_words,
    class_indices,
    constant_channels,
    preprocess,
    preprocess_labels,
    refuse_too_large,
    too_large,
)
from attnseg.preprocessing.resampling import apply_along, axis_matrix, resample, resample_labels

__all__ = [
    "AxisOrder",
    "Grid",
    "apply_along",
    "axis_matrix",
    "channel_in_words",
    "class_indices",
    "constant_channels",
    "foreground_statistics",
    "is_constant",
    "normalize",
    "preprocess",
    "preprocess_labels",
    "refuse_too_large",
    "resample",
    "resample_labels",
    "too_large",
]
