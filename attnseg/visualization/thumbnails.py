"""A small picture of a case with its mask, cut while both are in memory."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from attnseg.images import Geometry, Image, smallest_integer_type
from attnseg.visualization.palette import Colour, rgb_of
from attnseg.visualization.slices import (
    SURROUNDINGS,
    Plane,
    display_planes,
    fullest_slice,
    labelled_region,
    window_of,
)

_MAX_PIXELS = 192
_OPACITY = 0.7  # blue stays blue on bone


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """One slice of a case.

    Args:
        grey: `[rows, columns]` uint8.
        labels: `[rows, columns]` label values; 0 where there is none.
        size_mm: height and width.
        plane: as "axial"; empty for a picture.
    """

    grey: np.ndarray
    labels: np.ndarray
    size_mm: tuple[float, float]
    plane: str


def thumbnail_of(image: Image, labels: Image | None) -> Thumbnail:
    """The axial slice with the most of the mask, the mask where its own header puts it.

    Args:
        image: `[C, I, J, K]`; the first channel is shown.
        labels: on any grid, or none.
    """
    array = image.array[0]
    if labels is None:
        plane = _planes(image, np.zeros(array.shape, bool))
        values = np.zeros(plane.cut(array).shape, np.uint8)
    elif image.geometry.matches(labels.geometry):
        plane = _planes(image, labels.array[0])
        values = plane.cut(labels.array[0])
    else:
        plane = _through(labels, image)
        values = _sampled(labels, plane, image.geometry)
    return _thumbnail(plane, plane.cut(array), values, window_of(array))


def same_slice(image: Image, masks: Sequence[Image]) -> list[Thumbnail]:
    """One slice, cut to its labels and their surroundings, once with each mask.

    It is the axial slice where the masks differ most; of a single mask, or of equal ones, the one
    that shows most of all labels.

    Args:
        image: `[C, I, J, K]`; the first channel is shown.
        masks: at least one, all on the image's grid, of values from 0.
    """
    first = masks[0].array[0]
    labelled, differ = first != 0, np.zeros(first.shape, bool)
    for mask in masks[1:]:
        labelled |= mask.array[0] != 0
        differ |= mask.array[0] != first
    plane = display_planes(image, differ if differ.any() else labelled)[0]
    if not differ.any():
        plane = replace(plane, index=fullest_slice(first, plane.across))
    seen = labelled_region(plane.cut(labelled), plane.spacing_mm, least=SURROUNDINGS)
    section, window = plane.cut(image.array[0])[seen], window_of(image.array[0])
    return [_thumbnail(plane, section, plane.cut(mask.array[0])[seen], window) for mask in masks]


def labels_in(thumbnail: Thumbnail) -> list[int]:
    """The label values that are seen, rising."""
    return [int(value) for value in np.unique(thumbnail.labels) if value != 0]


def painted(thumbnail: Thumbnail, colours: Mapping[int, Colour]) -> np.ndarray:
    """`[rows, columns, 3]` in 0..1: the slice, its labels laid over it in their colours."""
    return lay_over(thumbnail.grey / 255, thumbnail.labels, colours, opacity=_OPACITY)


def lay_over(
    grey: np.ndarray, labels: np.ndarray, colours: Mapping[int, Colour], *, opacity: float
) -> np.ndarray:
    """`[rows, columns, 3]` in 0..1: grey in 0..1 with labels in their colours over it."""
    pixels = np.repeat(grey[..., None], 3, axis=2)
    for value, colour in colours.items():
        where = labels == value
        pixels[where] = (1 - opacity) * pixels[where] + opacity * np.array(rgb_of(colour))
    return pixels


def png_uri(pixels: np.ndarray) -> str:
    """`[rows, columns, 3]` in 0..1 as PNG in a `data:` address."""
    from attnseg.visualization.figures import png_of

    return f"data:image/png;base64,{base64.b64encode(png_of(pixels)).decode()}"


def data_uri(thumbnail: Thumbnail, colours: Mapping[int, Colour]) -> str:
    """The painted slice as PNG in a `data:` address."""
    return png_uri(painted(thumbnail, colours))


def image_html(
    thumbnail: Thumbnail, colours: Mapping[int, Colour], *, seen: str, height: float = 15
) -> str:
    """The painted slice as an `<img>` of its true shape.

    Args:
        thumbnail: the slice.
        colours: by label value.
        seen: what it shows, as plain text.
        height: at most, in rem; narrower places shrink it.
    """
    high, wide = thumbnail.size_mm
    return (
        f'<img alt="{escape(seen)}" src="{data_uri(thumbnail, colours)}" '
        f'style="aspect-ratio: {wide:.4g} / {high:.4g}; '
        f'width: min(100%, {height * wide / high:.4g}rem)">'
    )


def _thumbnail(
    plane: Plane, section: np.ndarray, values: np.ndarray, window: tuple[float, float]
) -> Thumbnail:
    """What a plane shows, or a part of it, made small."""
    size_mm = plane.extent_mm(section)
    step = -(-max(section.shape) // _MAX_PIXELS)
    section, values = section[::step, ::step], values[::step, ::step]
    low, high = window
    grey = np.clip((np.nan_to_num(section, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    kind = smallest_integer_type(tuple(int(value) for value in np.unique(values)))
    return Thumbnail((255 * grey).astype(np.uint8), values.astype(kind), size_mm, plane.name)


def _planes(image: Image, labels: np.ndarray) -> Plane:
    return display_planes(image, labels)[0]


def _through(labels: Image, image: Image) -> Plane:
    """The plane of the image through the middle of a mask that lies on another grid."""
    plane = _planes(image, np.zeros(image.geometry.shape, bool))
    found = np.array(np.nonzero(labels.array[0]))
    if not found.size:
        return plane
    middle = labels.geometry.affine @ [*found.mean(axis=1), 1]
    index = np.linalg.solve(image.geometry.affine, middle)[plane.across]
    return replace(plane, index=int(np.clip(index, 0, image.geometry.shape[plane.across] - 1)))


def _sampled(labels: Image, plane: Plane, grid: Geometry) -> np.ndarray:
    """The mask's value at each place of a plane of another grid, 0 outside."""
    indices = [
        plane.cut(np.broadcast_to(np.expand_dims(np.arange(n), others), grid.shape))
        for n, others in zip(grid.shape, ((1, 2), (0, 2), (0, 1)), strict=True)
    ]
    places = np.stack([*indices, np.ones_like(indices[0])]).reshape(4, -1)
    theirs = np.linalg.solve(labels.geometry.affine, grid.affine @ places)[:3]
    nearest = np.rint(theirs).astype(int)
    limits = np.array(labels.geometry.shape)[:, None]
    inside = ((nearest >= 0) & (nearest < limits)).all(axis=0)
    values = np.zeros(inside.shape, labels.array.dtype)
    values[inside] = labels.array[0][tuple(nearest[:, inside])]
    return values.reshape(indices[0].shape)
