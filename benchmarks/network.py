"""What the gates cost a whole network: the same layers with `none`, `grid` and `skip` gates.

    python benchmarks/network.py                    # CPU or GPU, whichever there is

Forward as `attnseg predict` runs it, and a whole training step with loss, deep supervision,
clipping and AdamW as `attnseg train` does it. The networks take turns; every round gives one ratio
to the network without gates, and the median of the ratios comes with a bootstrap interval. `skip`
gates every level, the finest too; `grid` is the default. MONAI's network is measured against itself
with its attention blocks taken out.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
from torch import Tensor, nn

from attnseg.config import TrainingConfig
from attnseg.inference.backends import resolve_device, torch_backend
from attnseg.memory import keep_freed_memory
from attnseg.models import AttentionUNet
from attnseg.ops import backend
from attnseg.training.losses import SegmentationLoss, mean_openness
from attnseg.training.state import TrainingState, new_state

CLASSES = 3
GATES: dict[str, dict[str, Any]] = {
    "none": {"gate": "none"},
    "grid": {"gate": "grid"},
    "skip, every level": {"gate": "skip", "gate_finest": True},
}
REBUILDS = 4
# patch along each axis, channels of the finest level
SIZES = [(96, 16), (64, 32)]


def channels_of(base: int, patch: int) -> tuple[int, ...]:
    """As the plan has them: doubled from level to level while four voxels remain."""
    levels = 1
    while patch / 2**levels >= 4 and levels < 6:
        levels += 1
    return tuple(min(base * 2**level, 256) for level in range(levels))


def ours(channels: Sequence[int], name: str, *, supervised: bool) -> AttentionUNet:
    """attnseg's network; one seed gives all of them the same layers but for the gates."""
    torch.manual_seed(0)
    levels = len(channels)
    return AttentionUNet(
        3, 1, CLASSES, channels=channels, strides=(2,) * (levels - 1),
        deep_supervision=levels - 2 if supervised else 0, **GATES[name],
    )  # fmt: skip


def monai(channels: Sequence[int], *, gated: bool) -> nn.Module:
    """MONAI's network, its attention blocks replaced by the skip itself unless `gated`."""
    from monai.networks.nets import AttentionUnet

    class Open(nn.Module):
        def forward(self, g: Tensor, x: Tensor) -> Tensor:
            return x

    torch.manual_seed(0)
    network: nn.Module = AttentionUnet(3, 1, CLASSES, channels, (2,) * (len(channels) - 1))
    if not gated:
        for module in list(network.modules()):
            if hasattr(module, "attention"):
                module.attention = Open()
    return network


def forwards(channels: Sequence[int], x: Tensor) -> dict[str, Callable[[], object]]:
    """Prediction of one window by every network."""
    calls: dict[str, Callable[[], object]] = {}
    for name in GATES:
        run = torch_backend(ours(channels, name, supervised=False), x.device)
        calls[name] = _without_gradients(run, x)
    for name, gated in (("MONAI none", False), ("MONAI", True)):
        network = monai(channels, gated=gated).eval().to(x.device)
        calls[name] = _without_gradients(network, x)
    return calls


def _without_gradients(network: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    @torch.inference_mode()
    def call() -> None:
        network(x)
        if x.device.type == "cuda":
            torch.cuda.synchronize()

    return call


def steps(channels: Sequence[int], x: Tensor) -> dict[str, Callable[[], object]]:
    """A training step of every network of ours."""
    labels = torch.randint(CLASSES, (len(x), 1, *x.shape[2:]), device=x.device)
    present = torch.ones(len(x), CLASSES, dtype=torch.bool, device=x.device)
    loss_of = SegmentationLoss(
        "dice_ce", strides=[(2**level,) * 3 for level in range(len(channels) - 1)]
    )
    settings, cuda = TrainingConfig(), x.device.type == "cuda"
    calls: dict[str, Callable[[], object]] = {}
    for name in GATES:
        fresh = new_state(ours(channels, name, supervised=True).to(x.device), settings)

        def step(state: TrainingState = fresh) -> None:
            state.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=cuda):
                logits, attention = state.network.forward_all(x)
                loss = loss_of(logits, labels, present)
                if attention:
                    loss = loss + settings.gate_price * mean_openness(attention.values())
            loss.backward()
            nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip)
            state.optimizer.step()
            if cuda:
                torch.cuda.synchronize()

        calls[name] = step
    return calls


def measured(
    make: Callable[[], Mapping[str, Callable[[], object]]], *, rounds: int
) -> dict[str, Any]:
    """Seconds of each, and the ratio to its own network without gates with an interval.

    The networks are made anew for every quarter of the rounds: where their memory happens to lie
    shifts a ratio by a percent or two, and stays so for as long as they live.
    """
    seconds: dict[str, list[float]] = {}
    for _ in range(REBUILDS):
        for name, values in common.in_turns(make(), rounds=-(-rounds // REBUILDS)).items():
            seconds.setdefault(name, []).extend(values)
    result: dict[str, Any] = {}
    for name, values in seconds.items():
        base = seconds["MONAI none" if name.startswith("MONAI") else "none"]
        ratios = np.array(values) / np.array(base)
        result[name] = {"seconds": common.spread(values, digits=4)}
        if values is not base:
            result[name]["ratio"] = common.median_interval(ratios)
    return result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", type=int, nargs="+", default=[patch for patch, _ in SIZES])
    parser.add_argument("--base", type=int, nargs="+", default=[base for _, base in SIZES])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument(
        "--rounds", type=int, default=40, help="of training steps; twice as many forward"
    )
    parser.add_argument("--skip-training", action="store_true", help="forward passes only")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=common.RESULTS / "network.json")
    arguments = parser.parse_args()

    keep_freed_memory()
    device = resolve_device(arguments.device)
    results: dict[str, Any] = {"gate backend": backend()._asdict()}
    rows = [["pass", "patch", "base", "gates", "seconds", "ratio [95 % interval]"]]
    begin = time.monotonic()
    for patch, base in zip(arguments.patch, arguments.base, strict=True):
        x = torch.randn(arguments.batch, 1, *[patch] * 3, device=device)
        channels = channels_of(base, patch)
        kinds = {"forward": forwards} | ({} if arguments.skip_training else {"training": steps})
        for kind, make in kinds.items():
            rounds = arguments.rounds * (2 if kind == "forward" else 1)
            found = measured(partial(make, channels, x), rounds=rounds)
            results[f"{kind}, patch {patch}, base {base}"] = found
            for name, row in found.items():
                ratio = common.interval_text(row["ratio"], "median") if "ratio" in row else ""
                seconds = str(row["seconds"]["median"])
                rows.append([kind, str(patch), str(base), name, seconds, ratio])
            print(f"{kind} {patch} {base}: {time.monotonic() - begin:.0f} s", flush=True)
    print(common.table(rows))
    common.write_result(arguments.json, settings=vars(arguments), results=results)


if __name__ == "__main__":
    main()
