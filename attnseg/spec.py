"""What a model file says about its model: architecture, preprocessing, labels, provenance.

This is data, never code: frozen schemas that refuse unknown keys, read from JSON.
"""

import math
from itertools import permutations
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator  # noqa: TID253

from attnseg import limits
from attnseg.schema import Blocks, Count, Frozen, Intensity, Ints, LabelValue, Name, Spacing


class Architecture(Frozen):
    """Arguments of `attnseg.models.AttentionUNet`, one entry per level from finest to coarsest."""

    spatial_dims: Literal[2, 3]
    in_channels: Count
    out_channels: Count
    channels: tuple[Count, ...] = Field(min_length=2, max_length=limits.MOST_LEVELS)
    """Feature channels of each level."""
    strides: tuple[Ints, ...]
    """Downsampling per axis between neighbouring levels: one entry fewer than `channels`."""
    kernel_sizes: tuple[Ints, ...]
    """Convolution kernel per axis of each level; odd numbers."""
    blocks_per_level: Blocks = 1
    block: Literal["plain", "residual"] = "residual"
    norm: Literal["instance", "batch"] = "instance"
    gate: Literal["grid", "skip", "none"] = "grid"
    gate_finest: bool = False
    """Gate the finest skip as well; the paper leaves it ungated."""
    deep_supervision: int = Field(default=0, ge=0)
    """Number of extra output heads below the finest level."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        levels = len(self.channels)
        if len(self.strides) != levels - 1 or len(self.kernel_sizes) != levels:
            raise ValueError(
                f"{levels} channels need {levels - 1} strides and {levels} kernel_sizes, got "
                f"{len(self.strides)} and {len(self.kernel_sizes)}"
            )
        for entry in (*self.strides, *self.kernel_sizes):
            if len(entry) != self.spatial_dims or min(entry) < 1:
                raise ValueError(f"{entry} needs {self.spatial_dims} positive numbers, one an axis")
        if max(map(max, self.kernel_sizes)) > limits.LARGEST_KERNEL:
            raise ValueError(
                f"kernel_sizes {self.kernel_sizes} must be {limits.LARGEST_KERNEL} or less"
            )
        if max(map(max, self.strides), default=1) > limits.LARGEST_STRIDE:
            raise ValueError(f"strides {self.strides} must be {limits.LARGEST_STRIDE} or less")
        if any(size % 2 == 0 for kernel in self.kernel_sizes for size in kernel):
            raise ValueError(f"kernel_sizes {self.kernel_sizes} must be odd, to keep the grid")
        if min(self.channels) < 2:
            raise ValueError(f"channels {self.channels} must be 2 or more at every level")
        count = limits.parameters(
            (self.in_channels, *self.channels),
            self.kernel_sizes,
            self.strides,
            blocks=self.blocks_per_level,
        )
        if count > limits.MOST_PARAMETERS:
            raise ValueError(
                f"a network of {count:.3g} parameters must have {limits.MOST_PARAMETERS:.0e} or "
                "fewer; take fewer channels or smaller kernel_sizes"
            )
        if self.deep_supervision > levels - 2:
            raise ValueError(
                f"deep_supervision {self.deep_supervision} exceeds the {levels - 2} decoder "
                f"levels below the finest of a network of {levels} levels"
            )
        return self

    @property
    def total_stride(self) -> Ints:
        """Downsampling per axis from the input to the coarsest level."""
        total = [1] * self.spatial_dims
        for stride in self.strides:
            total = [a * b for a, b in zip(total, stride, strict=True)]
        return tuple(total)


class ZScore(Frozen):
    """Subtract the mean and divide by the deviation of the scan's own foreground (voxels ≠ 0)."""

    scheme: Literal["zscore"] = "zscore"


class ClipZScore(Frozen):
    """Clip to a window, then shift and scale by fixed numbers: for CT, whose units mean something.

    The numbers come from the training set's foreground (percentiles 0.5 and 99.5, mean, deviation).
    """

    scheme: Literal["ct"] = "ct"
    low: Intensity
    high: Intensity
    mean: Intensity
    std: float = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not be above high {self.high}")
        if max(abs(self.low - self.mean), abs(self.high - self.mean)) > (
            limits.LARGEST_NUMBER * min(self.std, 1)
        ):
            raise ValueError(f"std {self.std} is too small to divide intensities by")
        return self


Normalization = Annotated[ZScore | ClipZScore, Field(discriminator="scheme")]


class Preprocessing(Frozen):
    """How a scan becomes network input; the same for training and prediction."""

    orientation: Literal["RAS"] = "RAS"
    spacing_mm: Spacing
    """Voxel spacing of the network's input along R, A, S in mm."""
    normalization: tuple[Normalization, ...]
    """One entry per channel."""


class Label(Frozen):
    """A class of the model: the value written into masks and its name."""

    value: LabelValue
    name: Name


def unnamed(value: int) -> str:
    """What a label is called that nobody named."""
    return f"label {value}"


