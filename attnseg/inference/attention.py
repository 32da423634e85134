"""Every gate's α on the scan's grid, streamed like the logits, with their Gaussian weights.

Neighbouring windows see different surroundings, and their α differ a little. How much is measured
on the way: the weighted mean of α² travels beside that of α.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnseg.files import remove_leftovers
from attnseg.images import Image, Outline, is_picture, write_labels
from attnseg.inference.backends import attention_backend, ensemble
from attnseg.inference.budget import ScanPlan, plan_scan
from attnseg.inference.export import Blocks, resample_rows
from attnseg.inference.probabilities import ProbabilityFile, probability_file, row_file
from attnseg.inference.stream import Network, Rows, stream_windows
from attnseg.inference.windows import Plane, padding_of, window_starts
from attnseg.memory import peak_during, resident_bytes
from attnseg.models import AttentionUNet
from attnseg.preprocessing import Grid, preprocess
from attnseg.spec import ModelSpec

# The weights are the logits' Gaussian without its floor of 10⁻³: on maps as smooth as α the floor
# shows as seams (largest jump at an edge of a window 4.3 times that elsewhere on head and neck CT).
FLOOR = 1e-12
# Rows of α: first row, part of the plane, values `[gates, rows, A, S]`.
TakeRows = Callable[[int, Plane, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """α of every gate of a scan.

    Args:
        alpha: gate → `[I, J, K]`, float32, 0 to 1, on the scan's grid; finest gate first.
        agreement: gate → 1 − mean standard deviation of α among the windows that see a voxel, over
            the voxels that several windows see; NaN where none is. 1: all windows say the same.
    """

    alpha: dict[str, np.ndarray]
    agreement: dict[str, float]


class GateReader:
    """Reads the gates of one network, or the mean of several.

    Args:
        networks: where they have different gates, the first one's are read alone.
        spec: what they share.
        device: where they run.
        overlap: share of a window that its neighbour covers again.
        max_ram: bytes that the process may take; None: no bound.
    """

    def __init__(
        self,
        networks: Sequence[AttentionUNet],
        spec: ModelSpec,
        device: torch.device,
        *,
        overlap: float,
        max_ram: int | None = None,
    ) -> None:
        first = networks[0]
        same = all(set(network.gates) == set(first.gates) for network in networks)
        self.gates = tuple(sorted(first.gates, key=int))
        """Levels of the gates, the finest first; empty for a network without any."""
        self._networks = networks if same else networks[:1]
        self._spec, self._device = spec, device
        self._overlap, self._max_ram = overlap, max_ram
        self._window_bytes: int | None = None

    def start(self) -> int:
        """Where memory is bounded, see what a window takes.

        Returns:
            Bytes that the process holds now; 0 where memory is not bounded.
        """
        if self._max_ram is None:
            return 0
        if self._window_bytes is None:
            channels = self._spec.architecture.in_channels
            window = torch.zeros(1, channels, *self._spec.patch)
            self._window_bytes = peak_during(lambda: self.network()(window))
        return resident_bytes()

    def plan(self, outline: Outline, *, source: str, base_bytes: int | None = None) -> ScanPlan:
        """Into how many tiles a scan is cut for its α, which takes other memory than its labels.

        Args:
            outline: what its header says.
            source: the scan, named in errors.
            base_bytes: what the process takes without the scan, as `start` gave it; None: what it
                holds at this moment.

        Raises:
            DataError: it does not fit.
        """
        base = self.start() if base_bytes is None else base_bytes
        return plan_scan(
            outline,
            self._spec,
            overlap=self._overlap,
            on_gpu=self._device.type != "cpu",
            window_bytes=self._window_bytes or 0,
            base_bytes=base,
            max_ram=self._max_ram,
            source=source,
            probabilities=True,
            outputs=2 * len(self.gates),
        )

    @torch.inference_mode()
    def read(
        self,
        volume: Tensor,
        grid: Grid,
        plan: ScanPlan,
        *,
        take: TakeRows,
        on_window: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Hand the α of a preprocessed scan over, row by row, on the scan's grid.

        Args:
            volume: the network's input `[C, R, A, S]`.
            grid: its grid and the scan's.
            plan: into how many tiles it is cut.
            take: called with `[gates, rows, A, S]`, the finest gate first, axes R, A, S.
            on_window: called after every window.

        Returns:
            Gate → agreement, as of `AttentionMaps`.
        """
        network = self.network(on_window)
        spread = _Spread(grid.shape, self._spec.patch, self._overlap, len(self.gates))
        for tile in Blocks.of(grid).tiles(*plan.tiles):
            rows = stream_windows(
                volume,
                network,
                patch=self._spec.patch,
                overlap=self._overlap,
                plane=tile.plane,
                floor=FLOOR,
            )
            for start, alpha in resample_rows(spread.watch(rows, tile.plane), grid, blocks=tile):
                take(start, tile.out, alpha.clamp(0, 1).cpu().numpy())
        return dict(zip(self.gates, spread.agreement(), strict=True))

    def maps(self, image: Image) -> AttentionMaps:
        """α of a scan, all of it in memory."""
        if not self.gates:
            return AttentionMaps({}, {})
        outline = Outline.of(image)
        plan = self.plan(outline, source=str(image.path or "image"))
        volume, grid = preprocess(image, self._spec.preprocessing)
        maps = np.empty((len(self.gates), *grid.source_shape), dtype=np.float32)

        def take(start: int, plane: Plane, values: np.ndarray) -> None:
            maps[:, start : start + values.shape[1], *plane] = values

        agreement = self.read(volume, grid, plan, take=take)
        back = np.ascontiguousarray(grid.axes.undo(maps))
        return AttentionMaps(dict(zip(self.gates, back, strict=True)), agreement)

    def network(self, on_window: Callable[[], None] = lambda: None) -> Network:
        """`[1, C, *patch]` → α of every gate, the finest first, then α²."""
        read = ensemble(
            [
                attention_backend(each, self._device, slice_axis=self._spec.slice_axis)
                for each in self._networks
            ]
        )

        def run(window: Tensor) -> Tensor:
            alpha = read(window).float().flip(1)  # the decoder goes from coarse to fine
            on_window()
            return torch.cat([alpha, alpha.square()], dim=1)

        return run


