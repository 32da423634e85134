"""Files of pictures, opened by Pillow, and what their headers say."""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.ExifTags import Base as Exif
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from attnseg.errors import DataError
from attnseg.images.contents import first_bytes

# The readers themselves: `PIL.Image.open` would set its own limit to the number of pixels.
_READERS: dict[bytes, type[ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
}
_MAX_PIXELS = 1_000_000_000
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
PALETTE_MODES = {"P", "PA"}
COLOUR_MODES = {"RGB", "RGBA"}
# Grey with alpha of 16 bits, for which Pillow has no mode: it gives colour of 8 bits.
GREY_ALPHA_16 = "LA;16B"
# What a viewer does by EXIF orientation.
_TURNS = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored along the diagonal from its upper left corner",
    6: "turned by 90° clockwise",
    7: "mirrored along the diagonal from its upper right corner",
    8: "turned by 90° counterclockwise",
}
_EXIF_OF_PNG = {"exif", "Raw profile type exif"}
# What Pillow raises on damaged files.
_READ_ERRORS = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)


@contextmanager
def open_picture(path: Path, *, header_only: bool = False) -> Iterator[ImageFile]:
    """The picture with its header read; what Pillow raises inside becomes a `DataError`."""
    start = first_bytes(path)
    reader = next((kind for magic, kind in _READERS.items() if start.startswith(magic)), None)
    if reader is None:
        raise DataError(
            f"{path}: not a PNG, JPEG or TIFF picture, whatever its name says; save it again as one"
        )
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            # What Pillow warns of is either harmless or refused below.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            if reader is PngImageFile and not header_only:
                reader(stream).verify()  # the sum of each chunk, which loading does not look at
                stream.seek(0)
            picture = reader(stream)
            width, height = picture.size
            if width * height > _MAX_PIXELS:
                raise DataError(
                    f"{path}: {width} × {height} pixels are more than the 10⁹ that attnseg reads; "
                    "cut the picture into parts"
                )
            if getattr(picture, "is_animated", False):
                raise DataError(
                    f"{path}: holds several frames where one picture is expected; save each frame "
                    "as a file of its own, or a stack of slices as NIfTI"
                )
            yield picture
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: cut short, damaged or of an unknown kind ({reason}); copy it again or save "
            "it as PNG"
        ) from error


def orientation_of(picture: ImageFile) -> int:
    """How the picture is to be shown, 1 to 8 as EXIF counts, 1 being as stored.

    EXIF or, where it has none, XMP says so. What cannot be read of them says nothing.
    """
    if isinstance(picture, PngImageFile) and not picture.info.keys() & _EXIF_OF_PNG:
        picture.info["exif"] = _exif_behind_the_pixels(picture)
    try:
        # Not `picture.getexif`, which unpacks the whole of a PNG to look for it.
        found = PIL.Image.Image.getexif(picture).get(Exif.Orientation, 1)
    except _READ_ERRORS:
        return 1
    return found if found in _TURNS else 1


def shown_size(picture: ImageFile) -> tuple[int, int]:
    """Columns and rows as shown."""
    width, height = stored_size(picture)
    return (height, width) if orientation_of(picture) >= 5 else (width, height)


def bits_of(picture: ImageFile) -> int:
    """Bits of one number in the file, as far as Pillow's name of the raw format tells."""
    if isinstance(picture, TiffImageFile) and holds_planes(picture):
        return max(picture.tag_v2.get(Exif.BitsPerSample, (8,)))
    found = re.search(r";(\d+)", raw_mode(picture))
    return int(found[1]) if found else 8


def palette_of(picture: ImageFile) -> np.ndarray | None:
    """Colours `[256, 3]` by index; None where there is no palette. To be asked before loading."""
    if picture.mode not in PALETTE_MODES or picture.palette is None:
        return None
    order, content = picture.palette.getdata()
    entries = np.frombuffer(bytes(content), dtype=np.uint8)
    entries = entries.reshape(3, -1).T if order.endswith(";L") else entries.reshape(-1, 3)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(entries)] = entries
    return colours


