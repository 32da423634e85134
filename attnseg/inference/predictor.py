"""A model ready to segment: load once, then scan by scan."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnseg.images import Geometry, Image, read_case, smallest_integer_type
from attnseg.inference.backends import attention_backend, resolve_device, torch_backend
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
    """Segments scans with one model. Starts no process and needs no `__main__` guard.

    Args:
        network: the model.
        spec: what the model expects and predicts.
        device: "auto", "cpu", "cuda" or "cuda:N".
        overlap: share of a window that its neighbour covers again.

    Example:
        >>> predictor = Predictor.load("runs/hippo/fold0/model.safetensors")  # doctest: +SKIP
        >>> predictor.predict("scan.nii.gz").labels.shape  # doctest: +SKIP
        (35, 51, 35)
    """

    def __init__(
        self,
        network: AttentionUNet,
        spec: ModelSpec,
        *,
        device: str = "auto",
        overlap: float = 0.5,
    ) -> None:
        self.network = network
        self.spec = spec
        self.device = resolve_device(device)
        self.overlap = overlap
        self._logits = torch_backend(network, self.device)
        values = spec.label_values
        self._lookup = np.asarray(values, dtype=smallest_integer_type(values))

    @classmethod
    def load(cls, model: Path | str, *, device: str = "auto", overlap: float = 0.5) -> "Predictor":
        """Load a `.safetensors` model file.

        Raises:
            ModelFileError: missing, damaged or not one of ours.
        """
        network, spec = load_model(Path(model))
        return cls(network, spec, device=device, overlap=overlap)

    @property
    def label_type(self) -> np.dtype:
        """Integer type of the masks."""
        return self._lookup.dtype

    def read(self, *paths: Path | str) -> Image:
        """Read one case as this model expects it: a file, or one file per channel."""
        channels = self.spec.architecture.in_channels
        return read_case(tuple(Path(path) for path in paths), num_channels=channels)

    @torch.inference_mode()
    def predict(self, scan: Image | Path | str) -> Segmentation:
        """Segment one scan.

        Raises:
            DataError: unreadable, other number of channels than the model's, NaN.
        """
        image = scan if isinstance(scan, Image) else self.read(scan)
        volume, grid = preprocess(image, self.spec.preprocessing)
        labels = np.empty(grid.source_shape, dtype=self.label_type)
        for start, logits in self._stream(volume, grid, self._logits):
            winners = logits.argmax(dim=0).cpu().numpy()
            labels[start : start + len(winners)] = np.take(self._lookup, winners)
        names = {label.value: label.name for label in self.spec.labels if label.value != 0}
        return Segmentation(np.ascontiguousarray(grid.axes.undo(labels)), names, image)

    @torch.inference_mode()
    def attention(self, scan: Image | Path | str) -> dict[str, np.ndarray]:
        """Every gate's α on the scan's grid, stitched with the weights of the logits.

        Returns:
            level of the gate ("1" is the second finest) → α `[I, J, K]`, float32, 0 to 1; empty for
            a network without gates.
        """
        image = scan if isinstance(scan, Image) else self.read(scan)
        gates = sorted(self.network.gates, reverse=True)
        if not gates:
            return {}
        volume, grid = preprocess(image, self.spec.preprocessing)
        maps = np.empty((len(gates), *grid.source_shape), dtype=np.float32)
        backend = attention_backend(self.network, self.device)
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
