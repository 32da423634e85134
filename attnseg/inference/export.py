"""From the model's grid to the scan's own, block by block, decided at once.

Logits are resampled by one matrix per axis (linear, exact) and never exist on the scan's grid but
for one block, small enough to stay in the processor's cache. A block needs few columns of each
matrix, so that these are small and dense; and only those classes are resampled that can win in it:
a linear interpolation stays between the smallest and the largest of what it interpolates.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from attnseg.inference.stream import ROWS, Rows
from attnseg.inference.windows import Plane
from attnseg.preprocessing import Grid, apply_along, axis_matrix

# Voxels of a block on the scan's grid. Blocks have fixed places, so that a part of a scan is
# computed by the very same products as the whole.
BLOCK = (16, 64, 64)


class Part(NamedTuple):
    """One block's extent along one axis."""

    out: slice
    """Voxels of the scan."""
    source: slice
    """Voxels of the model's grid that they are interpolated from."""
    matrix: Tensor | None
    """`[out, source]`; None where the two are the same."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a scan, or of a part of its second and third axis."""

    rows: Sequence[Part]
    a: Sequence[Part]
    s: Sequence[Part]

    @classmethod
    def of(cls, grid: Grid) -> "Blocks":
        """All blocks of a scan."""
        sizes = zip(grid.shape, grid.source_shape, BLOCK, strict=True)
        return cls(*(_parts(n, m, size) for n, m, size in sizes))

    @property
    def plane(self) -> Plane:
        """What of the model's grid these blocks need along the second and the third axis."""
        a, s = (extent_of([part.source for part in axis]) for axis in (self.a, self.s))
        return a, s

    @property
    def out(self) -> Plane:
        """What of the scan these blocks are, along the second and the third axis."""
        a, s = (extent_of([part.out for part in axis]) for axis in (self.a, self.s))
        return a, s

    def tiles(self, along_a: int, along_s: int) -> list["Blocks"]:
        """Cut into `along_a` × `along_s` tiles of whole blocks, of nearly equal size."""
        return [
            Blocks(self.rows, a, s)
            for a in cut_evenly(self.a, along_a)
            for s in cut_evenly(self.s, along_s)
        ]


