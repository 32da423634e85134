"""How much memory a scan will take, and into how many tiles it is cut to stay within a bound.

What a window takes in the network is measured once, by a window of zeros. All else is known before
a scan is read: every large array is listed here, with the stage in which it exists. What the list
leaves out (threads, small temporaries, the C library's own) is covered by a margin, and tests hold
the sum against the memory that was really taken.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from attnseg.errors import DataError
from attnseg.images import Outline, smallest_integer_type
from attnseg.inference.export import BLOCK, Blocks, Part, cut_evenly, extent_of
from attnseg.inference.stream import ROWS
from attnseg.inference.windows import padding_of, window_starts
from attnseg.preprocessing import Grid
from attnseg.spec import Architecture, ModelSpec

_FLOAT = 4
# What is not listed, as a share of what is.
_MARGIN = 1.1


@dataclass(frozen=True)
class ScanPlan:
    """How one scan will be predicted, and what that takes.

    Args:
        tiles: how many along the second and the third axis of the model's grid.
        windows: passes through the network, those that tiles repeat included.
        reading_bytes: most memory that reading and preprocessing take.
        predicting_bytes: most memory that network, export and after-processing take.
        writing_bytes: of the mask while it is written.
        gpu_bytes: of a GPU's memory; 0 on a CPU.
        base_bytes: what the process takes without the scan.
    """

    tiles: tuple[int, int]
    windows: int
    base_bytes: int
    reading_bytes: int
    predicting_bytes: int
    writing_bytes: int
    gpu_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Of the whole process, in the stage that needs most: a scan's stages follow each other."""
        stages = (self.reading_bytes, self.predicting_bytes, self.writing_bytes)
        return self.base_bytes + max(stages)


