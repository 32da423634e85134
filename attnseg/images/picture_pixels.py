"""Pixels of picture files: unpacked by Pillow with all their bits, and put upright."""

import sys
from dataclasses import dataclass

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from attnseg.images.picture_files import (
    COLOUR_MODES,
    GREY_ALPHA_16,
    GREY_MODES,
    PALETTE_MODES,
    bits_of,
    bits_read,
    header_notes,
    holds_planes,
    orientation_of,
    palette_of,
    raw_mode,
    stored_size,
)

_ALPHA_MODES = {"LA", "La", "PA", "RGBA"}
# Of two-byte numbers, the order in which Pillow reads the byte that it otherwise drops.
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pixels of a file, upright: as its EXIF orientation says that it is to be shown.

    Args:
        values: `[rows, columns]`, or `[rows, columns, 3]` of colour; of a palette its indices.
        colours: `[256, 3]`, those of a palette by index; None where there is none.
        opaque: `[rows, columns]`, where alpha hides nothing; None where it hides nothing anywhere.
        notes: what was settled and what was left out, in plain sentences.
    """

    values: np.ndarray
    colours: np.ndarray | None
    opaque: np.ndarray | None
    notes: tuple[str, ...]

    @property
    def has_colour(self) -> bool:
        """Whether a pixel is three numbers."""
        return self.values.ndim == 3


def decode(picture: ImageFile) -> Decoded:
    """Unpack a picture and turn it upright.

    Colours of other kinds than RGB are converted to it. All 16 bits of colour are kept where
    its numbers lie pixel by pixel; a TIFF that holds it plane by plane gives 8.
    """
    mode, bits, colours = picture.mode, bits_of(picture), palette_of(picture)
    grey = mode in GREY_MODES | PALETTE_MODES or raw_mode(picture) == GREY_ALPHA_16
    notes = header_notes(picture)
    bands = _bands(picture)
    values = bands
    if bands.ndim == 3:
        values = bands[..., 0] if grey else bands[..., :3]
    key = picture.info.get("transparency")
    if mode == "L" and bits < 8 and isinstance(key, int):
        key *= 255 // (2**bits - 1)  # as Pillow stretches the pixels
    opaque = _opaque(bands if mode in _ALPHA_MODES else values, mode in _ALPHA_MODES, key)
    return Decoded(values, colours, None if opaque is None or opaque.all() else opaque, notes)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels `[rows, columns, …]` as stored → as shown, a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def _bands(picture: ImageFile) -> np.ndarray:
    """`[rows, columns]` or `[rows, columns, bands]`, upright."""
    raw, stream = raw_mode(picture), picture.fp
    assert stream is not None
    if raw == GREY_ALPHA_16:
        _read_as(picture, "RGBA")
        halves = _load(picture).astype(np.uint16)
        return halves[..., 0::2] * 256 + halves[..., 1::2]
    deep = picture.mode in COLOUR_MODES and bits_read(picture) == 16
    if bits_read(picture) < bits_of(picture) and holds_planes(picture):
        _leave_to_libtiff(picture)
    high = _load(picture)
    if not deep:
        return high
    # Pillow keeps 8 bits of colour: once the upper byte, and in the other byte order the lower.
    stream.seek(0)
    again = type(picture)(stream)
    _read_as(again, raw[:-1] + _OTHER_BYTE[raw[-1]])
    return high.astype(np.uint16) * 256 + _load(again)


def _load(picture: ImageFile) -> np.ndarray:
    """What Pillow unpacks, upright."""
    orientation = orientation_of(picture)
    if isinstance(picture, TiffImageFile):
        size = stored_size(picture)
        boxes = np.array([tile[1] for tile in picture.tile]).reshape(-1, 2, 2)
        if np.prod(boxes[:, 1] - boxes[:, 0], axis=1).sum() < size[0] * size[1]:
            raise ValueError("its strips do not cover the picture")
        # Room made here, for Pillow would first hold the size against a limit of its own.
        picture.im = PIL.Image.new(picture.mode, size, color=None).im
        picture.load()
        orientation = 1  # Pillow has turned it
    known = picture.mode in GREY_MODES | PALETTE_MODES | COLOUR_MODES
    return upright(np.asarray(picture if known else picture.convert("RGB")), orientation)


def _opaque(
    pixels: np.ndarray, has_alpha: bool, key: bytes | int | tuple[int, ...] | None
) -> np.ndarray | None:
    """`[rows, columns]`, by the last band, or by the values that a PNG calls transparent."""
    if key is None and not has_alpha:
        return None
    if has_alpha:
        full = pixels[..., -1] == np.iinfo(pixels.dtype).max
    elif isinstance(key, bytes):
        table = np.full(256, 255, np.uint8)
        table[: len(key)] = np.frombuffer(key, np.uint8)
        full = table[pixels] == 255
    else:
        full = pixels != np.array(key)
    return np.asarray(full.any(axis=-1) if full.ndim == 3 else full)


def _leave_to_libtiff(picture: ImageFile) -> None:
    """Pillow's own decoder takes planes of 16 bits for planes of 8."""
    assert isinstance(picture, TiffImageFile)
    if not picture.use_load_libtiff:
        place = (f"{picture.mode};16N", False, picture.tag_v2.offset)
        picture.tile = [picture.tile[0]._replace(
            codec_name="libtiff", extents=(0, 0, *stored_size(picture)), offset=0, args=place
        )]  # fmt: skip
        picture.use_load_libtiff = True


def _read_as(picture: ImageFile, raw: str) -> None:
    """Let Pillow take the numbers in the file for another format of the same length."""
    picture.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in picture.tile
    ]
