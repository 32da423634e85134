"""The attention gate by itself: plain PyTorch, compiled, MONAI's block, and the fused operator.

    python benchmarks/gate.py --device cuda --json benchmarks/results/gate.json --plot docs/gate.png

Shapes are those of decoder levels: x `[2, C, *S]`, φ `[2, C / 2, *S / 2]`. W_g g is not part of
it, but for MONAI's block, which is another network: g of x's own size, batch norms, three
convolutions. Values and gradients are compared with the float32 reference before anything is
timed. GB/s counts what must move: x and φ read, y and α written; backward x, dy, φ read, dx and dφ
written.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
from torch import Tensor, nn

from attnseg.inference.backends import resolve_device
from attnseg.memory import keep_freed_memory
from attnseg.models import channels_last
from attnseg.ops import attention_gate, backend, grid_attention_gate, reference

BATCH = 2
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 4e-2, torch.float16: 1e-2}
Call = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """The skip of one decoder level."""

    network: str
    size: tuple[int, ...]
    channels: int

    def __str__(self) -> str:
        return f"{'×'.join(map(str, self.size))} × {self.channels}"


def shapes() -> list[Shape]:
    """Levels 0 to 3 of three networks."""
    networks = {"3D 128³, base 32": (128, 3, 32), "3D 96³, base 16": (96, 3, 16)}
    networks["2D 512², base 64"] = (512, 2, 64)
    return [
        Shape(name, (size >> level,) * dims, base << level)
        for name, (size, dims, base) in networks.items()
        for level in range(4)
    ]


def laid_out(features: Tensor) -> Tensor:
    """In the layout that attnseg keeps features in on their device."""
    return channels_last(features) if features.device.type == "cpu" else features


def make_inputs(shape: Shape, form: str, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """x, φ, W_x, ψ, b_ψ; the weights stay float32, as under autocast.

    On a CPU x and φ are channels-last, as attnseg has them there.
    """
    dims, inner = len(shape.size), shape.channels // 2
    kernel = (2,) * dims if form == "grid" else ()
    generator = torch.Generator().manual_seed(0)

    def random(*size: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*size, generator=generator) * scale).to(device)

    tensors = [
        laid_out(random(BATCH, shape.channels, *shape.size).to(dtype)),
        laid_out(random(BATCH, inner, *(n // 2 for n in shape.size)).to(dtype)),
        random(inner, shape.channels, *kernel, scale=shape.channels**-0.5),
        random(inner, scale=inner**-0.5),
        random(1),
    ]
    return [tensor.requires_grad_() for tensor in tensors]


def monai_block(shape: Shape, dtype: torch.dtype, device: torch.device) -> tuple[nn.Module, Tensor]:
    """MONAI's block and its g on x's own grid.

    Without running statistics: a forward would change them under the kept graph of the backward.
    """
    from monai.networks.nets.attentionunet import AttentionBlock

    channels = shape.channels
    block = AttentionBlock(len(shape.size), channels // 2, channels, channels).to(device)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    g = torch.randn(BATCH, channels, *shape.size, device=device).to(dtype)
    return block, laid_out(g).requires_grad_()


def contestants(
    shape: Shape, form: str, dtype: torch.dtype, device: torch.device, *, compiled: bool
) -> dict[str, tuple[Callable[[], Tensor], list[Tensor]]]:
    """Each way to compute y, and the tensors whose gradients it owes."""
    inputs = make_inputs(shape, form, dtype, device)
    stride, autocast = [2] * len(shape.size), dtype != torch.float32

    def plain(*tensors: Tensor) -> Tensor:
        if form == "grid":
            return reference.grid_plain(*tensors)[0]
        return reference.skip_plain(*tensors, stride)[0]

    def fused(*tensors: Tensor) -> Tensor:
        if form == "grid":
            return grid_attention_gate(*tensors)[0]
        return attention_gate(*tensors, stride=2)[0]

    functions: dict[str, tuple[Callable[..., Tensor], list[Tensor], list[Tensor]]] = {
        "eager": (plain, inputs, inputs),
        "fused": (fused, inputs, inputs),
    }
    try:
        block, g = monai_block(shape, dtype, device)
        functions["MONAI"] = (block, [g, inputs[0]], [g, inputs[0], *block.parameters()])
    except ImportError as error:
        print(f"MONAI is left out: {error}")
    if compiled:
        for name in [name for name in ("eager", "MONAI") if name in functions]:
            function, given, owed = functions[name]
            other = "compiled" if name == "eager" else "MONAI compiled"
            functions[other] = (torch.compile(function, dynamic=False), given, owed)

    def bound(function: Callable[..., Tensor], arguments: list[Tensor]) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.autocast(device.type, dtype, enabled=autocast):
                return function(*arguments)

        return call

    return {name: (bound(f, given), owed) for name, (f, given, owed) in functions.items()}


def check(rivals: Mapping[str, tuple[Callable[[], Tensor], list[Tensor]]]) -> None:
    """Fused and compiled give the values and gradients of plain PyTorch, or nothing is timed."""
    call, owed = rivals["eager"]
    expected = [call(), *torch.autograd.grad(call().float().square().mean(), owed)]
    for name in ("fused", "compiled"):
        if name not in rivals:
            continue
        call, owed = rivals[name]
        found = [call(), *torch.autograd.grad(call().float().square().mean(), owed)]
        for ours, theirs in zip(found, expected, strict=True):
            scale = theirs.float().abs().max().clamp_min(1e-12)
            error = ((ours.float() - theirs.float()).abs().max() / scale).item()
            if error > TOLERANCE[expected[0].dtype]:
                raise SystemExit(f"{name}: differs from eager by {error:.2g} of the largest value")


def passes(call: Callable[[], Tensor], owed: list[Tensor]) -> dict[str, Call]:
    """Forward without gradients, backward alone, and both."""
    y = call()
    grad = torch.randn_like(y)

    def forward() -> None:
        with torch.no_grad():
            call()

    def backward() -> None:
        torch.autograd.grad(y, owed, grad, retain_graph=True)

    def both() -> None:
        torch.autograd.grad(call(), owed, grad)

    return {"forward": forward, "backward": backward, "both": both}


def timed(
    calls: Mapping[str, Call], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each in turns; on a GPU between events, several calls at a time."""
    if device.type != "cuda":
        return common.in_turns(calls, rounds=rounds)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name, call in calls.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(5):
                call()
            end.record()
            torch.cuda.synchronize()
            if number > 1:
                seconds[name].append(begin.elapsed_time(end) / 5e3)
    return seconds


