"""How networks are run: functions of a window, `[N, C, *patch]` → `[N, K, *patch]`, and their sums.

A 2D network becomes such a function by leaving out the axis of its slices; several networks and
the mirror images of a window become one by the mean of their logits.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from attnseg.errors import UsageError, refuse_unknown
from attnseg.inference.stream import Network
from attnseg.models import AttentionUNet, channels_last
from attnseg.spec import ModelSpec

BackendName = Literal["auto", "torch", "openvino"]
# Compiling for OpenVINO takes about a second, and saves half of what eager PyTorch needs: worth it
# from about this many multiply-adds on, two seconds of two cores. A number of the work alone, not
# of the clock, so that the same command takes the same back end again.
_WORTH_COMPILING = 5e10
# What a window of one value gives is kept if it takes no more than this.
CONSTANT_BYTES = 1 << 27


def choose_backend(name: str, device: torch.device, *, multiply_adds: float) -> BackendName:
    """The back end that `auto` stands for; any other name checked.

    Args:
        name: "auto", "torch" or "openvino".
        device: where the network is to run; OpenVINO is for the CPU.
        multiply_adds: all windows to come.

    Raises:
        UsageError: an unknown name, OpenVINO on another device or not installed.
    """
    if name not in get_args(BackendName):
        raise UsageError(f"--backend {name}: unknown; use auto, torch or openvino")
    installed = find_spec("openvino") is not None
    if name == "openvino" and (device.type != "cpu" or not installed):
        reason = f"runs on the CPU, not on {device}" if installed else "is not installed"
        raise UsageError(f"--backend openvino: OpenVINO {reason}; use --backend torch")
    if name != "auto":
        return "openvino" if name == "openvino" else "torch"
    worth = installed and device.type == "cpu" and multiply_adds >= _WORTH_COMPILING
    return "openvino" if worth else "torch"


def make_backend(
    network: AttentionUNet,
    spec: ModelSpec,
    device: torch.device,
    *,
    backend: BackendName,
    compiled: bool = False,
) -> Network:
    """One network as a function of windows `[1, C, *spec.patch]`.

    Args:
        network: the model.
        spec: its patch and, in 2D, its slices.
        device: where it runs.
        backend: "torch" or "openvino".
        compiled: by `torch.compile`; of PyTorch's only.

    Raises:
        UsageError: another back end; "auto" is settled before, by `choose_backend`.
    """
    refuse_unknown("backend", backend, ("torch", "openvino"))
    if backend == "torch":
        return torch_backend(network, device, slice_axis=spec.slice_axis, compiled=compiled)
    from attnseg.inference.openvino_backend import openvino_network

    window = tuple(p for axis, p in enumerate(spec.patch) if axis != spec.slice_axis)
    run = openvino_network(network, channels=spec.architecture.in_channels, window=window)
    return _of_slices(run, spec.slice_axis)


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
    network: AttentionUNet,
    device: torch.device,
    *,
    slice_axis: int | None = None,
    compiled: bool = False,
    call: Network | None = None,
) -> Network:
    """Eager PyTorch: channels-last on a CPU, float16 autocast on CUDA.

    Args:
        network: the model.
        device: where it runs; the network is moved there.
        slice_axis: of a 2D network, the axis (0, 1, 2) across which it takes slices: the window is
            one voxel deep there.
        compiled: by `torch.compile`, which takes its time at the first window. For the size of that
            one: windows have one size, and shapes left open fail where a process compiles a second
            network (PyTorch 2.13, 3D convolutions of strides of 2).
        call: what to ask of the network; None: its logits.
    """
    on_cpu = device.type == "cpu"
    network = network.eval().to(device)
    if on_cpu:
        network = network.channels_last()
    ask: Network = call or (torch.compile(network, dynamic=False) if compiled else network)

    def run(patches: Tensor) -> Tensor:
        if on_cpu:
            return ask(channels_last(patches))
        # A window in pinned memory is copied while the GPU still computes the one before.
        patches = patches.contiguous().pin_memory().to(device, non_blocking=True)
        with torch.autocast(device.type, dtype=torch.float16):
            return ask(patches)

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


def once_where_constant(network: Network) -> Network:
    """Windows of one value everywhere (air that was clipped, a scan's empty border) run once.

    What the network says of such a window depends on the value alone: nothing changes, not even
    a rounding. For a CPU, where a network takes long and asking for the value does not.
    """
    known: dict[tuple[float, ...], Tensor] = {}

    def run(patches: Tensor) -> Tensor:
        low, high = torch.aminmax(patches.flatten(2), dim=2)
        if not torch.equal(low, high):
            return network(patches)
        value = tuple(low.flatten().tolist())
        if value not in known:
            found = network(patches)
            if found.nbytes > CONSTANT_BYTES:
                return found
            known.clear()
            known[value] = found.clone()
        return known[value]

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
