"""A model, or several of one kind, ready to segment: load once, then scan by scan."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnseg.errors import DataError, UsageError
from attnseg.images import Geometry, Image, is_picture, read_case, smallest_integer_type
from attnseg.inference.backends import (
    attention_backend,
    ensemble,
    mirrored,
    resolve_device,
    torch_backend,
)
from attnseg.inference.sources import find_models
from attnseg.inference.stream import Network, Rows, resample_rows, stream_windows
from attnseg.models import AttentionUNet, load_model
from attnseg.preprocessing import Grid, preprocess
from attnseg.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A predicted mask on its scan's grid.

    Args:
        labels: `[I, J, K]` label values in the smallest integer type that holds the model's labels.
        names: label value → name.
        image: the scan as read; gives the mask its geometry.
    """

    labels: np.ndarray
    names: dict[int, str]
    image: Image

    @property
    def geometry(self) -> Geometry:
        """Shape and affine, those of the scan."""
        return self.image.geometry


class Predictor:
    """Segments scans. Starts no process and needs no `__main__` guard.

    Args:
        network: the model; of several the logits are averaged.
        spec: what the model expects and predicts; several share it.
        device: "auto", "cpu", "cuda" or "cuda:N".
        overlap: share of a window that its neighbour covers again.
        mirror: average over the mirror images of each window as well, along the axes along which
            training mirrored.

    Raises:
        UsageError: `mirror` for a model that was not trained with mirroring; an unknown device.

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
        self._logits = mirrored(
            ensemble(
                [
                    torch_backend(each, self.device, slice_axis=spec.slice_axis)
                    for each in self.networks
                ]
            ),
            self.mirror_axes,
        )
        values = tuple(each.value for each in spec.regions) or spec.label_values[1:]
        self._written = np.asarray((0, *values), dtype=smallest_integer_type((0, *values)))

    @classmethod
    def load(
        cls,
        model: Path | str | Sequence[Path | str],
        *,
        device: str = "auto",
        overlap: float = 0.5,
        mirror: bool = False,
    ) -> "Predictor":
        """Load model files.

        Args:
            model: a `.safetensors` file, a run folder (all of its folds are averaged), or several.
            device: as of the class.
            overlap: as of the class.
            mirror: as of the class; along the axes that all models share.

        Raises:
            ModelFileError: missing, damaged or not one of ours.
            RunError: no finished run in a folder.
            UsageError: models that cannot be averaged; `mirror` as of the class.
        """
        paths = find_models(model)
        networks, specs = zip(*[load_model(path) for path in paths], strict=True)
        for path, spec in zip(paths[1:], specs[1:], strict=True):
            _check_agreement(paths[0], specs[0], path, spec)
        shared = set.intersection(*[set(spec.mirror_axes) for spec in specs])
        spec = specs[0].model_copy(update={"mirror_axes": tuple(sorted(shared))})
        return cls(networks, spec, device=device, overlap=overlap, mirror=mirror)

    @property
    def label_type(self) -> np.dtype:
        """Integer type of the masks."""
        return self._written.dtype

    def read(self, *paths: Path | str) -> Image:
        """Read one case as this model expects it: a file, or one file per channel.

        Raises:
            DataError: unreadable, another number of channels, a picture for a model of volumes.
        """
        files = tuple(Path(path) for path in paths)
        if is_picture(files[0]) and self.spec.patch[2] > 1:
            raise DataError(
                f"{files[0]}: a picture, and this model segments volumes; give NIfTI scans"
            )
        return read_case(files, num_channels=self.spec.architecture.in_channels)

    @torch.inference_mode()
    def predict(self, scan: Image | Path | str) -> Segmentation:
        """Segment one scan.

        Raises:
            DataError: unreadable, other number of channels than the model's, NaN.
        """
        image = scan if isinstance(scan, Image) else self.read(scan)
        volume, grid = preprocess(image, self.spec.preprocessing)
        labels = np.empty(grid.source_shape, dtype=self.label_type)
        decode = _last_region if self.spec.regions else _largest
        for start, logits in self._stream(volume, grid, self._logits):
            winners = decode(logits).cpu().numpy()
            labels[start : start + len(winners)] = np.take(self._written, winners)
        back = np.ascontiguousarray(grid.axes.undo(labels))
        return Segmentation(back, self.spec.output_names, image)

    @torch.inference_mode()
    def attention(self, scan: Image | Path | str) -> dict[str, np.ndarray]:
        """Every gate's α on the scan's grid, stitched with the weights of the logits.

        Several models are averaged where they have the same gates; otherwise the first one's are
        given.

        Returns:
            level of the gate ("1" is the second finest) → α `[I, J, K]`, float32, 0 to 1; empty for
            a network without gates.
        """
        image = scan if isinstance(scan, Image) else self.read(scan)
        gates = sorted(self.networks[0].gates, reverse=True)
        if not gates:
            return {}
        volume, grid = preprocess(image, self.spec.preprocessing)
        maps = np.empty((len(gates), *grid.source_shape), dtype=np.float32)
        same = all(set(network.gates) == set(gates) for network in self.networks)
        chosen = self.networks if same else self.networks[:1]
        backend = ensemble(
            [
                attention_backend(each, self.device, slice_axis=self.spec.slice_axis)
                for each in chosen
            ]
        )
        for start, alpha in self._stream(volume, grid, backend):
            maps[:, start : start + alpha.shape[1]] = alpha.cpu().numpy()
        back = np.ascontiguousarray(grid.axes.undo(maps))
        return dict(zip(gates, back, strict=True))

    def _stream(self, volume: Tensor, grid: Grid, network: Network) -> Iterator[Rows]:
        """Run `volume` through `network`; rows on the scan's own spacing, axes still R, A, S."""
        rows = stream_windows(
            volume.to(self.device), network, patch=self.spec.patch, overlap=self.overlap
        )
        return resample_rows(rows, grid)


def _largest(logits: Tensor) -> Tensor:
    """Class of the largest of the logits `[K, *S]`, which exclude each other."""
    return logits.argmax(dim=0)


def _last_region(logits: Tensor) -> Tensor:
    """1 + the last region whose logit is above 0 (its sigmoid above a half); 0 where none is."""
    found = torch.zeros_like(logits[0], dtype=torch.int64)
    for index, region in enumerate(logits, start=1):
        found[region > 0] = index
    return found


def _check_agreement(first: Path, ours: ModelSpec, other: Path, theirs: ModelSpec) -> None:
    pairs = {
        "preprocessing": (ours.preprocessing, theirs.preprocessing),
        "channels": (ours.architecture.in_channels, theirs.architecture.in_channels),
        "labels": (ours.labels, theirs.labels),
        "regions": (ours.regions, theirs.regions),
        "patch": (ours.patch, theirs.patch),
        "dimensions": (ours.architecture.spatial_dims, theirs.architecture.spatial_dims),
    }
    different = [name for name, (one, two) in pairs.items() if one != two]
    if different:
        raise UsageError(
            f"{first} and {other}: models that are averaged must agree, and these differ in "
            f"{', '.join(different)} (attnseg model show tells how); give models of one run"
        )
