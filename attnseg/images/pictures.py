"""PNG, JPEG and TIFF pictures as images and masks of one slice.

A picture is a volume of one slice, `[C, I, J, 1]` with I its columns and J its rows, 1 mm apart;
I points to the patient's left and J to the back, so that the radiological view shows it upright.
An EXIF orientation is followed, by pictures and masks alike: masks are drawn on what viewers show.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, Outline
from attnseg.images.picture_files import (
    bits_of,
    holds_grey,
    is_grey,
    keeps_values,
    open_picture,
    orientation_of,
    palette_of,
    shown_size,
)
from attnseg.images.picture_pixels import Decoded, decode, upright
from attnseg.images.whole import whole_numbers


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a picture as float32 `[C, I, J, 1]`: C is 1 for grey and 3 for colour; alpha is dropped.

    It is read upright, as its EXIF orientation says; grey and colour keep their 16 bits. What was
    turned, converted or left out is in the notes.

    Args:
        path: a PNG, JPEG or TIFF file.
        num_channels: what the layout or the model expects. Where it is 3 a grey picture is
            repeated, where it is 1 colour becomes grey (ITU-R 601 luma).

    Raises:
        DataError: not a picture, cut short, several frames, more than 10⁹ pixels.
    """
    path = Path(path)
    with open_picture(path) as picture:
        decoded = decode(picture)
    pixels = decoded.values
    if decoded.colours is not None:
        pixels = decoded.colours[pixels]
        pixels = pixels[..., 0] if is_grey(decoded.colours) else pixels
    if num_channels == 1 and pixels.ndim == 3:
        pixels = _luma(pixels)
    if num_channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    notes = decoded.notes
    if decoded.opaque is not None:
        notes += (f"{_hidden(decoded.opaque)}; alpha was left out, their colours are as stored",)
    return _image(path, np.ascontiguousarray(pixels.T, dtype=np.float32), notes)


def read_labels(path: Path, *, label_values: Collection[int] | None = None) -> Image:
    """Read a mask as integers `[1, I, J, 1]`, the values as stored: of a palette its indices.

    It is read upright, as its own EXIF orientation says, if it has one. Colour masks are accepted
    where the three channels are equal, floating-point ones where every value is
    whole but for rounding; see `whole_numbers`.

    Args:
        path: a PNG or TIFF file.
        label_values: the values that masks are to hold. A mask of 0 and 255 alone is read as 0 and
            1 where 1 is among them and 255 is not.

    Raises:
        DataError: as of `read_image`, or a picture that cannot be a mask.
    """
    path = Path(path)
    with open_picture(path) as picture:
        mode, bits = picture.mode, bits_of(picture)
        if isinstance(picture, JpegImageFile):
            raise DataError(
                f"{path}: JPEG does not keep pixel values, and labels must be exact; save the mask "
                "as PNG"
            )
        if not keeps_values(picture):
            raise DataError(
                f"{path}: a mask in colour ({mode}, {bits} bits); save it as a grey PNG "
                "that holds the label values"
            )
        decoded = decode(picture)
    pixels = decoded.values
    if decoded.has_colour and (pixels[..., :1] != pixels[..., 1:]).any():
        raise DataError(
            f"{path}: a mask in colour does not say which colour is which label; save it as a grey "
            "or palette PNG that holds the label values"
        )
    bands = pixels[..., 0] if decoded.has_colour else pixels
    labels, settled = whole_numbers(bands, source=str(path))
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if mode == "L" and bits < 8:
        labels = labels // (255 // (2**bits - 1))  # Pillow stretches 2 and 4 bits to 0 … 255
    notes = (*decoded.notes, *_mask_notes(decoded, labels))
    binary = label_values is not None and 1 in label_values and 255 not in label_values
    if binary and ((labels == 0) | (labels == 255)).all():
        labels = labels // 255
    native = labels.dtype.newbyteorder("=")
    image = _image(path, np.ascontiguousarray(labels.T, dtype=native), (*notes, *settled))
    return replace(image, rounded=bool(settled))


def picture_channels(path: Path) -> int:
    """Channels that `read_image` gives, from the header alone: 1 or 3.

    A palette counts as colour unless all its entries are grey.

    Raises:
        DataError: not a picture, several frames, more than 10⁹ pixels.
    """
    with open_picture(Path(path), header_only=True) as picture:
        return 1 if holds_grey(picture) else 3


