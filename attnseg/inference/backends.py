"""How the network is run: `[N, C, *patch]` → `[N, K, *patch]`."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnseg.errors import UsageError
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


def torch_backend(network: AttentionUNet, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Eager PyTorch: channels-last on a CPU, float16 autocast on CUDA."""
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

    return run


def attention_backend(network: AttentionUNet, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Like `torch_backend`, but the outputs are the gates' α, brought to the patch's grid."""
    network = network.eval().to(device)

    def run(patches: Tensor) -> Tensor:
        _, maps = network.forward_all(patches.to(device))
        size = patches.shape[2:]
        mode = "trilinear" if len(size) == 3 else "bilinear"
        resize = torch.nn.functional.interpolate
        return torch.cat([resize(alpha, size=size, mode=mode) for alpha in maps.values()], dim=1)

    return run
