"""What of a segmentation lies outside the image: counted, measured and told."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.dicom.planes import Placement
from attnseg.images.geometry import Geometry


@dataclass
class Outside:
    """What of an object lies outside the grid of the image.

    Args:
        geometry: of the image.
        voxels: segment's name → how many of its voxels.
        beyond_mm: the same → how far at most.
        inside: how many labelled voxels of the frames that reach outside lie inside.
    """

    geometry: Geometry
    voxels: Counter[str] = field(default_factory=Counter)
    beyond_mm: dict[str, float] = field(default_factory=dict)
    inside: int = 0

    def add(self, name: str, place: Placement, pixels: np.ndarray) -> None:
        """Count one frame `[I, J]`, bool."""
        voxels = place.voxels(*np.nonzero(pixels))
        beyond = np.maximum(-voxels, voxels - (np.array(self.geometry.shape)[:, None] - 1))
        out = (beyond > 0).any(axis=0)
        self.inside += int(np.count_nonzero(~out))
        if out.any():
            self.voxels[name] += int(np.count_nonzero(out))
            most = float((beyond * np.array(self.geometry.spacing_mm)[:, None]).max())
            self.beyond_mm[name] = max(most, self.beyond_mm.get(name, 0.0))

    def tell(self, path: Path, *, whole: bool) -> list[str]:
        """A sentence for each segment that was cut.

        Args:
            path: named in the error.
            whole: whether other frames lie wholly inside.

        Raises:
            DataError: nothing lies inside.
        """
        if self.voxels and not self.inside and not whole:
            raise DataError(
                f"{path}: all of its labels lie outside the grid of the image, by up to "
                f"{max(self.beyond_mm.values()):.3g} mm; give the image that it was drawn on"
            )
        return [
            f"{f'segment {name!r}: ' if name else ''}{count} labelled voxel(s) lie outside the "
            f"grid of the image, by up to {self.beyond_mm[name]:.3g} mm, and were cut off"
            for name, count in self.voxels.items()
        ]