def picture_orientation(path: Path) -> int:
    """The EXIF orientation that reading a picture follows, 1 to 8; 1 turns nothing.

    Raises:
        DataError: as of `picture_channels`.
    """
    with open_picture(Path(path), header_only=True) as picture:
        return orientation_of(picture)


def palette_colours(path: Path) -> dict[int, str]:
    """Index → colour such as "#ff0000" of a picture with a palette, from the header alone.

    Raises:
        DataError: as of `picture_channels`.
    """
    with open_picture(Path(path), header_only=True) as picture:
        colours = palette_of(picture)
    return {} if colours is None else {n: f"#{bytes(rgb).hex()}" for n, rgb in enumerate(colours)}


def as_shown(array: np.ndarray, orientation: int) -> np.ndarray:
    """`[…, I, J, 1]` of a picture as stored, turned as its EXIF orientation says; a view."""
    return upright(array.T[0], orientation).T[..., None]


def read_outline(path: Path, *, num_channels: int | None = None) -> Outline:
    """What the header says of a picture, no pixel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `picture_channels`.
    """
    channels = num_channels if num_channels in {1, 3} else picture_channels(path)
    with open_picture(Path(path), header_only=True) as picture:
        (width, height), number_bytes = shown_size(picture), -(-bits_of(picture) // 8)
    return Outline(
        _geometry((width, height, 1)), channels, width * height * channels * number_bytes
    )


def write_labels(path: Path, labels: np.ndarray, *, dtype: np.dtype) -> None:
    """Write a mask as grey PNG, whole or not at all.

    Args:
        path: ends in `.png`.
        labels: `[I, J, 1]` label values.
        dtype: smallest type that holds the model's labels; PNG knows uint8 and uint16.

    Raises:
        DataError: another suffix, several slices, labels that PNG cannot hold.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: masks of pictures are PNG files; let the name end in .png")
    if labels.shape[2] != 1:
        raise DataError(
            f"{path}: a PNG holds one slice, and this mask has {labels.shape[2]}; write .nii.gz"
        )
    if np.dtype(dtype) not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: PNG masks hold label values from 0 to 65535, and this model's need "
            f"{np.dtype(dtype)}; give the scans as NIfTI (.nii.gz)"
        )
    rows = np.ascontiguousarray(labels[..., 0].T, dtype=dtype)
    with atomic_path(path) as temporary:
        PIL.Image.fromarray(rows).save(temporary, format="PNG")


def _luma(pixels: np.ndarray) -> np.ndarray:
    """Grey of `[rows, columns, 3]`, rounded as Pillow rounds it."""
    if pixels.dtype == np.uint8:
        return np.asarray(PIL.Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))
    weights = np.array([0.299, 0.587, 0.114])
    return np.asarray(np.round(pixels @ weights))


def _hidden(opaque: np.ndarray) -> str:
    hidden = opaque.size - int(np.count_nonzero(opaque))
    return f"{hidden} of {opaque.size} pixels are not opaque"


def _mask_notes(decoded: Decoded, labels: np.ndarray) -> list[str]:
    """A palette that shows other numbers than its indices; alpha that says something of its own."""
    notes = []
    if decoded.colours is not None:
        used = np.unique(labels)
        if (decoded.colours[used] != used[:, None]).any():
            notes.append("a palette; its indices were taken for the labels, not its colours")
    # A background that is transparent, and nothing else, says the same twice.
    if decoded.opaque is not None and (decoded.opaque != (labels != 0)).any():
        notes.append(f"{_hidden(decoded.opaque)}; alpha was left out, labels are as stored")
    return notes


def _image(path: Path, array: np.ndarray, notes: tuple[str, ...]) -> Image:
    """`[I, J]` or `[C, I, J]` with its place."""
    array = array.reshape(-1, *array.shape[-2:], 1)
    return Image(array, _geometry(array.shape[1:]), None, path, notes)


def _geometry(shape: tuple[int, int, int]) -> Geometry:
    return Geometry(shape, np.diag([-1.0, -1.0, 1.0, 1.0]))
