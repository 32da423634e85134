"""The training loop, in plain sight."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attnseg.config import TrainingConfig
from attnseg.errors import RunError
from attnseg.models import AttentionUNet
from attnseg.signals import StopRequest
from attnseg.training.engine import Engine
from attnseg.training.losses import SegmentationLoss, mean_openness
from attnseg.training.schedule import Clock, learning_rate, rarity
from attnseg.training.state import TrainingState, set_learning_rate, update_average

Batch = dict[str, Tensor]
# Reading the loss waits for a GPU: done this often, and at the end of an epoch.
_LOOK_EVERY = 10


@dataclass(frozen=True)
class Report:
    """Where a run stands; `epoch_done` on the last step of an epoch."""

    step: int
    epoch: int
    loss: float
    """Mean over the epoch so far."""
    learning_rate: float
    gradient_norm: float
    samples_per_second: float
    """Over the epoch so far and all processes, validation not counted."""
    progress: float
    seconds: float
    """Of training so far, those before a resume included."""
    seconds_left: float
    epoch_done: bool


class Heads(nn.Module):
    """The network with all its outputs as `forward`, the one call that DDP can see."""

    def __init__(self, network: AttentionUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """As `AttentionUNet.forward_all`."""
        return self.network.forward_all(images)


def fit(
    state: TrainingState,
    batches: Iterable[Batch],
    settings: TrainingConfig,
    *,
    engine: Engine,
    loss_of: SegmentationLoss,
    batch_size: int,
    stop: StopRequest,
    on_step: Callable[[Report], bool],
) -> bool:
    """Train until the schedule ends, `on_step` has seen enough, or a stop is requested.

    Args:
        state: network, average, optimiser; changed in place, `step` and `seconds` included.
        batches: endless; this process's part of each batch, as `make_loader` gives it.
        settings: the run's.
        engine: device, precision, processes.
        loss_of: of all heads.
        batch_size: samples a step over all processes.
        stop: looked at after each step.
        on_step: called in the first process every few steps and at the end of each epoch; it may
            take its time (validation, checkpoints). True ends the run.

    Returns:
        Whether the run is complete; False after a requested stop.

    Raises:
        RunError: the loss is no longer a number.
    """
    model, optimizer = engine.prepare(Heads(state.network), state.optimizer)
    clock = Clock(settings, step=state.step, seconds=state.seconds)
    progress, over, stopped = engine.agree([clock.progress, clock.progress >= 1, False])
    if over:  # stopped after its last step, before the model was written
        return True
    # Of the epoch so far: summed loss, steps, and seconds in them (validation left out).
    losses, in_epoch, busy = torch.zeros((), device=engine.device), 0, 0.0
    begin = time.perf_counter()
    for batch in batches:
        rate = learning_rate(settings, progress)
        set_learning_rate(state.optimizer, rate)
        norm: Tensor | None = None
        for part in _parts(batch, settings.accumulate):
            with engine.accumulate(model):
                logits, attention = model(part["image"].to(engine.device, non_blocking=True))
                # `present` stays on the CPU: to look at it there waits for no GPU.
                loss = loss_of(
                    logits, part["label"].to(engine.device), part["present"],
                    rarity=rarity(progress),
                )  # fmt: skip
                if attention and settings.gate_price > 0:
                    loss = loss + settings.gate_price * mean_openness(attention.values())
                engine.backward(loss)
                norm = engine.clip(model, settings.gradient_clip)
                optimizer.step()
                optimizer.zero_grad()
                losses += loss.detach() / settings.accumulate
        update_average(state.average, state.network, decay=settings.ema_decay, step=state.step)

        state.step += 1
        clock.step = state.step
        state.seconds = clock.elapsed
        in_epoch += 1
        progress, over, stopped = engine.agree(
            [clock.progress, clock.progress >= 1, stop.requested]
        )
        epoch_done = bool(state.step % settings.steps_per_epoch == 0 or over or stopped)
        enough = 0.0
        if epoch_done or state.step % _LOOK_EVERY == 0:
            mean = float(losses) / in_epoch
            busy += time.perf_counter() - begin
            if not math.isfinite(mean):
                raise RunError(
                    f"the loss is {mean} at step {state.step}; start again with a "
                    f"lower --set training.learning_rate (now {settings.learning_rate:g})"
                )
            if engine.is_main:
                enough = on_step(
                    Report(
                        step=state.step,
                        epoch=-(-state.step // settings.steps_per_epoch),
                        loss=mean,
                        learning_rate=rate,
                        gradient_norm=float("nan") if norm is None else float(norm),
                        samples_per_second=in_epoch * batch_size / busy,
                        progress=min(progress, 1.0),
                        seconds=state.seconds,
                        seconds_left=clock.seconds_left,
                        epoch_done=epoch_done,
                    )
                )
            # Where an epoch ends all is saved: a stop that came meanwhile need not wait for a step.
            enough, stopped = engine.agree([enough, stopped or (epoch_done and stop.requested)])
            begin = time.perf_counter()
        if epoch_done:
            losses.zero_()
            in_epoch, busy = 0, 0.0
        if over or enough or stopped:
            return not stopped  # also after the last step: the model is not written yet
    raise AssertionError("batches must not end")


def _parts(batch: Batch, count: int) -> Iterator[Batch]:
    """The batch in `count` parts along its samples."""
    if count == 1:
        yield batch
        return
    pieces = {name: value.chunk(count) for name, value in batch.items()}
    for index in range(count):
        yield {name: chunks[index] for name, chunks in pieces.items()}