def moved_bytes(shape: Shape, form: str, part: str, element: int) -> int:
    """What must be read and written at the least."""
    voxels = BATCH * int(np.prod(shape.size))
    coarse = voxels // 2 ** len(shape.size) * shape.channels // 2
    forward = 2 * shape.channels * voxels + voxels + coarse
    backward = 3 * shape.channels * voxels + voxels + 2 * coarse
    return element * {"forward": forward, "backward": backward, "both": forward + backward}[part]


def copy_speed(shape: Shape, dtype: torch.dtype, device: torch.device, *, rounds: int) -> float:
    """GB/s of copying x: read and written."""
    x = torch.randn(BATCH, shape.channels, *shape.size, device=device).to(dtype)
    y = torch.empty_like(x)
    seconds = timed({"copy": lambda: y.copy_(x)}, rounds=rounds, device=device)["copy"]
    return 2 * x.numel() * x.element_size() / float(np.median(seconds)) / 1e9


def peak_memory(call: Call, device: torch.device) -> int | None:
    """Bytes beyond what was there before, on a GPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure(
    shape: Shape,
    form: str,
    dtype: torch.dtype,
    device: torch.device,
    *,
    rounds: int,
    compiled: bool,
) -> dict[str, Any]:
    """Everything about one shape and form."""
    rivals = contestants(shape, form, dtype, device, compiled=compiled)
    check(rivals)
    calls = {
        (name, part): run
        for name, (call, owed) in rivals.items()
        for part, run in passes(call, owed).items()
    }
    named = {f"{name}|{part}": run for (name, part), run in calls.items()}
    seconds = timed(named, rounds=rounds, device=device)
    result: dict[str, Any] = {
        "copy_gb_per_s": round(copy_speed(shape, dtype, device, rounds=10), 1)
    }
    element = torch.empty((), dtype=dtype).element_size()
    for (name, part), run in calls.items():
        values = np.array(seconds[f"{name}|{part}"])
        eager = np.array(seconds[f"eager|{part}"])
        result.setdefault(name, {})[part] = {
            "microseconds": common.spread(values * 1e6, digits=1),
            "times_faster_than_eager": common.median_interval(eager / values),
            "gb_per_s": round(
                moved_bytes(shape, form, part, element) / float(np.median(values)) / 1e9, 1
            ),
            "peak_bytes": peak_memory(run, device),
        }
    return result


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Forward and backward together: times faster than eager, for every shape."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in results if name != "gate backend"]
    rivals = [key for key in results[names[0]] if key not in ("copy_gb_per_s", "eager")]
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(names) + 1.2), layout="constrained")
    height = 0.8 / len(rivals)
    for number, rival in enumerate(rivals):
        values = [
            results[name][rival]["both"]["times_faster_than_eager"]["median"] for name in names
        ]
        places = [row + number * height for row in range(len(names))]
        axes.barh(places, values, height=height, label=rival)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("forward and backward, times faster than eager PyTorch")
    axes.legend()
    figure.savefig(path, dpi=150)
    print(f"written to {path}")


def main() -> None:
    """Check, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="default: bf16 on a GPU"
    )
    parser.add_argument("--forms", nargs="+", choices=("skip", "grid"), default=["skip", "grid"])
    parser.add_argument(
        "--network", nargs="+", help="parts of network names, as '96³'; default: all"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled rivals out")
    parser.add_argument("--plot", type=Path, help="also draw it")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/gate_DEVICE.json")
    arguments = parser.parse_args()

    keep_freed_memory()
    device = resolve_device(arguments.device)
    dtype = getattr(torch, arguments.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    chosen = [
        shape
        for shape in shapes()
        if not arguments.network or any(part in shape.network for part in arguments.network)
    ]
    results: dict[str, Any] = {"gate backend": backend()._asdict()}
    rows = [["gate, x", "µs eager", "fused", "forward", "backward", "both", "GB/s", "copy GB/s"]]
    for form in arguments.forms:
        for shape in chosen:
            begin = time.monotonic()
            found = measure(
                shape, form, dtype, device, rounds=arguments.rounds,
                compiled=not arguments.no_compile,
            )  # fmt: skip
            results[f"{form} {shape}"] = found
            fused, both = found["fused"], found["fused"]["both"]
            faster = [
                fused[p]["times_faster_than_eager"]["median"]
                for p in ("forward", "backward", "both")
            ]
            rows.append([
                f"{form} {shape}", str(found["eager"]["both"]["microseconds"]["median"]),
                str(both["microseconds"]["median"]), *(f"{one:.2f}×" for one in faster),
                str(both["gb_per_s"]), str(found["copy_gb_per_s"]),
            ])  # fmt: skip
            print(f"{form} {shape}: {time.monotonic() - begin:.0f} s", flush=True)
    print(common.table(rows))
    path = arguments.json or common.RESULTS / f"gate_{device.type}.json"
    common.write_result(path, settings={**vars(arguments), "dtype": str(dtype)}, results=results)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
