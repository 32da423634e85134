"""Speed of training: the step beside other networks', and what the data pipeline leaves of it.

    python benchmarks/training.py [--data ../shared/data/hippocampus ../shared/data/nuclei]

Steps: forward, loss, backward, clipping and AdamW on one batch in memory, with the same channels,
patch and batch, in turns. Every network has a row contiguous, as the peers' own tools train, and
one channels-last, as attnseg does on a CPU. attnseg's and nnU-Net's losses cover all heads; MONAI's
network has one.

Pipeline: attnseg's own loop on a data set, with its loader and, block by block in turns, with one
batch in memory. The ratio of the two is what reading and augmenting leave of the speed.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import _common as common
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import AttentionUnet
from torch import Tensor, nn

from attnseg.config import Config, TrainingConfig
from attnseg.datasets import find_dataset, inspect_dataset
from attnseg.inference.backends import resolve_device
from attnseg.memory import keep_freed_memory
from attnseg.models import AttentionUNet, build_network
from attnseg.signals import StopRequest
from attnseg.training.cache import cache_cases
from attnseg.training.engine import Engine
from attnseg.training.loop import fit
from attnseg.training.losses import SegmentationLoss, make_loss, mean_openness
from attnseg.training.pipeline import make_loader
from attnseg.training.prepare import settle_plan
from attnseg.training.state import new_state

CLASSES = 3
GATE_PRICE = TrainingConfig().gate_price
CLIP = TrainingConfig().gradient_clip

LossOf = Callable[[nn.Module, Tensor], Tensor]


def attnseg_network(channels: Sequence[int]) -> nn.Module:
    """With attnseg's defaults."""
    levels = len(channels)
    return AttentionUNet(
        3, 1, CLASSES, channels=channels, strides=(2,) * (levels - 1), deep_supervision=levels - 2
    )


def monai_network(channels: Sequence[int]) -> nn.Module:
    """With MONAI's defaults."""
    network: nn.Module = AttentionUnet(3, 1, CLASSES, channels, (2,) * (len(channels) - 1))
    return network


def nnunet_network(channels: Sequence[int]) -> nn.Module:
    """As nnU-Net configures it: two convolutions a stage, instance norm, leaky ReLU."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    levels = len(channels)
    network: nn.Module = PlainConvUNet(
        1, levels, list(channels), nn.Conv3d, 3, [1] + [2] * (levels - 1), 2, CLASSES, 2,
        conv_bias=True, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    return network


NETWORKS = {
    "attnseg": attnseg_network,
    "MONAI AttentionUnet": monai_network,
    "nnU-Net PlainConvUNet": nnunet_network,
}


def losses(labels: Tensor, levels: int) -> dict[str, LossOf]:
    """How each network's step comes to its loss."""
    present = torch.ones(len(labels), CLASSES, dtype=torch.bool)
    strides = [(2**level,) * 3 for level in range(levels - 1)]
    ours = SegmentationLoss("dice_ce", strides=strides)
    monai_loss = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_dr=1e-5
    )

    def attnseg(network: nn.Module, images: Tensor) -> Tensor:
        logits, attention = network.forward_all(images)  # type: ignore[operator]
        return ours(logits, labels, present) + GATE_PRICE * mean_openness(attention.values())

    def monai(network: nn.Module, images: Tensor) -> Tensor:
        value: Tensor = monai_loss(network(images), labels)
        return value

    def nnunet(network: nn.Module, images: Tensor) -> Tensor:
        value: Tensor = ours(network(images), labels, present)
        return value

    return dict(zip(NETWORKS, (attnseg, monai, nnunet), strict=True))


def make_step(network: nn.Module, loss_of: LossOf, images: Tensor) -> Callable[[], None]:
    """One whole training step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    cuda = images.device.type == "cuda"

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=cuda):
            loss = loss_of(network, images)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()

    return step


def step_speed(
    channels: Sequence[int], patch: Sequence[int], *, batch: int, rounds: int, device: torch.device
) -> dict[str, Any]:
    """Samples a second of each network and memory layout."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 1, *patch, generator=generator).to(device)
    labels = torch.randint(CLASSES, (batch, 1, *patch), generator=generator).to(device)
    steps, parameters = {}, {}
    for name, build in NETWORKS.items():
        try:
            layouts = [build(channels).to(device) for _ in range(2)]
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        loss_of = losses(labels, len(channels))[name]
        parameters[name] = sum(each.numel() for each in layouts[0].parameters())
        steps[name] = make_step(layouts[0], loss_of, images)
        last = torch.channels_last_3d
        layouts[1].to(memory_format=last)  # type: ignore[call-overload]
        given = images.contiguous(memory_format=last)
        steps[f"{name}, channels-last"] = make_step(layouts[1], loss_of, given)
    seconds = common.in_turns(steps, rounds=rounds)
    return {
        row: {
            "samples_per_second": common.spread([batch / each for each in values]),
            "seconds_per_step": common.spread(values, digits=4),
            "parameters": parameters[row.removesuffix(", channels-last")],
        }
        for row, values in seconds.items()
    }


