"""Scans and masks resampled onto other grids, as sheared ones onto straight: places keep their mm.

Grids may lie at any angle to each other, which `resampling` has no matrix per axis for.
"""

from dataclasses import replace
from itertools import product

import numpy as np

from attnseg.images import Geometry, Image

# Of a voxel: how far a corner may lie outside the straight grid, which rounding makes it do.
_ROUNDING = 1e-3
# Weight that a label must have: rounding gives 1e-16 to voxels a whole step outside its grid.
_LEAST_WEIGHT = 1e-6


def straighten(image: Image, *, labels: bool) -> Image:
    """Resample a scan or a mask onto the straight grid of `straight_geometry`.

    Args: as of `onto_grid`.

    Returns:
        float32, or the mask's own type; without the header, whose place is another.
    """
    straight = onto_grid(image, straight_geometry(image.geometry), labels=labels)
    note = (
        f"axes {image.geometry.shear_degrees:.1f}° off right angles: resampled onto a straight grid"
    )
    return replace(straight, notes=(*image.notes, note))


def onto_grid(image: Image, geometry: Geometry, *, labels: bool) -> Image:
    """Resample a scan or a mask onto any grid: what lies at a place in mm stays there.

    Scans are interpolated linearly, what lies outside them takes their smallest finite value. Of a
    mask each voxel takes the label with the largest linear weight, outside it is 0. Nothing is
    smoothed before a grid that is coarser.

    Args:
        image: `[C, I, J, K]` on any grid.
        geometry: the grid to resample onto.
        labels: whether it is a mask.

    Returns:
        float32, or the mask's own type; without the header, whose place is another.
    """
    from scipy.ndimage import affine_transform  # a tenth of a second that few scans need

    to_old = np.linalg.inv(image.geometry.affine) @ geometry.affine

    def resampled(volume: np.ndarray, outside: float) -> np.ndarray:
        out: np.ndarray = affine_transform(
            volume.astype(np.float32, copy=False),
            to_old[:3, :3],
            offset=to_old[:3, 3],
            output_shape=geometry.shape,
            order=1,
            # "constant" would lose the whole first slice where rounding puts it 1e-15 outside.
            mode="grid-constant",
            cval=outside,
        )
        return out

    if labels:
        array = np.zeros((1, *geometry.shape), dtype=image.array.dtype)
        most = np.full(geometry.shape, _LEAST_WEIGHT, dtype=np.float32)
        for value in np.unique(image.array):  # in order: of equal weights the smaller value wins
            weight = resampled(image.array[0] == value, 0.0)
            array[0][weight > most] = value
            most = np.maximum(most, weight)
    else:
        channels = []
        for channel in image.array:
            finite = channel[np.isfinite(channel)]
            channels.append(resampled(channel, float(finite.min()) if finite.size else 0.0))
        array = np.stack(channels)
    return Image(array, geometry, None, image.path, image.notes)


def straight_geometry(geometry: Geometry) -> Geometry:
    """The grid of the nearest orthonormal directions and the same spacing that holds all voxels."""
    spacing = np.array(geometry.spacing_mm)
    axes = geometry.directions * spacing
    ends = [(0, size - 1) for size in geometry.shape]
    corners = np.array([geometry.affine @ (*corner, 1) for corner in product(*ends)])[:, :3]
    along = corners @ np.linalg.inv(axes).T
    low, high = along.min(axis=0), along.max(axis=0)
    steps = np.ceil(high - low - _ROUNDING).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes
    # What the last step goes beyond the corners is shared by both ends.
    affine[:3, 3] = axes @ ((low + high) / 2 - steps / 2)
    i, j, k = (int(n) + 1 for n in steps)
    return Geometry((i, j, k), affine)
