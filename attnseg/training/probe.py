"""A few training steps of a planned network on this machine: how long, how much memory."""

import statistics
import time

import torch

from attnseg.config import TrainingConfig
from attnseg.memory import peak_bytes
from attnseg.models import build_network
from attnseg.training.engine import choose_precision
from attnseg.training.losses import make_loss, mean_openness
from attnseg.training.plan import Plan, Probe
from attnseg.training.state import new_state

_STEPS = 4


def probe(plan: Plan, settings: TrainingConfig, *, device: torch.device) -> Probe:
    """Run the network forward and backward on random patches of the planned batch.

    The first step warms up and is not counted. On a CPU the peak is that of the whole process.
    """
    spec = plan.spec
    network = new_state(build_network(spec.architecture).to(device), settings).network
    loss_of = make_loss(spec, settings)
    size = [n for axis, n in enumerate(spec.patch) if axis != spec.slice_axis]
    generator = torch.Generator().manual_seed(0)
    shape = (plan.batch_size, spec.architecture.in_channels, *size)
    images = torch.randn(shape, generator=generator).to(device)
    labels = torch.randint(len(spec.labels), (plan.batch_size, 1, *size), generator=generator)
    present = torch.ones(plan.batch_size, len(spec.labels), dtype=torch.bool)
    labels = labels.to(device)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(
        choose_precision(settings.precision, device)
    )
    seconds = []
    for _ in range(_STEPS):
        begin = time.perf_counter()
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            logits, attention = network.forward_all(images)
        loss = loss_of(logits, labels, present)
        if attention:
            loss = loss + settings.gate_price * mean_openness(attention.values())
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    return Probe(
        device=str(device),
        seconds_per_step=round(statistics.median(seconds[1:]), 4),
        peak_memory_mb=round(peak / 1e6, 1),
    )
