"""The networks of a `Predictor` as one function of a window: which back end runs it, what memory it
takes, how long it took.
"""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attnseg.inference.backends import (
    CONSTANT_BYTES,
    BackendName,
    choose_backend,
    ensemble,
    make_backend,
    mirrored,
    once_where_constant,
)
from attnseg.inference.budget import multiply_adds
from attnseg.inference.stream import Network
from attnseg.memory import (
    peak_during,
    release_freed_memory,
    resident_bytes,
    return_freed_memory,
)
from attnseg.models import AttentionUNet
from attnseg.spec import ModelSpec


class Runner:
    """Runs windows, once `start` has settled how.

    Args:
        networks: their logits are averaged.
        spec: what they share.
        device: where they run.
        mirror_axes: mirror images along these are averaged too.
        backend: "auto", "torch" or "openvino".
        compiled: let `torch.compile` build PyTorch's network.
        bounded: whether memory is, and what a window takes must be known.

    Raises:
        UsageError: an unknown back end, or one that is not for this device.
    """

    def __init__(
        self,
        networks: Sequence[AttentionUNet],
        spec: ModelSpec,
        device: torch.device,
        *,
        mirror_axes: Sequence[int],
        backend: str,
        compiled: bool,
        bounded: bool,
    ) -> None:
        choose_backend(backend, device, multiply_adds=0)  # an unknown one is told at once
        self._networks, self._spec, self._device = networks, spec, device
        # Only PyTorch's network can be compiled so.
        self._mirror_axes, self._asked = mirror_axes, "torch" if compiled else backend
        self._compiled, self._bounded = compiled, bounded
        if bounded:
            return_freed_memory()
        self._settled: BackendName | None = None
        self.window_bytes = 0
        """Most memory that a window takes; 0 until it was measured."""
        self.base_bytes = 0
        """What the process takes before the first window."""
        self.seconds = 0.0
        """Time that windows have taken so far."""

    @property
    def backend(self) -> str:
        """The back end in use; "auto" until `start` settles it."""
        return self._settled or self._asked

    @property
    def may_change(self) -> bool:
        """Whether another back end that takes less memory may be tried."""
        return self._asked == "auto" and self._settled == "openvino"

    def sees_enough(self, windows: float) -> bool:
        """Whether no scan beyond those of these windows could make `start` choose otherwise."""
        if self._settled or self._asked != "auto":
            return not (self._bounded and self.may_change)
        chosen = self._choice(windows, "auto")
        # One that finds no room beside OpenVINO still could.
        return chosen == self._choice(math.inf, "auto") and not (
            self._bounded and chosen == "openvino"
        )

    def start(self, windows: float, *, backend: str | None = None) -> None:
        """Make a back end ready, and where memory is bounded see what a window takes.

        Args:
            windows: how many are to come, over all scans: what "auto" goes by.
            backend: another one than was settled before; None keeps that.
        """
        if self._settled and backend is None:
            return
        spec = self._spec
        self._settled = self._choice(windows, backend or self._asked)
        networks = [
            make_backend(each, spec, self._device, backend=self._settled, compiled=self._compiled)
            for each in self._networks
        ]
        self._run = mirrored(ensemble(networks), self._mirror_axes)
        release_freed_memory()
        self.base_bytes, self.window_bytes = resident_bytes(), 0
        if self._bounded:
            self.measure()

    def _choice(self, windows: float, backend: str) -> BackendName:
        spec = self._spec
        window = [p for axis, p in enumerate(spec.patch) if axis != spec.slice_axis]
        passes = windows * len(self._networks) * 2 ** len(self._mirror_axes)
        work = passes * multiply_adds(spec.architecture, window)
        return choose_backend(backend, self._device, multiply_adds=work)

    @torch.inference_mode()
    def __call__(self, window: Tensor) -> Tensor:
        """Logits `[1, K, *patch]` of one window `[1, C, *patch]`."""
        self.start(1)
        begin = time.perf_counter()
        logits = self._run(window)
        self.seconds += time.perf_counter() - begin
        return logits

    def for_scan(self, on_window: Callable[[], None]) -> Network:
        """The function for the windows of one scan, each told after it was run."""
        network: Network = once_where_constant(self) if self._device.type == "cpu" else self

        def run(window: Tensor) -> Tensor:
            logits = network(window)
            on_window()
            return logits

        return run

    def measure(self) -> float:
        """Run windows of zeros: what memory they take is from then on part of every plan.

        Returns:
            Seconds of one window.
        """
        architecture = self._spec.architecture
        window = torch.zeros(1, architecture.in_channels, *self._spec.patch)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            before = torch.cuda.memory_allocated(self._device)
            self(window)
            self.window_bytes = torch.cuda.max_memory_allocated(self._device) - before
        else:
            output = 4 * architecture.out_channels * window[0, 0].numel()
            kept = output if output <= CONSTANT_BYTES else 0  # by `once_where_constant`
            self.window_bytes = peak_during(lambda: self(window)) + kept
        begin = time.perf_counter()
        self(window).cpu()
        return time.perf_counter() - begin
