"""How networks are run: functions of a window, `[N, C, *patch]` → `[N, K, *patch]`, and their sums.

A 2D network becomes such a function by leaving out the axis of its slices; several networks and
the mirror images of a window become one by the mean of their logits.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from attnseg.errors import UsageError
from attnseg.inference.stream import Network
from attnseg.models import AttentionUNet, channels_last


def resolve_device(name: str) -> torch.device:
    """`auto` → CUDA where there is one, else the CPU; any other name as PyTorch reads it.

    Raises:
        UsageError: an unknown device, or CUDA where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: no CUDA device is visible here; use --device cpu")
    return device


def torch_backend(
    network: AttentionUNet, device: torch.device, *, slice_axis: int | None = None
) -> Network:
    """Eager PyTorch: channels-last on a CPU, float16 autocast on CUDA.

    Args:
        network: the model.
        device: where it runs; the network is moved there.
        slice_axis: of a 2D network, the axis (0, 1, 2) across which it takes slices: the window is
            one voxel deep there.
    """
    on_cpu = device.type == "cpu"
    network = network.eval().to(device)
    if on_cpu:
        network = network.channels_last()

    def run(patches: Tensor) -> Tensor:
        patches = patches.to(device)
        if on_cpu:
            return network(channels_last(patches))
        with torch.autocast(device.type, dtype=torch.float16):
            return network(patches)

    return _of_slices(run, slice_axis)


def attention_backend(
    network: AttentionUNet, device: torch.device, *, slice_axis: int | None = None
) -> Network:
    """Like `torch_backend`, but the outputs are the gates' α, brought to the patch's grid."""
    network = network.eval().to(device)

    def run(patches: Tensor) -> Tensor:
        _, maps = network.forward_all(patches.to(device))
        size = patches.shape[2:]
        mode = "trilinear" if len(size) == 3 else "bilinear"
        resize = torch.nn.functional.interpolate
        return torch.cat([resize(alpha, size=size, mode=mode) for alpha in maps.values()], dim=1)

    return _of_slices(run, slice_axis)


def ensemble(networks: Sequence[Network]) -> Network:
    """The mean of what several networks say of a window, summed as they come: two outputs exist at
    any time, however many the networks are.
    """
    first, *others = networks
    if not others:
        return first

    def run(patches: Tensor) -> Tensor:
        total = first(patches).to(torch.float32, copy=True)
        for network in others:
            total += network(patches)
        return total.div_(len(networks))

    return run


def mirrored(network: Network, axes: Sequence[int]) -> Network:
    """The mean over a window and its mirror images, each turned back.

    Args:
        network: takes windows `[N, C, R, A, S]`.
        axes: of 0 (R), 1 (A) and 2 (S); all their combinations are run, 2 to the power of their
            number.
    """
    dims = [2 + axis for axis in axes]
    flips = [chosen for count in range(1, len(dims) + 1) for chosen in combinations(dims, count)]
    return ensemble([network, *(_flipped(network, chosen) for chosen in flips)])


def _flipped(network: Network, dims: tuple[int, ...]) -> Network:
    return lambda patches: network(patches.flip(dims)).flip(dims)


def _of_slices(network: Network, slice_axis: int | None) -> Network:
    """A network of slices as one of windows that are one voxel deep along `slice_axis`."""
    if slice_axis is None:
        return network
    return lambda patches: network(patches.squeeze(2 + slice_axis)).unsqueeze(2 + slice_axis)
