"""Sliding-window prediction as a stream: the class × volume tensor never exists.

Windows are visited in order along the first axis. Their weighted outputs are summed in a slab one
patch deep; rows that no later window touches leave it, are resampled to the scan's own grid and
handed on. Memory: classes × patch depth × the volume's cross-section, whatever its length.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from attnseg.inference.windows import gaussian_weights, padding_of, window_starts
from attnseg.preprocessing import Grid, apply_along

Network = Callable[[Tensor], Tensor]
Rows = tuple[int, Tensor]
# Rows leave in blocks of about this many numbers: small enough to stay near the cache.
_BLOCK_NUMBERS = 1 << 22


def stream_windows(
    volume: Tensor, network: Network, *, patch: tuple[int, ...], overlap: float
) -> Iterator[Rows]:
    """Predict `volume` `[C, *S]` window by window.

    Args:
        volume: the network's input; axes shorter than the patch are padded with zeros, which are
            cropped from the result.
        network: `[1, C, *patch]` → `[1, K, *patch]`.
        patch: window size.
        overlap: share of a window that the next covers again.

    Yields:
        (first row, values `[K, rows, S2, S3]`): weighted means over all windows, in order along the
        first axis, together covering the volume once. Float32 on the volume's device.
    """
    shape = tuple(volume.shape[1:])
    padding = padding_of(shape, patch)
    volume = F.pad(volume, [amount for pair in reversed(padding) for amount in pair])
    size = tuple(volume.shape[1:])
    first, *others = (window_starts(n, p, overlap) for n, p in zip(size, patch, strict=True))
    weights = gaussian_weights(patch).to(volume.device)
    normalizer = _weight_sums(size[1:], others, weights)
    lead = padding[0][0]
    crop = tuple(slice(low, low + n) for (low, _), n in zip(padding[1:], shape[1:], strict=True))

    slab = torch.empty(0)
    seen = torch.empty(0)
    for position, start in enumerate(first):
        for corner in product(*others):
            window = tuple(slice(a, a + p) for a, p in zip(corner, patch[1:], strict=True))
            source = volume[(slice(None), slice(start, start + patch[0]), *window)]
            output = network(source[None])[0].float()
            if slab.numel() == 0:
                slab = output.new_zeros((output.shape[0], patch[0], *size[1:]))
                seen = normalizer.new_zeros(normalizer.shape)
            slab[(slice(None), slice(None), *window)].addcmul_(output, weights)
        seen += normalizer
        last = position == len(first) - 1
        done = patch[0] if last else min(first[position + 1] - start, patch[0])
        low, high = max(start - lead, 0), min(start + done - lead, shape[0])
        if high > low:
            rows = slice(low + lead - start, high + lead - start)
            yield low, (slab[:, rows] / seen[rows])[(slice(None), slice(None), *crop)]
        if not last:
            slab, seen = _advance(slab, done, axis=1), _advance(seen, done, axis=0)


def _weight_sums(size: tuple[int, ...], starts: list[list[int]], weights: Tensor) -> Tensor:
    """Summed weights `[patch depth, S2, S3]` of all windows at one position of the first axis."""
    total = weights.new_zeros((weights.shape[0], *size))
    for corner in product(*starts):
        window = tuple(slice(a, a + p) for a, p in zip(corner, weights.shape[1:], strict=True))
        total[(slice(None), *window)] += weights
    return total


def _advance(buffer: Tensor, rows: int, *, axis: int) -> Tensor:
    """Drop the first rows and append as many zero rows."""
    moved = torch.zeros_like(buffer)
    kept = buffer.shape[axis] - rows
    moved.narrow(axis, 0, kept).copy_(buffer.narrow(axis, rows, kept))
    return moved


def resample_rows(rows: Iterable[Rows], grid: Grid) -> Iterator[Rows]:
    """Bring streamed rows from the model's grid to the scan's, block by block.

    Args:
        rows: as `stream_windows` yields them, `[K, rows, A, S]` on `grid.shape`.
        grid: both grids of the scan.

    Yields:
        (first row, values `[K, rows, A', S']`) on `grid.source_shape`, linear interpolation, exact.
    """
    across, *within = grid.matrices_back()
    for start, block in rows if across is None else _resample_first_axis(rows, across, grid):
        for offset, part in _blocks(block, grid):
            for axis, matrix in enumerate(within, start=2):
                if matrix is not None:
                    part = apply_along(part, matrix.to(part), axis)
            yield start + offset, part


def _resample_first_axis(rows: Iterable[Rows], matrix: Tensor, grid: Grid) -> Iterator[Rows]:
    """Interpolate along the streamed axis as soon as an output row has all rows it needs."""
    needed = [torch.nonzero(row).flatten() for row in matrix]
    first, last = [int(n[0]) for n in needed], [int(n[-1]) for n in needed]
    held: Tensor | None = None
    begin = written = 0
    for start, block in rows:
        held = block if held is None else torch.cat([held, block], dim=1)
        available = start + block.shape[1]
        while written < len(last) and last[written] < available:
            ready = written + 1
            # As many output rows at once as a block holds.
            limit = written + _rows_per_block(held, grid)
            while ready < min(len(last), limit) and last[ready] < available:
                ready += 1
            low, high = first[written], last[ready - 1] + 1
            weights = matrix[written:ready, low:high].to(held)
            yield written, apply_along(held[:, low - begin : high - begin], weights, 1)
            written = ready
        keep = first[written] if written < len(first) else available
        held = held[:, keep - begin :]
        begin = keep


def _rows_per_block(block: Tensor, grid: Grid) -> int:
    per_row = block.shape[0] * max(
        block.shape[2] * block.shape[3], grid.source_shape[1] * grid.source_shape[2]
    )
    return max(1, _BLOCK_NUMBERS // per_row)


def _blocks(block: Tensor, grid: Grid) -> Iterator[Rows]:
    step = _rows_per_block(block, grid)
    for offset in range(0, block.shape[1], step):
        yield offset, block[:, offset : offset + step]
