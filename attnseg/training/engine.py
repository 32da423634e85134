"""Where a run computes: device, precision, processes. The only file that knows Accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, get_args

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import InitProcessGroupKwargs, broadcast
from torch import Tensor, nn

from attnseg.config import TrainingConfig
from attnseg.errors import UsageError, refuse_unknown
from attnseg.inference.backends import resolve_device
from attnseg.ops import use_backend

# The first process validates while the others wait.
_PATIENCE = timedelta(hours=6)
PRECISIONS: tuple[str, ...] = get_args(TrainingConfig.model_fields["precision"].annotation)
_ACCELERATE_NAME = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


class Engine:
    """One process of a run; `torchrun` or `accelerate launch` starts several, on many nodes.

    Args:
        settings: precision and accumulation.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: a device or precision that is not here.
        ConfigError: `gate_kernel` is triton and Triton does not work here.
    """

    def __init__(self, settings: TrainingConfig, *, device: str = "auto") -> None:
        place = resolve_device(device)
        use_backend(settings.gate_kernel if place.type == "cuda" else "auto")
        if place.type == "cuda" and place.index is not None:
            torch.cuda.set_device(place)
        self.precision = choose_precision(settings.precision, place)
        _forget_former_run()
        self._accelerator = Accelerator(
            cpu=place.type == "cpu",
            mixed_precision=_ACCELERATE_NAME[self.precision],
            gradient_accumulation_steps=settings.accumulate,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        )
        self.device: torch.device = self._accelerator.device
        self.process: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process writes, validates and talks."""
        return self.process == 0

    def prepare(
        self, network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Wrap both for the precision and for the exchange of gradients."""
        self._accelerator.free_memory()  # it would go on scaling gradients of the fold before
        prepared = self._accelerator.prepare(network, optimizer)
        return prepared[0], prepared[1]

    @contextmanager
    def accumulate(self, network: nn.Module) -> Iterator[None]:
        """One part of a batch; gradients are exchanged and the optimiser moves on the last."""
        with self._accelerator.accumulate(network):
            yield

    def backward(self, loss: Tensor) -> None:
        """Gradients of a part's loss, scaled as precision and accumulation need it."""
        self._accelerator.backward(loss)

    def clip(self, network: nn.Module, largest: float) -> Tensor | None:
        """Clip the norm of the gradient; returns what it was, None but on the last part."""
        if not self._accelerator.sync_gradients:
            return None
        norm = self._accelerator.clip_grad_norm_(network.parameters(), largest)
        return torch.as_tensor(norm)

    def agree(self, numbers: list[float]) -> list[float]:
        """The first process's numbers, in every process: clocks and signals differ."""
        if self.processes == 1:
            return numbers
        told = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return broadcast(told, from_process=0).tolist()

    def wait(self) -> None:
        """Until every process has come here."""
        self._accelerator.wait_for_everyone()

    @property
    def loss_scale(self) -> dict[str, float]:
        """State of the fp16 loss scale; empty in other precisions."""
        scaler = self._accelerator.scaler
        if scaler is None:
            return {}
        state = scaler.state_dict()
        return {name: float(state[name]) for name in ("scale", "_growth_tracker") if name in state}

    @loss_scale.setter
    def loss_scale(self, state: dict[str, float]) -> None:
        scaler: Any = self._accelerator.scaler
        if scaler is not None and state:
            whole = {"scale": state["scale"], "_growth_tracker": int(state["_growth_tracker"])}
            scaler.load_state_dict(scaler.state_dict() | whole)


def choose_precision(wanted: str, device: torch.device) -> str:
    """`auto` → bf16 on a GPU that has it, fp16 on older ones, fp32 on a CPU.

    Raises:
        UsageError: fp16 on a CPU; another word.
    """
    refuse_unknown("precision", wanted, PRECISIONS)
    if device.type == "cpu":
        if wanted == "fp16":
            raise UsageError(
                "training.precision fp16 needs a GPU; use fp32 here, or --device cuda where one is"
            )
        # Measured: with native bf16 (AVX-512) a 3D step takes as long as in fp32, without it twenty
        # times as long.
        return "fp32" if wanted == "auto" else wanted
    if wanted != "auto":
        return wanted
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _forget_former_run() -> None:
    """Accelerate keeps one state a process; runs one after another each need their own."""
    alone = not PartialState._shared_state or PartialState().num_processes == 1
    AcceleratorState._reset_state(reset_partial_state=alone)
    GradientState._reset_state()
