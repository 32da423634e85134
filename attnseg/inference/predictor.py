"""A model, or several of one kind, ready to segment: load once, then scan by scan."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from attnseg.errors import DataError, UsageError
from attnseg.images import (
    Geometry,
    Image,
    Outline,
    Series,
    Source,
    find_source,
    is_picture,
    read_case,
    read_outline,
    smallest_integer_type,
)
from attnseg.inference.after import apply, shared_rules
from attnseg.inference.attention import GateReader
from attnseg.inference.backends import resolve_device
from attnseg.inference.budget import ScanPlan, plan_scan
from attnseg.inference.export import (
    Blocks,
    Classes,
    Regions,
    label_rows,
    label_volumes,
    resample_rows,
)
from attnseg.inference.runner import Runner
from attnseg.inference.sources import check_agreement, find_models
from attnseg.inference.stream import Rows, stream_windows
from attnseg.inference.windows import Plane
from attnseg.models import AttentionUNet, load_model
from attnseg.preprocessing import Grid, preprocess
from attnseg.spec import ModelSpec

# Rows of probabilities: first row, part of the plane, values `[K, rows, A, S]`.
TakeRows = Callable[[int, Plane, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A predicted mask on its scan's grid.

    Args:
        labels: `[I, J, K]` label values in the smallest integer type that holds the model's labels.
        names: label value → name.
        image: the scan as read; gives the mask its geometry.
        probabilities: `[outputs, I, J, K]` of every output of the model, float32; where asked for.
        attention: gate's level → α `[I, J, K]`; where asked for.
    """

    labels: np.ndarray
    names: dict[int, str]
    image: Image
    probabilities: np.ndarray | None = None
    attention: dict[str, np.ndarray] | None = None

    @property
    def geometry(self) -> Geometry:
        """Shape and affine, those of the scan."""
        return self.image.geometry


class Settings(TypedDict, total=False):
    """How a `Predictor` works; what each means stands there."""

    device: str
    overlap: float
    mirror: bool
    backend: str
    compiled: bool
    max_ram: int | None
    max_vram: int | None


