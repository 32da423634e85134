"""Sliding-window prediction as a stream: the class × volume tensor never exists.

Windows are visited in order along the first axis. Their weighted outputs are summed in a slab one
patch deep; rows that no later window touches leave it a few at a time. Memory: classes × patch
depth × the cross-section, whatever the volume's length, and of the cross-section only the part that
was asked for.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from attnseg.inference.windows import (
    Plane,
    gaussian_weights,
    padding_of,
    window_starts,
    windows_in_plane,
)

Network = Callable[[Tensor], Tensor]
Rows = tuple[int, Tensor]
# Finished rows leave in groups of so many: each is a copy, small beside the slab.
ROWS = 8


def stream_windows(
    volume: Tensor,
    network: Network,
    *,
    patch: tuple[int, ...],
    overlap: float,
    plane: Plane | None = None,
    floor: float = 1e-3,
) -> Iterator[Rows]:
    """Predict `volume` `[C, *S]` window by window.

    Every voxel is the sum of the same windows in the same order whatever `plane` it is asked for
    in, so that parts of a volume are bitwise those of the whole.

    Args:
        volume: the network's input; axes shorter than the patch are padded with zeros, which are
            cropped from the result.
        network: `[1, C, *patch]` → `[1, K, *patch]`.
        patch: window size.
        overlap: share of a window that the next covers again.
        plane: the part of the second and the third axis to predict; only windows that reach into it
            are run. None: all of it.
        floor: of the weights; see `gaussian_weights`.

    Yields:
        (first row, values `[K, rows, *plane]`): weighted means over all windows, in order along the
        first axis, together covering it once. Float32 on the network's device.
    """
    shape = tuple(volume.shape[1:])
    padding = padding_of(shape, patch)
    if any(map(any, padding)):
        volume = F.pad(volume, [amount for pair in reversed(padding) for amount in pair])
    size = tuple(volume.shape[1:])
    first, *others = (window_starts(n, p, overlap) for n, p in zip(size, patch, strict=True))
    lead, *before = (low for low, _ in padding)
    a, s = plane or (slice(0, shape[1]), slice(0, shape[2]))
    a, s = (slice(p.start + low, p.stop + low) for p, low in zip((a, s), before, strict=True))
    windows = windows_in_plane(others, patch[1:], (a, s))
    weights = gaussian_weights(patch, floor=floor)
    normalizer = weights.new_zeros((patch[0], a.stop - a.start, s.stop - s.start))
    for window in windows:
        normalizer[:, *window.target] += weights[:, *window.within]

    slab, seen = torch.empty(0), torch.zeros_like(normalizer)
    for position, start in enumerate(first):
        for window in windows:
            source = volume[:, start : start + patch[0], *window.source]
            output = network(source[None])[0].float()
            if slab.numel() == 0:
                slab = output.new_zeros((output.shape[0], *normalizer.shape))
                weights, normalizer, seen = (t.to(output) for t in (weights, normalizer, seen))
            slab[:, :, *window.target].addcmul_(
                output[:, :, *window.within], weights[:, *window.within]
            )
            del source, output  # or two windows' logits would exist at a time
        seen += normalizer
        last = position == len(first) - 1
        done = patch[0] if last else min(first[position + 1] - start, patch[0])
        low, high = max(start, lead), min(start + done, lead + shape[0])
        for row in range(low, high, ROWS):
            rows = slice(row - start, min(row + ROWS, high) - start)
            yield row - lead, slab[:, rows] / seen[rows]
        if not last:
            _advance(slab, done, axis=1)
            _advance(seen, done, axis=0)


def _advance(buffer: Tensor, rows: int, *, axis: int) -> None:
    """Drop the first rows and append as many zero rows, in place."""
    kept = buffer.shape[axis] - rows
    for row in range(0, kept, rows):  # never more than the gap, so that nothing is read too late
        count = min(rows, kept - row)
        buffer.narrow(axis, row, count).copy_(buffer.narrow(axis, row + rows, count))
    buffer.narrow(axis, kept, rows).zero_()
