"""The training loop, in plain sight."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from attnseg.config import TrainingConfig
from attnseg.errors import RunError
from attnseg.models import channels_last
from attnseg.training.losses import DeepSupervisionLoss, mean_openness
from attnseg.training.schedule import Clock, learning_rate
from attnseg.training.signals import StopRequest
from attnseg.training.state import (
    TrainingState,
    clip_gradient,
    set_learning_rate,
    update_average,
)


@dataclass(frozen=True)
class Report:
    """Where a run stands; made after every step, `epoch_done` on the last of an epoch."""

    step: int
    epoch: int
    loss: float
    """Mean over the epoch so far."""
    learning_rate: float
    gradient_norm: float
    samples_per_second: float
    """Over the epoch so far, validation not counted."""
    progress: float
    seconds: float
    """Of training so far, those before a resume included."""
    seconds_left: float
    epoch_done: bool


def fit(
    state: TrainingState,
    batches: Iterable[dict[str, Tensor]],
    settings: TrainingConfig,
    *,
    device: torch.device,
    stop: StopRequest,
    on_step: Callable[[Report], None],
) -> bool:
    """Train until the schedule ends or a stop is requested.

    Args:
        state: network, average, optimiser; changed in place, `step` and `seconds` included.
        batches: endless; `{"image": [N, C, *patch], "label": [N, 1, *patch]}`.
        settings: the run's.
        device: where `state` lives.
        stop: looked at after each step.
        on_step: called after each step; it may take its time (validation, checkpoints).

    Returns:
        Whether the schedule was completed.

    Raises:
        RunError: the loss is no longer a number.
    """
    loss_of = DeepSupervisionLoss()
    clock = Clock(settings, step=state.step, seconds=state.seconds)
    if clock.progress >= 1:  # stopped after its last step, before the model was written
        return True
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    # Of the epoch so far: summed loss, steps, and seconds in them (validation left out).
    losses, in_epoch, busy = 0.0, 0, 0.0
    begin = time.perf_counter()
    for batch in batches:
        rate = learning_rate(settings, clock.progress)
        set_learning_rate(state.optimizer, rate)
        images, labels = _placed(batch["image"], device), batch["label"].to(device)
        state.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            logits, attention = state.network.forward_all(images)
        loss = loss_of(logits, labels)
        if attention and settings.gate_price > 0:
            loss = loss + settings.gate_price * mean_openness(attention.values())
        loss.backward()
        norm = clip_gradient(state.network, clip=settings.gradient_clip)
        state.optimizer.step()
        update_average(state.average, state.network, decay=settings.ema_decay, step=state.step)

        state.step += 1
        clock.step = state.step
        state.seconds = clock.elapsed
        value = float(loss.detach())
        losses += value
        in_epoch += 1
        busy += time.perf_counter() - begin
        if not math.isfinite(value):
            raise RunError(
                f"the loss is {value} at step {state.step}; start again with a "
                f"lower --set training.learning_rate (now {settings.learning_rate:g})"
            )
        over = clock.progress >= 1
        epoch_done = state.step % settings.steps_per_epoch == 0 or over or stop.requested
        on_step(
            Report(
                step=state.step,
                epoch=-(-state.step // settings.steps_per_epoch),
                loss=losses / in_epoch,
                learning_rate=rate,
                gradient_norm=float(norm),
                samples_per_second=in_epoch * settings.batch_size / busy,
                progress=min(clock.progress, 1.0),
                seconds=state.seconds,
                seconds_left=clock.seconds_left,
                epoch_done=epoch_done,
            )
        )
        if epoch_done:
            losses, in_epoch, busy = 0.0, 0, 0.0
        if over or stop.requested:
            return over
        begin = time.perf_counter()
    raise AssertionError("batches must not end")


def _placed(images: Tensor, device: torch.device) -> Tensor:
    """On the device; channels-last on a CPU, where convolutions are faster with it."""
    if device.type == "cpu":
        return channels_last(images)
    return images.to(device, non_blocking=True)