def attention_names(name: str, gates: Sequence[str], *, picture: bool) -> list[str]:
    """Files of a scan's α: one 4D NIfTI, or of a picture one PNG a gate."""
    if picture:
        return [f"{name}_attention_gate{gate}.png" for gate in gates]
    return [f"{name}_attention.nii.gz"]


@contextmanager
def attention_file(
    folder: Path, name: str, gates: Sequence[str], grid: Grid, *, like: Image
) -> Iterator[ProbabilityFile]:
    """Takes rows of α; the files of `attention_names` are there when the block has ended.

    NIfTI holds α in steps of 1/65535, gates along the fourth axis, the finest first; PNG in steps
    of 1/255, white where the gate is open.
    """
    picture = like.path is not None and is_picture(like.path)
    paths = [folder / each for each in attention_names(name, gates, picture=picture)]
    for path in paths:
        remove_leftovers(path)
    if not picture:
        with probability_file(paths[0], grid, len(gates), like=like) as file:
            yield file
        return
    with row_file(paths[0], grid, len(gates)) as file:
        yield file
        for path, alpha in zip(paths, file.volumes(), strict=True):
            grey = np.rint(grid.axes.undo(alpha) / 257).astype(np.uint8)
            write_labels(path, np.ascontiguousarray(grey), like=like, dtype=np.dtype(np.uint8))


class _Spread:
    """Mean standard deviation of α among windows, on the model's grid."""

    def __init__(
        self, shape: tuple[int, ...], patch: tuple[int, ...], overlap: float, gates: int
    ) -> None:
        self._gates = gates
        self._sum, self._voxels = torch.zeros(gates, dtype=torch.float64), 0
        counts = []
        for n, p, (low, high) in zip(shape, patch, padding_of(shape, patch), strict=True):
            seen = torch.zeros(n + low + high)
            for start in window_starts(n + low + high, p, overlap):
                seen[start : start + p] += 1
            counts.append(seen[low : low + n])
        self._rows, self._a, self._s = counts

    def watch(self, rows: Iterator[Rows], plane: Plane) -> Iterator[Rows]:
        """Rows of α alone, those of α² taken off them."""
        across = self._a[plane[0]][:, None] * self._s[plane[1]]
        for start, values in rows:
            alpha, square = values[: self._gates], values[self._gates :]
            counts = self._rows[start : start + alpha.shape[1], None, None] * across
            several = (counts > 1).to(alpha.device)
            deviation = (square - alpha.square()).clamp(min=0).sqrt() * several
            self._sum += deviation.sum(dim=(1, 2, 3)).double().cpu()
            self._voxels += int(several.sum())
            yield start, alpha

    def agreement(self) -> list[float]:
        if not self._voxels:
            return [float("nan")] * self._gates
        return [1 - total / self._voxels for total in self._sum.tolist()]
