"""Which implementation gates tensors on a GPU, and why."""

import logging
from functools import cache
from typing import Literal, NamedTuple, get_args

import torch

from attnseg.errors import ConfigError, refuse_unknown

Choice = Literal["auto", "triton", "torch"]
_log = logging.getLogger(__name__)
_choice: Choice = "auto"


class Backend(NamedTuple):
    """The implementation in use, "triton" or "torch", and the reason in a few words."""

    name: str
    reason: str


def use_backend(choice: Choice) -> None:
    """Settle what GPUs use from now on in this process: "auto" is Triton where it works.

    Raises:
        ConfigError: "triton" where it does not work.
        UsageError: another word.
    """
    global _choice
    refuse_unknown("gate_kernel", choice, get_args(Choice))
    if choice == "triton" and (missing := _missing()):
        raise ConfigError(
            f"gate_kernel triton: {missing}; set training.gate_kernel to auto, which then uses "
            "plain PyTorch"
        )
    _choice = choice


def backend() -> Backend:
    """What gates a CUDA tensor now. CPU tensors always take plain PyTorch, in blocks."""
    if _choice == "torch":
        return Backend("torch", "chosen by the configuration")
    missing = _missing()
    return Backend("torch", missing) if missing else Backend("triton", "its kernels compile here")


@cache
def _missing() -> str:
    """Why Triton's kernels cannot be used, empty where they can; tried once a process."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    try:
        from attnseg.ops import kernels

        x, phi = torch.ones(1, 1, 2, 2, device="cuda"), torch.zeros(1, 1, 1, 1, device="cuda")
        one = torch.ones(1, device="cuda")
        y, _ = kernels.skip_forward(x, phi, one[:, None], one, one, [2, 2])
        torch.testing.assert_close(y, torch.sigmoid(torch.full_like(y, 2.0)))
    # Compilers, drivers and versions fail in ways of their own: any failure means plain PyTorch.
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"Triton failed: {first_line}"
        _log.warning("%s; attention gates use plain PyTorch on the GPU", reason)
        return reason
    return ""
