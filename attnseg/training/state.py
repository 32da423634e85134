"""What a run is made of between two steps, and its checkpoint."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from attnseg.config import TrainingConfig
from attnseg.errors import RunError
from attnseg.files import write_bytes
from attnseg.models import AttentionUNet

# Gates learn at a quarter of the rate. Adam moves each weight by about the rate whatever its
# gradient, and a gate's sum over a hundred inputs then jumps so far that its ReLUs die: after 15
# minutes on hippocampus one gate of two was constant.
GATE_PACE = 0.25
_COUNTERS = {"step", "seconds", "best", "stale"}
# Of AdamW, for each parameter.
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
# No run takes more, and no sampler counts further.
_MOST_STEPS = 2**40


@dataclass
class TrainingState:
    """Network, its running average, optimiser and counters."""

    network: AttentionUNet
    average: AttentionUNet
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    """Highest validation Dice so far."""
    stale: int = 0
    """Validations since then."""
    loss_scale: dict[str, float] = field(default_factory=dict)
    """Of fp16; see `Engine.loss_scale`."""

    @property
    def stored_bytes(self) -> int:
        """Of a checkpoint, once the optimiser has its moments."""
        moments = 1 if isinstance(self.optimizer, torch.optim.SGD) else 2
        tensors = [*self._modules().values(), *(moments * self._parameters())]
        return sum(each.numel() * each.element_size() for each in tensors)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all: plain tensors, in safetensors, no pickle."""
        write_bytes(path, save(self._tensors()))

    def load(self, path: Path) -> None:
        """Take over a checkpoint of the same network and kind of optimiser.

        Raises:
            RunError: missing, damaged, or of another network.
        """
        tensors = _read(path)
        wanted = {name: (value.shape, value.dtype) for name, value in self._modules().items()}
        found = {
            name: (tensors[name].shape, tensors[name].dtype) for name in tensors if name in wanted
        }
        parameters = self._parameters()
        moments = [_of_optimizer(tensors, index) for index in range(len(parameters))]
        if (
            found != wanted
            or not tensors.keys() >= _COUNTERS
            or any(tensors[name].numel() != 1 for name in _COUNTERS)
            or not _fit(moments, parameters, self.optimizer)
        ):
            raise RunError(f"{path}: a checkpoint of another network; start again with --overwrite")
        step, stale = (_whole(path, name, tensors[name]) for name in ("step", "stale"))
        if float(tensors["seconds"]) < 0:
            raise RunError(f"{path}: seconds is negative; start again with --overwrite")
        for name, value in self._modules().items():
            value.copy_(tensors[name])
        for parameter, mine in zip(parameters, moments, strict=True):
            self.optimizer.state[parameter] = {
                name: value
                if value.ndim == 0
                else torch.empty_like(parameter.detach()).copy_(value)
                for name, value in mine.items()
            }
        self.step, self.seconds = step, float(tensors["seconds"])
        self.best, self.stale = float(tensors["best"]), stale
        self.loss_scale = {
            name.removeprefix("loss_scale."): float(value)
            for name, value in tensors.items()
            if name.startswith("loss_scale.") and value.numel() == 1
        }

    def _modules(self) -> dict[str, Tensor]:
        """Tensors of network and average, not copied."""
        return {
            f"{part}.{name}": value
            for part, module in (("network", self.network), ("average", self.average))
            for name, value in module.state_dict().items()
        }

    def _parameters(self) -> list[Tensor]:
        return [each for group in self.optimizer.param_groups for each in group["params"]]

    def _tensors(self) -> dict[str, Tensor]:
        optimizer = {
            f"optimizer.{index}.{name}": value
            for index, parameter in enumerate(self._parameters())
            for name, value in self.optimizer.state[parameter].items()
        }
        counters = {
            "step": torch.tensor(self.step),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "best": torch.tensor(self.best, dtype=torch.float64),
            "stale": torch.tensor(self.stale),
        }
        scale = {f"loss_scale.{k}": torch.tensor(v) for k, v in self.loss_scale.items()}
        everything = self._modules() | optimizer | counters | scale
        return {name: value.detach().contiguous() for name, value in everything.items()}


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, known to be numbers."""
    if not path.is_file():
        raise RunError(f"{path}: no checkpoint to resume; start with --overwrite")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"{path}: unusable checkpoint ({str(error)[:200]}); start again with --overwrite"
        ) from None
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise RunError(
                f"{path}: {name} holds NaN or infinity; start again with --overwrite, perhaps at a "
                "lower training.learning_rate"
            )
    return tensors


def _of_optimizer(tensors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    prefix = f"optimizer.{index}."
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _fit(
    moments: list[dict[str, Tensor]], parameters: list[Tensor], optimizer: torch.optim.Optimizer
) -> bool:
    """Whether what an optimiser kept is of its kind and of these parameters."""
    kept = {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else set(_MOMENTS)
    return all(
        set(mine) in (set(), kept)
        and all(
            value.shape == (torch.Size() if name == "step" else parameter.shape)
            and value.dtype == torch.float32
            for name, value in mine.items()
        )
        for mine, parameter in zip(moments, parameters, strict=True)
    )


def _whole(path: Path, name: str, value: Tensor) -> int:
    count = int(value)
    if not 0 <= count < _MOST_STEPS:
        raise RunError(f"{path}: {name} is {count}; start again with --overwrite")
    return count


def new_state(network: AttentionUNet, settings: TrainingConfig) -> TrainingState:
    """A fresh run; the average starts as a copy. On a CPU the network becomes channels-last."""
    if next(network.parameters()).device.type == "cpu":
        network.channels_last()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return TrainingState(network, average, make_optimizer(network, settings))


def make_optimizer(network: AttentionUNet, settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; no decay on biases and norms, gates at `GATE_PACE`."""
    gates = {id(parameter) for parameter in network.gates.parameters()}
    groups = [
        {
            "params": [
                parameter
                for parameter in network.parameters()
                if (id(parameter) in gates) == gated and (parameter.ndim > 1) == decayed
            ],
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "pace": GATE_PACE if gated else 1.0,
        }
        for gated in (False, True)
        for decayed in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.99, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group, each at its own pace."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["pace"]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Exponential moving average of all weights and buffers; young averages forget faster."""
    keep = min(decay, (1 + step) / (10 + step))
    mine = [value for value in average.state_dict().values() if value.is_floating_point()]
    theirs = [value for value in network.state_dict().values() if value.is_floating_point()]
    torch._foreach_lerp_(mine, theirs, 1 - keep)