def multiply_adds(architecture: Architecture, window: Sequence[int]) -> float:
    """Work of one window, from the sizes of the convolutions; gates and heads are left out."""
    channels = architecture.channels
    size, work, width = list(window), 0.0, architecture.in_channels
    strides = ((1,) * len(size), *architecture.strides)
    for level, (wide, kernel) in enumerate(zip(channels, architecture.kernel_sizes, strict=True)):
        size = [-(-n // step) for n, step in zip(size, strides[level], strict=True)]
        taps = math.prod(kernel)
        per_voxel = wide * taps * (width + wide * (2 * architecture.blocks_per_level - 1))
        if level < len(channels) - 1:  # the decoder's block, and what brings the next level up
            per_voxel += wide * (3 * wide * taps + channels[level + 1])
        work += math.prod(size) * per_voxel
        width = wide
    return work


def plan_scan(
    outline: Outline,
    spec: ModelSpec,
    *,
    overlap: float,
    on_gpu: bool,
    window_bytes: int = 0,
    base_bytes: int = 0,
    max_ram: int | None = None,
    max_vram: int | None = None,
    source: str = "scan",
    probabilities: bool = False,
    outputs: int | None = None,
) -> ScanPlan:
    """The fewest windows with which a scan stays within the bounds.

    Args:
        outline: what the scan's header says.
        spec: the model's.
        overlap: share of a window that its neighbour covers again.
        window_bytes: what a window takes on its way through the network, its logits included.
        on_gpu: whether network and sums are on a GPU.
        base_bytes: what the process takes without the scan.
        max_ram: the bound; None: no tiles for its sake.
        max_vram: the bound of a GPU's memory, likewise.
        source: the scan, named in errors.
        probabilities: whether these are kept on the way to their file.
        outputs: of a window; None: the classes or regions of the model.

    Raises:
        DataError: not even the smallest tiles fit, or the scan itself does not.
    """
    grid = Grid.of(outline.geometry, spec.preprocessing, source=source)
    outputs = spec.architecture.out_channels if outputs is None else outputs
    bounded = max_ram is not None or max_vram is not None
    options = []
    for tiling in _tilings(grid, spec.patch, overlap, bounded=bounded):
        sums = tiling.sum_bytes(outputs, spec.patch[0], probabilities=probabilities)
        needs = _needs(outline, grid, spec, sums + window_bytes, on_gpu)
        options.append(ScanPlan(tiling.tiles, tiling.windows, base_bytes, **needs))
    for option in sorted(options, key=lambda option: (option.windows, option.peak_bytes)):
        fits = max_ram is None or option.peak_bytes <= max_ram
        if fits and (max_vram is None or option.gpu_bytes <= max_vram):
            return option
    ram = min(option.peak_bytes for option in options)
    vram = min(option.gpu_bytes for option in options)
    over = max_ram is not None and ram > max_ram
    name, needed, bound = ("ram", ram, max_ram) if over else ("vram", vram, max_vram)
    raise DataError(
        f"{source}: needs {needed / 2**30:.2f}G even in the smallest tiles, more than "
        f"--max-{name} {(bound or 0) / 2**30:.2f}G; raise it"
    )


@dataclass(frozen=True)
class _Cut:
    """One axis of a plane, cut into so many parts.

    Args:
        parts: how many.
        windows: that reach into each part, added up: what two parts share counts twice.
        extents: voxels of each part on the model's grid and on the scan's.
    """

    parts: int
    windows: int
    extents: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class _Tiling:
    """A scan cut into tiles along its second and its third axis.

    Args:
        a: the cut of the second axis.
        s: that of the third.
        first: windows along the first axis, which is never cut.
        rows: of the model's grid, the most that one block needs along the first axis.
    """

    a: _Cut
    s: _Cut
    first: int
    rows: int

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles along either axis."""
        return self.a.parts, self.s.parts

    @property
    def windows(self) -> int:
        """Passes through the network over all tiles: each tile meets the product of its axes'."""
        return self.first * self.a.windows * self.s.windows

    def sum_bytes(self, outputs: int, depth: int, *, probabilities: bool) -> int:
        """Bytes of the sums of the tile that takes most, for windows of `depth` rows."""
        # Sums; rows that leave, that wait, and both joined; the weights of the sums.
        per_column = outputs * (depth + 2 * (ROWS + self.rows)) + 3 * depth
        # A row of blocks on the scan's grid, its softmax, and that stored.
        per_voxel = 3 * outputs * BLOCK[0] if probabilities else 0
        largest = max(
            source_a * source_s * per_column + out_a * out_s * per_voxel
            for (source_a, out_a), (source_s, out_s) in product(self.a.extents, self.s.extents)
        )
        return _FLOAT * (largest + 3 * outputs * math.prod(BLOCK))


def _tilings(
    grid: Grid, patch: tuple[int, int, int], overlap: float, *, bounded: bool
) -> list[_Tiling]:
    """Every way to cut a scan into tiles of whole blocks; the scan in one piece where not bounded.

    Windows are counted axis by axis: those of a tile are all pairs of its axes' windows, so that
    neither they nor the tiles are ever listed.
    """
    blocks = Blocks.of(grid)
    padding = padding_of(grid.shape, patch)
    size = [n + sum(pair) for n, pair in zip(grid.shape, padding, strict=True)]
    first, *others = (window_starts(n, p, overlap) for n, p in zip(size, patch, strict=True))
    cuts_a, cuts_s = (
        [
            _cut(parts, count, starts=starts, patch=p, padded=low)
            for count in range(1, (len(parts) if bounded else 1) + 1)
        ]
        for parts, starts, p, (low, _) in zip(
            (blocks.a, blocks.s), others, patch[1:], padding[1:], strict=True
        )
    )
    rows = max(_length(part.source) for part in blocks.rows)
    return [_Tiling(a, s, len(first), rows) for a, s in product(cuts_a, cuts_s)]


def _cut(
    parts: Sequence[Part], count: int, *, starts: Sequence[int], patch: int, padded: int
) -> _Cut:
    """An axis cut into `count` parts.

    Args:
        parts: its blocks.
        count: parts to cut them into.
        starts: first voxel of each window along it, in ascending order.
        patch: voxels of a window.
        padded: voxels that were added before the axis so that one window fits.
    """
    windows, extents = 0, set()
    for group in cut_evenly(parts, count):
        source = extent_of([part.source for part in group])
        begin, end = source.start + padded, source.stop + padded
        # Windows reach in that end after its first voxel and begin before its last.
        windows += bisect_left(starts, end) - bisect_right(starts, begin - patch)
        extents.add((_length(source), _length(extent_of([part.out for part in group]))))
    return _Cut(count, windows, frozenset(extents))


def _length(extent: slice) -> int:
    length: int = extent.stop - extent.start
    return length


def _needs(
    outline: Outline, grid: Grid, spec: ModelSpec, running: int, on_gpu: bool
) -> dict[str, int]:
    """Bytes of every stage, by the names of `ScanPlan`."""
    voxels = math.prod(grid.source_shape)
    scan = _FLOAT * outline.channels * voxels
    volume = _FLOAT * outline.channels * math.prod(grid.shape)
    planes = _FLOAT * outline.channels * grid.source_shape[0] * math.prod(grid.shape[1:])
    padded = any(n < p for n, p in zip(grid.shape, spec.patch, strict=True))
    values = (*spec.label_values, *(region.value for region in spec.regions))
    labels = voxels * smallest_integer_type(values).itemsize
    host = volume * (2 if padded else 1) + labels
    found = {
        "reading_bytes": max(outline.stored_bytes + scan, scan + planes, planes + volume),
        # After-processing looks at the components of one label at a time, as 32-bit numbers.
        "predicting_bytes": max(host + (0 if on_gpu else running), 2 * labels + _FLOAT * voxels),
        "writing_bytes": labels,
        "gpu_bytes": running if on_gpu else 0,
    }
    return {name: int(_MARGIN * amount) for name, amount in found.items()}
