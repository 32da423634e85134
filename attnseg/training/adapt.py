"""Weights of a finished model as the start of another, whose channels and labels may differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnseg.models import AttentionUNet
from attnseg.spec import ModelSpec


@dataclass(frozen=True)
class Adapted:
    """What became of one tensor of the new network."""

    tensor: str
    how: str
    """"copied", "averaged", "re-initialised", or how many rows of a head are which."""


@torch.no_grad()
def adapt_weights(
    network: AttentionUNet, spec: ModelSpec, source: AttentionUNet, source_spec: ModelSpec
) -> list[Adapted]:
    """Fill `network` from `source` as far as they agree; the rest keeps its fresh values.

    The first layer's channels are taken by name; a channel that `source` does not know gets the
    mean over those it has, so that features start at their usual size. The heads' rows are taken by
    the name of label or region.
    """
    given = source.state_dict()
    inputs = _matches(spec.channel_names, source_spec.channel_names)
    if len(spec.channel_names) == len(source_spec.channel_names) and not any(
        found is not None for found in inputs
    ):
        inputs = list(range(len(inputs)))  # other names for the same number of channels
    outputs = _matches(_output_names(spec), _output_names(source_spec))
    told = []
    for name, value in network.state_dict().items():
        theirs = given.get(name)
        if theirs is None:
            told.append(Adapted(name, "re-initialised"))
        elif name.startswith("heads.") and theirs.shape[1:] == value.shape[1:]:
            told.append(Adapted(name, _fill_rows(value, theirs, outputs)))
        elif _reads_the_scan(name, theirs, source_spec) and _same_but_inputs(value, theirs):
            told.append(Adapted(name, _fill_inputs(value, theirs, inputs)))
        elif theirs.shape == value.shape:
            value.copy_(theirs)
            told.append(Adapted(name, "copied"))
        else:
            told.append(Adapted(name, "re-initialised"))
    return told


def summary(adapted: Sequence[Adapted]) -> list[str]:
    """Lines for the user: what is all copied in one, everything else by name."""
    copied = [each for each in adapted if each.how == "copied"]
    others = [each for each in adapted if each.how != "copied"]
    lines = [f"{len(copied)} of {len(adapted)} tensors copied"]
    return lines + [f"  {each.tensor}: {each.how}" for each in others]


def _output_names(spec: ModelSpec) -> list[str]:
    return [each.name for each in spec.regions or spec.labels]


def _matches(ours: Sequence[str], theirs: Sequence[str]) -> list[int | None]:
    """For each of our names its position among theirs; case does not matter."""
    places = {name.lower(): position for position, name in enumerate(theirs)}
    return [places.get(name.lower()) for name in ours]


def _reads_the_scan(name: str, theirs: Tensor, source_spec: ModelSpec) -> bool:
    first = name in ("encoder.0.0.conv1.weight", "encoder.0.0.shortcut.weight")
    return first and theirs.shape[1] == source_spec.architecture.in_channels


def _same_but_inputs(value: Tensor, theirs: Tensor) -> bool:
    return value.shape[0] == theirs.shape[0] and value.shape[2:] == theirs.shape[2:]


def _fill_rows(value: Tensor, theirs: Tensor, matches: Sequence[int | None]) -> str:
    for row, found in enumerate(matches):
        if found is not None:
            value[row] = theirs[found]
    count = sum(found is not None for found in matches)
    if count == len(matches):
        return "copied"
    return f"{count} row(s) copied by label name, {len(matches) - count} re-initialised"


def _fill_inputs(value: Tensor, theirs: Tensor, matches: Sequence[int | None]) -> str:
    for channel, found in enumerate(matches):
        value[:, channel] = theirs.mean(dim=1) if found is None else theirs[:, found]
    unknown = sum(found is None for found in matches)
    if not unknown:
        return "copied"
    if unknown == len(matches):
        # All channels the same mean: together they give what the source's channels gave.
        value.mul_(theirs.shape[1] / value.shape[1])
    return f"{len(matches) - unknown} channel(s) copied by name, {unknown} averaged"
