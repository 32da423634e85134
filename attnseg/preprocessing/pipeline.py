"""Scan → network input, and the facts needed for the way back. One path for training and use."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnseg.errors import DataError
from attnseg.images import Geometry, Image
from attnseg.preprocessing.normalization import is_constant, scale_of
from attnseg.preprocessing.orientation import AxisOrder
from attnseg.preprocessing.resampling import axis_matrix, resample, resample_labels
from attnseg.spec import Preprocessing

Shape = tuple[int, int, int]
# Rows of a scan that are normalised and resampled at a time; a file's fastest axis may be among
# them, of which a line of the cache holds sixteen voxels.
_ROWS = 32
# A scan may grow to so many voxels, or so many times its own, when it is resampled.
_MOST_VOXELS, _MOST_TIMES = 2**31, 64


@dataclass(frozen=True)
class Grid:
    """The model's grid of one scan beside the scan's own.

    Args:
        axes: how the stored axes become R, A, S.
        source_shape: voxels of the scan along R, A, S.
        shape: voxels of the network's input along R, A, S.
    """

    axes: AxisOrder
    source_shape: Shape
    shape: Shape

    @classmethod
    def of(cls, geometry: Geometry, spec: Preprocessing, *, source: str = "the scan") -> "Grid":
        """The grid on which a model with this spec sees a scan with this geometry.

        Raises:
            DataError: a spacing so far from the model's that the grid would fill any memory.
        """
        axes = AxisOrder.of(geometry)
        stored = axes.permute(geometry.shape)
        spacing = axes.permute(geometry.spacing_mm)
        # A spacing that differs by a rounding of the header is the same spacing.
        target = [
            n if abs(mm / wanted - 1) < 1e-3 else max(1, round(n * mm / wanted))
            for n, mm, wanted in zip(stored, spacing, spec.spacing_mm, strict=True)
        ]
        refuse_too_large(stored, target, source=source, spacing_mm=spec.spacing_mm)
        return cls(axes, stored, (target[0], target[1], target[2]))

    def matrices_back(self) -> tuple[Tensor | None, ...]:
        """Per axis the matrix `[source, model]` that resamples logits; None where sizes agree."""
        return tuple(
            None if n == m else axis_matrix(n, m)
            for n, m in zip(self.shape, self.source_shape, strict=True)
        )


def refuse_too_large(
    shape: Sequence[int],
    resampled: Sequence[int],
    *,
    source: str,
    spacing_mm: Sequence[float],
) -> None:
    """Stop where a header of wrong units would make a scan many times larger.

    Args:
        shape: voxels per axis.
        resampled: the same at the model's spacing.
        source: what would become so large.
        spacing_mm: the model's.

    Raises:
        DataError: it would.
    """
    if too_large(shape, resampled):
        before, after, spacing = (
            "×".join(f"{n:g}" for n in each) for each in (shape, resampled, spacing_mm)
        )
        raise DataError(
            f"{source}: its {before} voxels would become {after} at the model's spacing of "
            f"{spacing} mm; is the spacing in its header in mm? Correct it, or train with another "
            "preprocessing.spacing_mm"
        )


def too_large(shape: Sequence[float], resampled: Sequence[float]) -> bool:
    """Whether resampling would make a scan so much larger that its header must be wrong."""
    return prod(resampled) > max(_MOST_VOXELS, _MOST_TIMES * prod(shape))


def preprocess(image: Image, spec: Preprocessing) -> tuple[Tensor, Grid]:
    """Orient, normalise and resample a scan.

    Returns:
        The network's input `[C, R, A, S]`, float32, and its grid.

    Raises:
        DataError: other number of channels than the spec, NaN.
    """
    expected = len(spec.normalization)
    if image.array.shape[0] != expected:
        raise DataError(
            f"{image.path or 'image'}: {image.array.shape[0]} channel(s) where the model expects "
            f"{expected}; give all channels of the case"
        )
    grid = Grid.of(image.geometry, spec, source=str(image.path or "image"))
    scales = [
        scale_of(channel, scheme, source=image.source_of(number))
        for number, (channel, scheme) in enumerate(
            zip(image.array, spec.normalization, strict=True)
        )
    ]
    oriented = grid.axes.apply(image.array)
    # Some rows at a time, so that the scan itself is all that exists at its full size.
    planes = torch.empty((expected, grid.source_shape[0], *grid.shape[1:]))
    for start in range(0, grid.source_shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        part = np.stack(
            [scale.apply(channel[rows]) for scale, channel in zip(scales, oriented, strict=True)]
        )
        part_shape = (part.shape[1], *grid.shape[1:])
        planes[:, rows] = resample(torch.from_numpy(np.ascontiguousarray(part)), part_shape)
    return resample(planes, grid.shape), grid


def constant_channels(image: Image, names: Sequence[str] = ()) -> tuple[str, ...]:
    """A sentence for each channel of a single value, which says nothing to a network.

    Such are a sequence that was not acquired, or a blank tile. A z-score makes zeros of them.

    Args:
        image: the scan as read.
        names: of the channels; where there are others or none, channels go by their number.
    """
    return tuple(
        f"{channel_in_words(image, number, names)} is {channel.flat[0]:g} everywhere"
        for number, channel in enumerate(image.array)
        if is_constant(channel)
    )


def channel_in_words(image: Image, number: int, names: Sequence[str] = ()) -> str:
    """A channel by its number, its name and its file, such as "channel 1 (T2, b_0001.nii.gz)".

    Args: as of `constant_channels`.
    """
    file = Path(str(image.sources[number] if image.sources else image.path or "image")).name
    named = [names[number]] if len(names) == len(image.array) else []
    return f"channel {number} ({', '.join(dict.fromkeys([*named, file]))})"


def preprocess_labels(
    labels: Image,
    spec: Preprocessing,
    *,
    label_values: tuple[int, ...],
    ignore_label: int | None = None,
) -> Tensor:
    """Orient and resample a mask to the model's grid, values mapped to class indices.

    Args:
        labels: the mask as read, `[1, I, J, K]`.
        spec: the model's preprocessing.
        label_values: values in class order, background first.
        ignore_label: value of voxels that nobody labelled.

    Returns:
        Class indices `[R, A, S]`, int16; −1 where the label is to be ignored, which takes part in
        the vote of a new voxel like a class.

    Raises:
        DataError: a value that is neither among `label_values` nor `ignore_label`.
    """
    grid = Grid.of(labels.geometry, spec, source=str(labels.path or "labels"))
    indices = class_indices(
        labels.array[0],
        label_values,
        ignore_label=ignore_label,
        source=str(labels.path or "labels"),
    )
    oriented = torch.from_numpy(np.ascontiguousarray(grid.axes.apply(indices)))
    return resample_labels(oriented, grid.shape, num_classes=len(label_values))


def class_indices(
    array: np.ndarray,
    label_values: tuple[int, ...],
    *,
    ignore_label: int | None = None,
    source: str,
) -> np.ndarray:
    """Label values → positions in `label_values`, −1 for `ignore_label`; int16."""
    ignored = () if ignore_label is None else (ignore_label,)
    indices = np.array([*range(len(label_values)), *(-1 for _ in ignored)], dtype=np.int16)
    values = np.array((*label_values, *ignored), dtype=np.int64)
    order = np.argsort(values)
    found = np.searchsorted(values[order], array)
    found = np.clip(found, 0, len(values) - 1)
    known = values[order][found] == array
    if not known.all():
        raise DataError(
            f"{source}: label value {array[~known].flat[0]} is not one of {list(label_values)}; "
            "correct the mask or declare the value"
        )
    return indices[order][found]
