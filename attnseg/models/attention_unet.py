"""The Attention U-Net, 2D and 3D. Shapes: N batch, C channels, S two or three spatial axes."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from attnseg.models.blocks import (
    BlockName,
    ConvStack,
    NormName,
    channels_last,
    conv,
    upsampling,
)
from attnseg.models.gates import GridGate, SkipGate
from attnseg.spec import Architecture

_GATES = {"grid": GridGate, "skip": SkipGate}


class AttentionUNet(nn.Module):
    """U-Net whose skip connections pass through attention gates (Oktay et al. 2018).

    Any input size works: every level has ceil(S / stride) voxels, and the decoder crops what
    upsampling gives too much. A level's gate takes the decoder features of the level below as g.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the scan.
        out_channels: classes, background included.
        channels: feature channels of each level, finest first.
        strides: downsampling between neighbouring levels; a number or one per axis each.
        kernel_sizes: convolution kernel of each level; a number for all or one entry a level.
        blocks_per_level: blocks in each encoder level; the decoder has one.
        block: "residual" or "plain".
        norm: "instance" or "batch".
        gate: "grid" (the paper's, on g's coarser grid), "skip" (at x's resolution) or "none".
        gate_finest: gate the finest skip too; the paper does not.
        deep_supervision: number of extra heads below the finest level, used in training.

    Raises:
        pydantic.ValidationError: (a ValueError) arguments that do not fit together.

    Example:
        >>> net = AttentionUNet(3, 1, 2, channels=(4, 8, 16), strides=(2, 2))
        >>> net(torch.zeros(1, 1, 9, 17, 6)).shape
        torch.Size([1, 2, 9, 17, 6])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int],
        strides: Sequence[Sequence[int] | int],
        kernel_sizes: Sequence[Sequence[int] | int] | int = 3,
        blocks_per_level: int = 1,
        block: BlockName = "residual",
        norm: NormName = "instance",
        gate: str = "grid",
        gate_finest: bool = False,
        deep_supervision: int = 0,
    ) -> None:
        super().__init__()
        levels = len(channels)
        kernels = [kernel_sizes] * levels if isinstance(kernel_sizes, int) else kernel_sizes
        spec = Architecture.model_validate(
            {
                "spatial_dims": spatial_dims,
                "in_channels": in_channels,
                "out_channels": out_channels,
                "channels": tuple(channels),
                "strides": tuple(_per_axis(stride, spatial_dims) for stride in strides),
                "kernel_sizes": tuple(_per_axis(kernel, spatial_dims) for kernel in kernels),
                "blocks_per_level": blocks_per_level,
                "block": block,
                "norm": norm,
                "gate": gate,
                "gate_finest": gate_finest,
                "deep_supervision": deep_supervision,
            }
        )
        self.architecture = spec
        widths = (in_channels, *spec.channels)
        steps = ((1,) * spatial_dims, *spec.strides)
        self.encoder = nn.ModuleList(
            ConvStack(
                widths[level],
                widths[level + 1],
                count=blocks_per_level,
                kernel=spec.kernel_sizes[level],
                stride=steps[level],
                block=spec.block,
                norm=spec.norm,
            )
            for level in range(levels)
        )
        # Decoder entries are indexed by their level, finest first, like the encoder's.
        pairs = list(zip(spec.channels[:-1], spec.channels[1:], spec.strides, strict=True))
        self.upsamplings = nn.ModuleList(upsampling(low, high, step) for high, low, step in pairs)
        self.decoder = nn.ModuleList(
            ConvStack(
                2 * high,
                high,
                count=1,
                kernel=spec.kernel_sizes[level],
                block=spec.block,
                norm=spec.norm,
            )
            for level, (high, _, _) in enumerate(pairs)
        )
        one = (1,) * spatial_dims
        self.heads = nn.ModuleList(
            conv(spec.channels[level], out_channels, one, bias=True)
            for level in range(1 + spec.deep_supervision)
        )
        # Last, so that one seed gives all other layers the same start with gates and without.
        self.gates = nn.ModuleDict()
        if spec.gate != "none":
            for level, (high, low, step) in enumerate(pairs):
                if level > 0 or spec.gate_finest:
                    self.gates[str(level)] = _GATES[spec.gate](
                        high, low, inner_channels=max(1, high // 2), stride=step
                    )

    def channels_last(self) -> Self:
        """Keep all weights channels-last, the layout that is fastest on a CPU; in place."""
        for parameter in self.parameters():
            if parameter.ndim == 2 + self.architecture.spatial_dims:
                parameter.data = channels_last(parameter.data)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, *S]` → logits `[N, C_out, *S]`."""
        return self.logits(self._decode(self.encode(x), {})[0])

    def forward_all(self, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Everything the network computes, for training and for looking inside.

        Returns:
            Logits of every head, finest first: `[N, C_out, *S]`, `[N, C_out, *ceil(S / stride)]` …;
            and each gate's α `[N, 1, *S_level]` by the number of its level, "0" the finest.
        """
        maps: dict[str, Tensor] = {}
        features = self._decode(self.encode(x), maps)
        return [head(features[level]) for level, head in enumerate(self.heads)], maps

    def encode(self, x: Tensor) -> list[Tensor]:
        """Encoder features `[N, C_level, *S_level]` of every level, finest first."""
        features = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        return features

    def decode_level(
        self, level: int, skip: Tensor, x: Tensor, *, alpha: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """One step of the decoder.

        Args:
            level: 0 is the finest.
            skip: encoder features of that level.
            x: decoder features of the level below, which the gate takes as g.
            alpha: `[N, 1, *S_level]` to multiply the skip with; None: the gate's own.

        Returns:
            Decoder features of the level; α, None where the level has no gate.
        """
        up = self.upsamplings[level](x)
        for axis, length in enumerate(skip.shape[2:]):
            up = up.narrow(axis + 2, 0, length)
        if alpha is not None:
            skip = skip * alpha
        elif str(level) in self.gates:
            skip, alpha = self.gates[str(level)](skip, x)
        joined = torch.cat([skip, up], dim=1)
        del skip, up  # a sixth of the memory of a forward pass
        return self.decoder[level](joined), alpha

    def logits(self, features: Tensor) -> Tensor:
        """Finest decoder features `[N, C, *S]` → `[N, C_out, *S]`."""
        net = self.architecture
        if net.out_channels > net.channels[0] and not torch.is_grad_enabled():
            # Many classes: their maps one after the other are what is summed up and looked at, and
            # turning the few features round is far less work than turning the classes.
            features = features.contiguous()
        found: Tensor = self.heads[0](features)
        return found

    def _decode(self, skips: list[Tensor], attention: dict[str, Tensor]) -> list[Tensor]:
        """Decoder features of every level but the coarsest, finest first; fills `attention`.

        Empties `skips`, so that each is freed when it has been used.
        """
        features = []
        x = skips.pop()  # the coarsest
        for level in reversed(range(len(self.decoder))):
            x, alpha = self.decode_level(level, skips.pop(), x)
            if alpha is not None:
                attention[str(level)] = alpha
            features.append(x)
        return features[::-1]


def build_network(architecture: Architecture) -> AttentionUNet:
    """The network that a model spec describes."""
    arguments = architecture.model_dump()
    return AttentionUNet(
        arguments.pop("spatial_dims"),
        arguments.pop("in_channels"),
        arguments.pop("out_channels"),
        **arguments,
    )


def _per_axis(value: Sequence[int] | int, spatial_dims: int) -> tuple[int, ...]:
    return (value,) * spatial_dims if isinstance(value, int) else tuple(value)