class Region(Frozen):
    """A structure that unites several labels and may overlap other regions, as "whole tumour"."""

    name: Name
    members: tuple[LabelValue, ...]
    """Label values that belong to it."""
    value: LabelValue
    """Written into masks; where regions overlap the last of them wins."""


class AfterProcessing(Frozen):
    """What is done to one label of a finished mask; see `attnseg.inference.after`."""

    value: int
    """Of the label in masks."""
    largest_component: bool = False
    """Keep the largest connected component only."""
    min_volume_mm3: float = Field(default=0.0, ge=0)
    """Drop connected components that are smaller; of pictures, a pixel counts as 1 mm³."""
    fill_holes: bool = False
    """Give the label the background that it encloses."""


_MIRRORS = [axes for count in (1, 2, 3) for axes in permutations((0, 1, 2), count)]


class ModelSpec(Frozen):
    """The JSON inside a model file."""

    format: Literal[1] = 1
    architecture: Architecture
    preprocessing: Preprocessing
    channel_names: tuple[Name, ...]
    labels: tuple[Label, ...] = Field(min_length=1, max_length=limits.MOST_LABELS)
    """Classes of the training masks; the first is the background, value 0. Without regions, in the
    order of the network's output channels."""
    regions: tuple[Region, ...] = ()
    """Where there are any, one output channel each, passed through a sigmoid."""
    patch: tuple[int, int, int]
    """Window of sliding-window prediction, voxels along R, A, S. A 2D network takes slices across
    the one axis where it is 1."""
    mirror_axes: Ints = ()
    """Axes (0 R, 1 A, 2 S) along which training mirrored: prediction may do so too."""
    after_processing: tuple[AfterProcessing, ...] = ()
    """What is done to finished masks, at most one entry a label."""
    fingerprint: dict[str, Any] = Field(default_factory=dict)
    """What the training set looked like."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Versions, data set, seed, steps and scores."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        net = self.architecture
        counts = {
            "regions" if self.regions else "labels": (
                len(self.regions or self.labels),
                net.out_channels,
            ),
            "channel_names": (len(self.channel_names), net.in_channels),
            "preprocessing.normalization": (len(self.preprocessing.normalization), net.in_channels),
        }
        for key, (found, needed) in counts.items():
            if found != needed:
                raise ValueError(f"{key} has {found} entries where the architecture needs {needed}")
        if min(self.patch) < 1:
            raise ValueError(f"patch {self.patch} must be 1 or more along every axis")
        if math.prod(self.patch) > limits.LARGEST_PATCH or max(self.patch) > limits.LONGEST_SIDE:
            raise ValueError(
                f"patch {self.patch} must hold {limits.LARGEST_PATCH:,} voxels or fewer, "
                f"{limits.LONGEST_SIDE:,} along an axis"
            )
        if net.spatial_dims == 2 and 1 not in self.patch:
            raise ValueError(f"patch {self.patch} of a 2D network must be 1 along one axis")
        window = [n for axis, n in enumerate(self.patch) if axis != self.slice_axis]
        features = limits.most_features(window, net.channels, net.strides, outputs=net.out_channels)
        if features > limits.MOST_FEATURES:
            raise ValueError(
                f"patch {self.patch}: the features of one window would be {features:.3g} numbers, "
                f"and {limits.MOST_FEATURES:.2g} are the most; take a smaller patch"
            )
        if self.mirror_axes not in {(), *_MIRRORS}:
            raise ValueError(
                f"mirror_axes {self.mirror_axes!s:.60} must be among 0, 1, 2, each once"
            )
        known = {label.value for label in self.labels}
        for region in self.regions:
            if not region.members or not set(region.members) <= known:
                raise ValueError(
                    f"region {region.name} unites {region.members}; its labels must be among "
                    f"{sorted(known)}"
                )
        if self.labels[0].value != 0:
            raise ValueError(f"labels[0] is {self.labels[0].value}; it must be the background, 0")
        if len({label.value for label in self.labels}) != len(self.labels):
            raise ValueError("label values must differ from each other")
        self._check_after_processing()
        return self

    def _check_after_processing(self) -> None:
        values = [rule.value for rule in self.after_processing]
        if values and self.regions:
            raise ValueError(
                f"after_processing of {values}: a model of regions has none, since its masks hold "
                "only the last region of each voxel"
            )
        for value in values:
            if value not in self.output_names:
                raise ValueError(
                    f"after_processing of {value}: masks hold {sorted(self.output_names)} only"
                )
            if values.count(value) > 1:
                raise ValueError(f"after_processing of {value} comes twice; put it into one entry")

    @property
    def label_values(self) -> Ints:
        """Values of the training masks in class order."""
        return tuple(label.value for label in self.labels)

    @property
    def output_names(self) -> dict[int, str]:
        """Value written into masks → name, background left out."""
        outputs = self.regions or self.labels
        return {each.value: each.name for each in outputs if each.value != 0}

    @property
    def slice_axis(self) -> int | None:
        """The axis across which a 2D network takes slices; None for a 3D network."""
        return self.patch.index(1) if self.architecture.spatial_dims == 2 else None