class Stopwatch:
    """Passes batches on and notes when each was asked for."""

    def __init__(self, batches: Iterator[dict[str, Tensor]]) -> None:
        self.batches = batches
        self.asked: list[float] = []

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self

    def __next__(self) -> dict[str, Tensor]:
        self.asked.append(time.perf_counter())
        return next(self.batches)


def pipeline_speed(
    data: Path, folder: Path, *, workers: int, cases: int, blocks: int, steps: int, device: str
) -> dict[str, Any]:
    """Samples a second of attnseg's loop with its loader, and with one batch in memory.

    The first steps of a block are not counted: the workers' batches lie ready then, made while the
    other block ran.
    """
    unsettled = 2 + 2 * workers
    config = Config()
    settings = config.training.model_copy(
        update={"workers": workers, "epochs": 10**6, "steps_per_epoch": unsettled + steps + 1}
    )
    dataset = find_dataset(data)
    chosen = dataset.cases[:: max(1, len(dataset.cases) // cases)][:cases]
    dataset = replace(dataset, cases=chosen)
    engine = Engine(settings, device=device)
    plan = settle_plan(config, dataset, inspect_dataset(dataset), device=engine.device)
    cached = cache_cases(chosen, plan.spec, folder, ignore_label=dataset.ignore_label)
    state = new_state(build_network(plan.spec.architecture).to(engine.device), settings)
    loss_of = make_loss(plan.spec, settings)
    loader = make_loader(
        cached, plan.spec, settings, batch_size=plan.batch_size, first=0, device=engine.device
    )
    sources = {"loader": Stopwatch(loader), "resident": Stopwatch(repeat(next(loader)))}
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(blocks + 1):
        for name, source in sources.items():
            source.asked.clear()
            fit(
                state, source, settings, engine=engine, loss_of=loss_of,
                batch_size=plan.batch_size, stop=StopRequest(),
                on_step=lambda report: report.epoch_done,
            )  # fmt: skip
            counted = source.asked[unsettled:]
            if number > 0:  # the first block warms up
                seconds = counted[-1] - counted[0]
                rates[name].append(plan.batch_size * (len(counted) - 1) / seconds)
    ratios = [a / b for a, b in zip(rates["loader"], rates["resident"], strict=True)]
    return {
        "patch": plan.spec.patch,
        "batch_size": plan.batch_size,
        "cases": len(chosen),
        "samples_per_second": {name: common.spread(values) for name, values in rates.items()},
        "ratio": common.spread(ratios),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 40])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--rounds", type=int, default=15, help="steps of each network")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="data sets for the loop")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--cases", type=int, default=40, help="of each data set")
    parser.add_argument("--blocks", type=int, default=6, help="of each source of batches")
    parser.add_argument("--steps", type=int, default=20, help="counted steps of a block")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmark_cache"))
    parser.add_argument("--json", type=Path, default=common.RESULTS / "training.json")
    arguments = parser.parse_args()

    keep_freed_memory()  # for the peers too
    device = resolve_device(arguments.device)
    steps = step_speed(
        arguments.channels, arguments.patch, batch=arguments.batch, rounds=arguments.rounds,
        device=device,
    )  # fmt: skip
    rows = [["network", "samples/s", "quartiles", "parameters"]]
    for name, row in steps.items():
        rate = row["samples_per_second"]
        quartiles = f"{rate['quartile_1']}–{rate['quartile_3']}"
        rows.append([name, str(rate["median"]), quartiles, f"{row['parameters']:,}"])
    print(common.table(rows))
    pipeline = {}
    rows = [["pipeline", "workers", "loader", "resident", "ratio"]]
    for data in arguments.data:
        for workers in arguments.workers:
            name = data.resolve().name
            found = pipeline_speed(
                data, arguments.output / name, workers=workers, cases=arguments.cases,
                blocks=arguments.blocks, steps=arguments.steps, device=arguments.device,
            )  # fmt: skip
            pipeline[f"{name}, {workers} workers"] = found
            speeds = found["samples_per_second"]
            medians = [speeds[each]["median"] for each in ("loader", "resident")]
            rows.append([name, str(workers), *map(str, medians), str(found["ratio"]["median"])])
    if pipeline:
        print(common.table(rows))
    common.write_result(
        arguments.json, settings=vars(arguments), results={"steps": steps, "pipeline": pipeline}
    )


if __name__ == "__main__":
    main()
