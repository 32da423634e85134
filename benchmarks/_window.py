"""One network in a process of its own that runs a window whenever it is told to.

    python _window.py --arm "attnseg openvino" --patch 96 96 96 --channels 16 32 64 128 -o F.npy

Writes its output of the first window to F.npy and says so; from then on every line on stdin is one
window, answered by its seconds. Arms share the machine's noise by turns, and nothing else: neither
threads nor the allocator.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Arms that are left out unless they are asked for: compiling takes its time.
COMPILED = ("attnseg compiled", "MONAI compiled")
ARMS = (
    "attnseg torch", "attnseg openvino", "MONAI AttentionUnet", "MONAI, freed memory kept",
    "MONAI without gates", *COMPILED,
)  # fmt: skip


class Worker:
    """The other end of such a process.

    Args:
        arm: of `ARMS`.
        patch: voxels of a window.
        channels: of every level, finest first.
        output: gets the network's output of the first window, `.npy`.

    Raises:
        RuntimeError: it could not begin, as where a package is missing.
    """

    def __init__(
        self, arm: str, patch: Sequence[int], channels: Sequence[int], output: Path
    ) -> None:
        sizes = ["--patch", *patch, "--channels", *channels]
        command = [sys.executable, __file__, "--arm", arm, *sizes, "-o", output]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._ask, self._answers = self._process.stdin, self._process.stdout
        if self._answers.readline().strip() != "ready":
            raise RuntimeError(f"{arm}: did not begin; see above")

    def seconds(self) -> float:
        """Of one more window."""
        print("again", file=self._ask, flush=True)
        return float(self._answers.readline())

    def close(self) -> float:
        """End the process; returns its peak memory in 10⁶ bytes."""
        print("end", file=self._ask, flush=True)
        peak = float(self._answers.readline())
        self._process.wait()
        return peak


def network_of(
    arm: str, channels: Sequence[int], patch: tuple[int, int, int]
) -> Callable[[Any], Any]:
    """The arm as a function of a window `[1, 1, *patch]`."""
    import torch
    from network import CLASSES, monai

    from attnseg.memory import keep_freed_memory

    if arm.startswith("attnseg"):
        from attnseg.models import AttentionUNet

        keep_freed_memory()  # as `attnseg predict` does
        torch.manual_seed(0)
        strides = (2,) * (len(channels) - 1)
        ours = AttentionUNet(3, 1, CLASSES, channels=channels, strides=strides).eval()
        return attnseg_backend(arm.removeprefix("attnseg "), ours, patch)
    if arm.endswith("freed memory kept"):
        keep_freed_memory()  # what of attnseg's speed is the allocator's
    theirs = monai(channels, gated=arm != "MONAI without gates").eval()
    compiled: Callable[[Any], Any] = torch.compile(theirs) if arm in COMPILED else theirs
    return compiled


def attnseg_backend(name: str, ours: Any, patch: tuple[int, int, int]) -> Callable[[Any], Any]:
    """The one place that knows attnseg's back ends; `name`: torch, openvino or compiled."""
    import _made as made
    import torch

    from attnseg.inference.backends import make_backend

    spec, device = made.spec_of(ours, patch), torch.device("cpu")
    kind = "torch" if name == "compiled" else name
    return make_backend(ours, spec, device, backend=kind, compiled=name == "compiled")


def main() -> None:
    """Be the worker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", choices=ARMS, required=True)
    parser.add_argument("--patch", type=int, nargs=3, required=True)
    parser.add_argument("--channels", type=int, nargs="+", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    import _measure as measure
    import numpy as np
    import torch

    x = torch.randn(1, 1, *arguments.patch, generator=torch.Generator().manual_seed(0))
    run = network_of(arguments.arm, arguments.channels, tuple(arguments.patch))
    with torch.inference_mode():
        np.save(arguments.output, np.asarray(run(x)))
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() == "end":
                break
            begin = time.perf_counter()
            run(x)
            print(time.perf_counter() - begin, flush=True)
    print(measure.status_mb("VmHWM"), flush=True)


if __name__ == "__main__":
    main()