def is_grey(colours: np.ndarray) -> bool:
    """Whether all entries of a palette are grey."""
    return bool((colours == colours[:, :1]).all())


def holds_grey(picture: ImageFile) -> bool:
    """Whether its pixels are one number each; of a palette, whether its colours are grey."""
    colours = palette_of(picture)
    if colours is not None:
        return is_grey(colours)
    return picture.mode in GREY_MODES or raw_mode(picture) == GREY_ALPHA_16


def keeps_values(picture: ImageFile) -> bool:
    """Whether `decode` gives the very numbers of the file: no other colour space, no bits lost."""
    if isinstance(picture, JpegImageFile):
        return False
    known = picture.mode in GREY_MODES | PALETTE_MODES | COLOUR_MODES
    return known and bits_read(picture) == bits_of(picture)


def header_notes(picture: ImageFile) -> tuple[str, ...]:
    """What the header says of things that are settled or left out."""
    notes = []
    orientation, bits, read = orientation_of(picture), bits_of(picture), bits_read(picture)
    if orientation in _TURNS:
        notes.append(
            f"its EXIF orientation is {orientation}; it was read as viewers show it, "
            f"{_TURNS[orientation]}, and its mask lies on it so"
        )
    if picture.mode not in GREY_MODES | PALETTE_MODES | COLOUR_MODES:
        notes.append(
            f"its colours are stored as {picture.mode}; they were converted to RGB without a "
            "colour profile"
        )
    if read < bits:
        notes.append(f"its colours have {bits} bits a channel; they were read with {read}")
    if picture.info.get("mp"):
        notes.append("holds further pictures behind the first; the first was read, as viewers do")
    if isinstance(picture, TiffImageFile):
        tags = picture.tag_v2
        if further := sum(kind == 0 for kind in tags.get(Exif.ExtraSamples, ())):
            notes.append(
                f"has {further} band(s) that are neither colour nor alpha; they were left out"
            )
        if picture.mode in GREY_MODES and tags.get(Exif.PhotometricInterpretation, 0) == 0:
            inverted = re.search(r";\d?I", raw_mode(picture)) is not None
            taken = "were inverted, as viewers show them" if inverted else "were taken as stored"
            notes.append(f"its grey runs from white to black (WhiteIsZero); its values {taken}")
    return tuple(notes)


def bits_read(picture: ImageFile) -> int:
    """Bits of one number that are kept: of colour 16 where its numbers lie pixel by pixel."""
    raw, bits = raw_mode(picture), bits_of(picture)
    if picture.mode in GREY_MODES | PALETTE_MODES or raw == GREY_ALPHA_16:
        return bits
    deep = re.fullmatch(r"RGB[AX]?;16[BLN]", raw) and not holds_planes(picture)
    return bits if deep else min(bits, 8)


def holds_planes(picture: ImageFile) -> bool:
    """Whether a TIFF holds one plane for each band, and not pixel by pixel."""
    if not isinstance(picture, TiffImageFile):
        return False
    return bool(picture.tag_v2.get(Exif.PlanarConfiguration, 1) == 2)


def raw_mode(picture: ImageFile) -> str:
    """Pillow's name of how the numbers lie in the file, as "RGB;16B"."""
    if not picture.tile:
        return ""
    arguments = picture.tile[0].args
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    return raw or ""


def stored_size(picture: ImageFile) -> tuple[int, int]:
    """Columns and rows in the file: Pillow names those of a TIFF as turned by its orientation."""
    if isinstance(picture, TiffImageFile):
        return picture.tag_v2[Exif.ImageWidth], picture.tag_v2[Exif.ImageLength]
    return picture.size


def _exif_behind_the_pixels(picture: PngImageFile) -> bytes:
    """EXIF that follows the pixels of a PNG, of which Pillow knows when it has unpacked them."""
    stream = picture.fp
    assert stream is not None
    place, found = stream.tell(), b""
    stream.seek(8)
    while not found and len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"eXIf":
            found = stream.read(length)
        else:
            stream.seek(length + 4, 1)
    stream.seek(place)
    return found