class Predictor:
    """Segments scans. Starts no process and needs no `__main__` guard.

    Args:
        network: the model; of several the logits are averaged.
        spec: what the model expects and predicts; several share it.
        device: "auto", "cpu", "cuda" or "cuda:N".
        overlap: share of a window that its neighbour covers again.
        mirror: average over the mirror images of each window as well, along the axes along which
            training mirrored.
        backend: "torch", "openvino" or "auto", which weighs the work to come against the time of
            compiling when the first scan is known.
        compiled: let `torch.compile` build PyTorch's network; worth it for many scans.
        max_ram: bytes that the process may take; a scan is cut into tiles to stay below. None: no
            bound.
        max_vram: the same for the memory of a GPU.

    Raises:
        UsageError: `mirror` for a model that was not trained with mirroring; an unknown device or
            back end.

    Example:
        >>> predictor = Predictor.load("runs/hippo/fold0/model.safetensors")  # doctest: +SKIP
        >>> predictor.predict("scan.nii.gz").labels.shape  # doctest: +SKIP
        (35, 51, 35)
    """

    def __init__(
        self,
        network: AttentionUNet | Sequence[AttentionUNet],
        spec: ModelSpec,
        *,
        device: str = "auto",
        overlap: float = 0.5,
        mirror: bool = False,
        backend: str = "auto",
        compiled: bool = False,
        max_ram: int | None = None,
        max_vram: int | None = None,
    ) -> None:
        self.networks = (network,) if isinstance(network, AttentionUNet) else tuple(network)
        self.spec = spec
        self.device = resolve_device(device)
        self.overlap = overlap
        # A mirror image across the slices of a 2D network is the slice itself.
        self.mirror_axes = [axis for axis in spec.mirror_axes if mirror and spec.patch[axis] > 1]
        if mirror and not self.mirror_axes:
            raise UsageError(
                "this model was not trained with mirroring; predict without it (--no-tta)"
            )
        self.max_ram, self._max_vram = max_ram, max_vram
        self.runner = Runner(
            self.networks,
            spec,
            self.device,
            mirror_axes=self.mirror_axes,
            backend=backend,
            compiled=compiled,
            bounded=max_ram is not None or max_vram is not None,
        )
        self.gates = GateReader(self.networks, spec, self.device, overlap=overlap, max_ram=max_ram)
        values = tuple(each.value for each in spec.regions) or spec.label_values[1:]
        self.written = np.asarray((0, *values), dtype=smallest_integer_type((0, *values)))
        """Label value of each index that is decided."""
        self.decoder = Regions() if spec.regions else Classes()
        """What the logits mean."""

    @classmethod
    def load(
        cls, model: Path | str | Sequence[Path | str], **settings: Unpack[Settings]
    ) -> "Predictor":
        """Load model files.

        Args:
            model: a `.safetensors` file, a run folder (all of its folds are averaged), or several.
            settings: as of the class; `mirror` along the axes that all models share.

        Raises:
            ModelFileError: missing, damaged or not one of ours.
            RunError: no finished run in a folder.
            UsageError: models that cannot be averaged; otherwise as of the class.
        """
        paths = find_models(model)
        networks, specs = zip(*[load_model(path) for path in paths], strict=True)
        for path, spec in zip(paths[1:], specs[1:], strict=True):
            check_agreement(paths[0], specs[0], path, spec)
        shared = set.intersection(*[set(spec.mirror_axes) for spec in specs])
        rules = shared_rules([spec.after_processing for spec in specs])
        spec = specs[0].model_copy(
            update={"mirror_axes": tuple(sorted(shared)), "after_processing": rules}
        )
        return cls(networks, spec, **settings)

    @property
    def label_type(self) -> np.dtype:
        """Integer type of the masks."""
        return self.written.dtype

    def outline(self, *sources: Source | str) -> Outline:
        """What the headers of a case say, no voxel read. Raises as `read`."""
        files = self._sources(sources)
        return read_outline(files, num_channels=self.spec.architecture.in_channels)

    def read(self, *sources: Source | str) -> Image:
        """Read one case as this model expects it: a file or series, or one per channel.

        Raises:
            DataError: unreadable, another number of channels, a picture for a model of volumes.
        """
        files = self._sources(sources)
        return read_case(files, num_channels=self.spec.architecture.in_channels)

    def plan(
        self, outline: Outline, *, source: str, held_bytes: int = 0, probabilities: bool = False
    ) -> ScanPlan:
        """How a scan will be predicted within the bounds, once the runner has started.

        Args:
            outline: what its header says.
            source: the scan, named in errors.
            held_bytes: what the caller keeps of it in memory meanwhile.
            probabilities: whether these are to be kept.

        Raises:
            DataError: it does not fit.
        """
        return plan_scan(
            outline,
            self.spec,
            **self._manner,
            window_bytes=self.runner.window_bytes,
            base_bytes=self.runner.base_bytes + held_bytes,
            max_ram=self.max_ram,
            max_vram=self._max_vram,
            source=source,
            probabilities=probabilities,
        )

    def windows_of(self, outline: Outline) -> int:
        """Passes through the network that a scan takes in one piece."""
        free = plan_scan(outline, self.spec, **self._manner)
        return free.windows

    @property
    def _manner(self) -> dict[str, Any]:
        return {"overlap": self.overlap, "on_gpu": self.device.type != "cpu"}

    def predict(
        self, scan: Image | Path | str, *, probabilities: bool = False, attention: bool = False
    ) -> Segmentation:
        """Segment one scan.

        Args:
            scan: an image, or the path of one.
            probabilities: give those of every output too, all in memory: classes × volume.
            attention: give every gate's α too.

        Raises:
            DataError: unreadable, other number of channels than the model's, NaN; no way to stay
                within the bounds.
        """
        image = scan if isinstance(scan, Image) else self.read(scan)
        outline = Outline.of(image)
        self.runner.start(self.windows_of(outline))
        plan = self.plan(
            outline,
            source=str(image.path or "image"),
            held_bytes=image.array.nbytes,
            probabilities=probabilities,
        )
        volume, grid = preprocess(image, self.spec.preprocessing)
        kept = None
        if probabilities:
            shape = (self.spec.architecture.out_channels, *grid.source_shape)
            kept = np.empty(shape, dtype=np.float32)

        def take(start: int, plane: Plane, values: np.ndarray) -> None:
            assert kept is not None
            kept[:, start : start + values.shape[1], *plane] = values

        labels = self.segment(
            volume, grid, plan, geometry=image.geometry, take=take if probabilities else None
        )
        return Segmentation(
            labels,
            self.spec.output_names,
            image,
            probabilities=None if kept is None else np.ascontiguousarray(grid.axes.undo(kept)),
            attention=self.attention(image) if attention else None,
        )

    @torch.inference_mode()
    def segment(
        self,
        volume: Tensor,
        grid: Grid,
        plan: ScanPlan,
        *,
        geometry: Geometry,
        take: TakeRows | None = None,
        on_window: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Label values `[I, J, K]` of a preprocessed scan, after-processing done.

        Args:
            volume: the network's input `[C, R, A, S]`.
            grid: its grid and the scan's.
            plan: into how many tiles it is cut.
            geometry: of the scan, for after-processing.
            take: called with the probabilities of some rows as they are made.
            on_window: called after every window.
        """
        network = self.runner.for_scan(on_window)

        def decided(tile: Blocks) -> list[Iterator[Rows]]:
            rows = stream_windows(
                volume, network, patch=self.spec.patch, overlap=self.overlap, plane=tile.plane
            )
            if take is None:
                return [label_rows(rows, grid, self.decoder, blocks=tile)]
            logits = resample_rows(rows, grid, blocks=tile)
            return [_hand_over(logits, self.decoder, take, tile.out)]

        (labels,) = label_volumes(decided, grid, tiles=plan.tiles, values=self.written)
        labels = np.ascontiguousarray(grid.axes.undo(labels))
        return apply(labels, self.spec.after_processing, geometry=geometry)

    def attention(self, scan: Image | Path | str) -> dict[str, np.ndarray]:
        """Every gate's α on the scan's grid, stitched with the weights of the logits.

        Several models are averaged where they have the same gates; otherwise the first one's are
        given.

        Returns:
            level of the gate ("1" is the second finest) → α `[I, J, K]`, float32, 0 to 1, the
            finest gate first; empty for a network without gates.
        """
        image = scan if isinstance(scan, Image) else self.read(scan)
        return self.gates.maps(image).alpha

    def _sources(self, given: Sequence[Source | str]) -> tuple[Source, ...]:
        sources = tuple(
            each if isinstance(each, Series) else find_source(Path(each))[0] for each in given
        )
        if is_picture(sources[0]) and self.spec.patch[2] > 1:
            raise DataError(f"{sources[0]}: a picture, and this model segments volumes; give scans")
        return sources


def _hand_over(
    rows: Iterator[Rows], decoder: Classes | Regions, take: TakeRows, plane: Plane
) -> Iterator[Rows]:
    """Indices of rows of logits; their probabilities are handed over on the way."""
    for start, logits in rows:
        regions = isinstance(decoder, Regions)
        shares = logits.sigmoid() if regions else logits.softmax(dim=0)
        take(start, plane, shares.cpu().numpy())
        yield start, decoder.decide(logits, range(len(logits)))
