"""A scan segmented by many versions of a model at once, each with one gate's α changed.

What the versions have in common runs once a window: the encoder, and the decoder below the gate.
Their logits travel side by side like so many classes, and part when they are decided.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from attnseg.errors import DataError
from attnseg.images import Image, Outline
from attnseg.inference.after import apply
from attnseg.inference.backends import ensemble, torch_backend
from attnseg.inference.budget import ScanPlan, plan_scan
from attnseg.inference.export import Blocks, label_rows, label_volumes
from attnseg.inference.predictor import Predictor
from attnseg.inference.stream import Network, Rows, stream_windows
from attnseg.memory import peak_during, resident_bytes
from attnseg.models import AttentionUNet, Change, replaced_logits
from attnseg.preprocessing import preprocess

# Versions run together while they take no more than this beyond what one takes.
_ROOM = 1 << 30


class Versions:
    """One scan, prepared once, for versions of one model. Runs PyTorch, without mirror images.

    Args:
        predictor: the model; several networks are changed alike.
        image: the scan.
        overlap: share of a window that its neighbour covers again.
    """

    def __init__(self, predictor: Predictor, image: Image, *, overlap: float) -> None:
        self._predictor, self._image, self._overlap = predictor, image, overlap
        self._base_bytes = resident_bytes() if predictor.max_ram is not None else 0
        self._volume, self._grid = preprocess(image, predictor.spec.preprocessing)
        self._window_bytes = 0
        if predictor.max_ram is not None:
            window = torch.zeros(1, len(self._volume), *predictor.spec.patch)
            alone = self._network(lambda network: network)
            with torch.inference_mode():
                self._window_bytes = peak_during(lambda: alone(window))

    def as_it_is(self, look: Callable[[AttentionUNet, dict[str, Tensor]], None]) -> np.ndarray:
        """Label values `[I, J, K]` of the model itself.

        Args:
            look: called with each network and its gates' α `[N, 1, *S_level]` in every window.
        """

        def looked_at(network: AttentionUNet) -> Network:
            def run(window: Tensor) -> Tensor:
                logits, maps = network.forward_all(window)
                look(network, maps)
                return logits[0]

            return run

        (labels,) = self._segment(self._network(looked_at), self._plan(1), count=1)
        return labels

    def changed(
        self,
        gate: str,
        changes: Sequence[Callable[[], Change]],
        *,
        on_window: Callable[[float], None] = lambda share: None,
    ) -> list[np.ndarray]:
        """Label values `[I, J, K]` of each version.

        Args:
            gate: the level whose α is changed.
            changes: one a version: makes the change anew for each network.
            on_window: called after every window with its share of a version times the versions run;
                the sum is their number.

        Raises:
            DataError: not even one version fits within the bound on memory.
        """
        size, plan = self._together(len(changes))
        found = []
        for first in range(0, len(changes), size):
            some = changes[first : first + size]
            network = self._network(partial(_side_by_side, gate=gate, changes=some))
            told = partial(on_window, len(some) / plan.windows)
            found += self._segment(network, plan, count=len(some), on_window=told)
        return found

    def _network(self, call_of: Callable[[AttentionUNet], Network]) -> Network:
        """What is asked of each network, as one function of a window."""
        predictor = self._predictor
        slice_axis = predictor.spec.slice_axis
        return ensemble(
            [
                torch_backend(each, predictor.device, slice_axis=slice_axis, call=call_of(each))
                for each in predictor.networks
            ]
        )

    def _together(self, count: int) -> tuple[int, ScanPlan]:
        """How many versions run at once: no more windows than for one, and little more room."""
        alone = self._plan(1)
        for groups in range(1, count):
            size = -(-count // groups)
            try:
                plan = self._plan(size)
            except DataError:
                continue  # one of them alone fits
            if plan.windows == alone.windows and plan.peak_bytes <= alone.peak_bytes + _ROOM:
                return size, plan
        return 1, alone

    def _plan(self, count: int) -> ScanPlan:
        predictor, image = self._predictor, self._image
        outputs = count * predictor.spec.architecture.out_channels
        logits = 4 * outputs * math.prod(predictor.spec.patch)
        labels = image.array[0].size * predictor.label_type.itemsize
        return plan_scan(
            Outline.of(image),
            predictor.spec,
            overlap=self._overlap,
            on_gpu=predictor.device.type != "cpu",
            window_bytes=self._window_bytes + logits,
            base_bytes=self._base_bytes + (count - 1) * labels,
            max_ram=predictor.max_ram,
            source=str(image.path or "image"),
            outputs=outputs,
        )

    @torch.inference_mode()
    def _segment(
        self,
        network: Network,
        plan: ScanPlan,
        *,
        count: int,
        on_window: Callable[[], None] = lambda: None,
    ) -> list[np.ndarray]:
        """Label values of `count` versions whose outputs lie side by side."""
        predictor, grid = self._predictor, self._grid

        def run(window: Tensor) -> Tensor:
            logits = network(window)
            on_window()
            return logits

        def decided(tile: Blocks) -> list[Iterator[Rows]]:
            rows = stream_windows(
                self._volume,
                run,
                patch=predictor.spec.patch,
                overlap=self._overlap,
                plane=tile.plane,
            )
            each = _apart(rows, count)
            return [label_rows(own, grid, predictor.decoder, blocks=tile) for own in each]

        found = label_volumes(
            decided, grid, tiles=plan.tiles, values=predictor.written, count=count
        )
        rules, geometry = predictor.spec.after_processing, self._image.geometry
        return [
            apply(np.ascontiguousarray(grid.axes.undo(labels)), rules, geometry=geometry)
            for labels in found
        ]


def _side_by_side(
    network: AttentionUNet, *, gate: str, changes: Sequence[Callable[[], Change]]
) -> Network:
    """`[1, C, *S]` → logits of every version `[1, versions × K, *S]`, the first one's first."""
    made = [make() for make in changes]

    def run(window: Tensor) -> Tensor:
        outputs = network.architecture.out_channels
        found = window.new_empty(len(made), outputs, *window.shape[2:])
        for index, logits in enumerate(replaced_logits(network, window, gate, made)):
            found[index] = logits[0]
        return found.flatten(0, 1)[None]

    return run


def _apart(rows: Iterator[Rows], count: int) -> list[Iterator[Rows]]:
    """Rows of each version. To be read in step: what one has read waits for the others."""

    def own(stream: Iterator[Rows], index: int) -> Iterator[Rows]:
        for start, values in stream:
            size = len(values) // count
            yield start, values[index * size : (index + 1) * size]

    return [own(stream, index) for index, stream in enumerate(tee(rows, count))]