class Decoder(Protocol):
    """How logits become one number a voxel."""

    def candidates(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Which outputs can matter: bounds `[K, blocks]` of their logits → bool `[K, blocks]`."""

    def certain(self, outputs: Sequence[int]) -> int | None:
        """The index of every voxel where these outputs leave no choice, else None."""

    def decide(self, logits: Tensor, outputs: Sequence[int]) -> Tensor:
        """Logits `[len(outputs), *S]` of the outputs that can matter → indices `[*S]`, int16."""


class Classes:
    """The class with the largest logit; of equal ones the first."""

    def candidates(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A class below another's smallest logit cannot win; rounding is given ample room."""
        room = 1e-4 * np.maximum(np.abs(low), np.abs(high)).max(axis=0)
        # Turned round, so that what is not a number rules nothing out.
        below: np.ndarray = high < low.max(axis=0) - room
        return ~below

    def certain(self, outputs: Sequence[int]) -> int | None:
        """One class alone is the answer, whatever its logits."""
        return outputs[0] if len(outputs) == 1 else None

    def decide(self, logits: Tensor, outputs: Sequence[int]) -> Tensor:
        """As of `Decoder`."""
        best = logits[0].clone()
        found = torch.full_like(best, outputs[0], dtype=torch.int16)
        for index, values in zip(outputs[1:], logits[1:], strict=True):
            found.masked_fill_(values > best, index)
            torch.maximum(best, values, out=best)
        return found


class Regions:
    """1 + the last region whose logit is above 0 (its sigmoid above a half); 0 where none is."""

    def candidates(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A region that is nowhere above 0 is absent."""
        present: np.ndarray = high > 0
        return present

    def certain(self, outputs: Sequence[int]) -> int | None:
        """Without any region it is background."""
        return None if outputs else 0

    def decide(self, logits: Tensor, outputs: Sequence[int]) -> Tensor:
        """As of `Decoder`."""
        found = torch.zeros_like(logits[0], dtype=torch.int16)
        for index, values in zip(outputs, logits, strict=True):
            found.masked_fill_(values > 0, index + 1)
        return found


def label_rows(
    rows: Iterable[Rows], grid: Grid, decoder: Decoder, *, blocks: Blocks | None = None
) -> Iterator[Rows]:
    """Decide every voxel of the scan as soon as its logits are there.

    Args:
        rows: as `stream_windows` yields them for `blocks.plane`: logits `[K, rows, *plane]`.
        grid: the model's grid and the scan's.
        decoder: what the logits mean.
        blocks: a tile of the scan; None: all of it.

    Yields:
        (first row, indices `[rows, *blocks.out]`, int16) on the scan's grid, axes still R, A, S.
    """
    blocks = blocks or Blocks.of(grid)
    plane, out = blocks.plane, blocks.out
    for part, source in _row_parts(rows, blocks.rows):
        shape = [_length(part.out), *map(_length, out)]
        found = torch.empty(shape, dtype=torch.int16, device=source.device)
        chosen = _candidates(source, blocks, decoder)
        for i, a in enumerate(blocks.a):
            for j, s in enumerate(blocks.s):
                outputs = np.flatnonzero(chosen[:, i, j]).tolist()
                answer: Tensor | int | None = decoder.certain(outputs)
                if answer is None:
                    block = source[:, :, *_shift((a.source, s.source), plane)]
                    chosen_block = block[outputs] if len(outputs) < len(block) else block
                    answer = decoder.decide(_resampled(chosen_block, (part, a, s)), outputs)
                found[:, *_shift((a.out, s.out), out)] = answer
        yield part.out.start, found


def resample_rows(
    rows: Iterable[Rows], grid: Grid, *, blocks: Blocks | None = None
) -> Iterator[Rows]:
    """Bring streamed rows from the model's grid to the scan's.

    Args: as of `label_rows`.

    Yields:
        (first row, values `[K, rows, *blocks.out]`); linear interpolation, exact, the very numbers
        that `label_rows` decides by.
    """
    blocks = blocks or Blocks.of(grid)
    plane, out = blocks.plane, blocks.out
    for part, source in _row_parts(rows, blocks.rows):
        values = source.new_empty((len(source), _length(part.out), *map(_length, out)))
        for a in blocks.a:
            for s in blocks.s:
                block = source[:, :, *_shift((a.source, s.source), plane)]
                target = values[:, :, *_shift((a.out, s.out), out)]
                target.copy_(_resampled(block, (part, a, s)))
        yield part.out.start, values


def label_volumes(
    decided: Callable[[Blocks], Sequence[Iterator[Rows]]],
    grid: Grid,
    *,
    tiles: tuple[int, int],
    values: np.ndarray,
    count: int = 1,
) -> list[np.ndarray]:
    """Whole volumes from decided rows, tile by tile.

    Args:
        decided: a tile → the rows of each of `count` volumes, as `label_rows` yields them; they are
            read in step.
        grid: the model's grid and the scan's.
        tiles: how many along the second and the third axis.
        values: the label value of each index.
        count: of volumes.

    Returns:
        `[R, A, S]` each, on the scan's grid.
    """
    volumes = [np.empty(grid.source_shape, dtype=values.dtype) for _ in range(count)]
    for tile in Blocks.of(grid).tiles(*tiles):
        for parts in zip(*map(to_host, decided(tile)), strict=True):
            for volume, (start, indices) in zip(volumes, parts, strict=True):
                part = volume[start : start + len(indices), *tile.out]
                np.take(values, indices.numpy(), out=part)
    return volumes


def to_host(parts: Iterator[Rows]) -> Iterator[Rows]:
    """Rows in the CPU's memory; those of a GPU are fetched while it computes the next ones."""
    waiting: tuple[int, Tensor, torch.cuda.Event] | None = None
    for start, part in parts:
        if part.device.type == "cpu":
            yield start, part
            continue
        fetched = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
        fetched.copy_(part, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        if waiting:
            waiting[2].synchronize()
            yield waiting[:2]
        waiting = (start, fetched, arrived)
    if waiting:
        waiting[2].synchronize()
        yield waiting[:2]


def _parts(n: int, m: int, size: int) -> list[Part]:
    """Blocks of `size` along one axis of `m` voxels that the model sees as `n`."""
    outs = [slice(start, min(start + size, m)) for start in range(0, m, size)]
    if n == m:
        return [Part(out, out, None) for out in outs]
    matrix = axis_matrix(n, m)
    parts = []
    for out in outs:
        used = torch.nonzero(matrix[out].any(dim=0)).flatten()
        source = slice(int(used[0]), int(used[-1]) + 1)
        parts.append(Part(out, source, matrix[out, source].contiguous()))
    return parts


def _row_parts(rows: Iterable[Rows], parts: Sequence[Part]) -> Iterator[tuple[Part, Tensor]]:
    """Each block of rows with the values it is interpolated from, as soon as they are there."""
    held: Tensor | None = None
    index = 0
    for start, values in _in_groups(rows):
        held = values if held is None or held.shape[1] == 0 else torch.cat([held, values], dim=1)
        stop = start + values.shape[1]
        begin = stop - held.shape[1]
        while index < len(parts) and parts[index].source.stop <= stop:
            source = parts[index].source
            yield parts[index], held[:, source.start - begin : source.stop - begin]
            index += 1
        keep = parts[index].source.start if index < len(parts) else stop
        held = held[:, max(0, keep - begin) :].clone()  # not a view, which would keep all of it
        del values


def _in_groups(rows: Iterable[Rows]) -> Iterator[Rows]:
    """The same rows, never more than `ROWS` at a time: what waits for others is copied."""
    for start, values in rows:
        for offset in range(0, values.shape[1], ROWS):
            yield start + offset, values[:, offset : offset + ROWS]


def _candidates(source: Tensor, blocks: Blocks, decoder: Decoder) -> np.ndarray:
    """bool `[K, blocks along A, blocks along S]`. On a GPU all of them: asking would stop it."""
    count = (len(source), len(blocks.a), len(blocks.s))
    if source.device.type != "cpu":
        return np.ones(count, dtype=bool)
    plane = blocks.plane
    bounds = np.empty((2, *count), dtype=np.float32)
    for side, reduce in enumerate((torch.amin, torch.amax)):
        over_rows = reduce(source, dim=1)
        for j, s in enumerate(blocks.s):
            over_s = reduce(over_rows[:, :, _shift((s.source,), plane[1:])[0]], dim=2)
            for i, a in enumerate(blocks.a):
                part = over_s[:, _shift((a.source,), plane[:1])[0]]
                bounds[side, :, i, j] = reduce(part, dim=1).numpy()
    low, high = bounds.reshape(2, len(source), -1)
    return decoder.candidates(low, high).reshape(count)


def _resampled(block: Tensor, parts: Sequence[Part]) -> Tensor:
    """`[K, *source]` → `[K, *out]` of a block."""
    for axis, part in enumerate(parts, start=1):
        if part.matrix is not None:
            block = apply_along(block, part.matrix.to(block), axis)
    return block


def cut_evenly(parts: Sequence[Part], count: int) -> list[Sequence[Part]]:
    """Cut the blocks of an axis into `count` runs of nearly equal length, none of them empty."""
    edges = [round(index * len(parts) / count) for index in range(count + 1)]
    return [parts[low:high] for low, high in pairwise(edges) if high > low]


def extent_of(slices: Sequence[slice]) -> slice:
    """The smallest slice that holds all of them."""
    return slice(min(part.start for part in slices), max(part.stop for part in slices))


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _shift(parts: Sequence[slice], origin: Sequence[slice]) -> tuple[slice, ...]:
    """`parts` counted from where `origin` begins."""
    return tuple(
        slice(part.start - o.start, part.stop - o.start)
        for part, o in zip(parts, origin, strict=True)
    )
