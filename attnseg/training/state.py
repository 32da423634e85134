"""What a run is made of between two steps, and its checkpoint."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from attnseg.config import TrainingConfig
from attnseg.errors import RunError
from attnseg.files import atomic_path
from attnseg.models import AttentionUNet


@dataclass
class TrainingState:
    """Network, its running average, optimiser and counters."""

    network: AttentionUNet
    average: AttentionUNet
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        content = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Take over a checkpoint of the same network.

        Raises:
            RunError: missing, damaged, or of another network.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.network.load_state_dict(content["network"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.seconds = int(content["step"]), float(content["seconds"])
        except FileNotFoundError:
            raise RunError(f"{path}: no checkpoint to resume; start with --overwrite") from None
        except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(
                f"{path}: unusable checkpoint ({reason}); start again with --overwrite"
            ) from None


def new_state(network: AttentionUNet, settings: TrainingConfig) -> TrainingState:
    """A fresh run; the average starts as a copy."""
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return TrainingState(network, average, make_optimizer(network, settings))


def make_optimizer(network: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; no decay on biases and normalisation."""
    groups = [
        {
            "params": [p for p in network.parameters() if p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.99, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Exponential moving average of all weights and buffers; young averages forget faster."""
    keep = min(decay, (1 + step) / (10 + step))
    mine = [value for value in average.state_dict().values() if value.is_floating_point()]
    theirs = [value for value in network.state_dict().values() if value.is_floating_point()]
    torch._foreach_lerp_(mine, theirs, 1 - keep)


def gradient_norm(network: nn.Module, *, clip: float) -> Tensor:
    """Norm of the gradient before clipping; clips it to `clip`."""
    return torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
