"""PNG, JPEG and TIFF pictures: the only file that knows Pillow.

A picture is a volume of one slice, `[C, I, J, 1]` with I its columns and J its rows, 1 mm apart;
I points to the patient's left and J to the back, so that the radiological view shows it upright.
Pixels are taken as stored: an EXIF orientation turns nothing, for masks must lie on them.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from PIL.ExifTags import Base as Exif
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, Outline
from attnseg.images.paths import first_bytes
from attnseg.images.whole import whole_numbers

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
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_PALETTE_MODES = {"P", "PA"}
# Pillow turns TIFFs by their orientation as it loads them; this turns them back.
_UNTURN = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
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


def read_image(path: Path, *, num_channels: int | None = None) -> Image:
    """Read a picture as float32 `[C, I, J, 1]`: C is 1 for grey and 3 for colour; alpha is dropped.

    Grey keeps its 16 bits; colour of 16 bits a channel is read with 8.

    Args:
        path: a PNG, JPEG or TIFF file.
        num_channels: what the layout or the model expects. Where it is 3 a grey picture is
            repeated, where it is 1 colour becomes grey (ITU-R 601 luma).

    Raises:
        DataError: not a picture, cut short, several frames, more than 10⁹ pixels.
    """
    path = Path(path)
    with _open(path) as picture:
        colours = _palette(picture)
        pixels = _pixels(picture)
        if colours is not None:
            pixels = colours[_first_band(pixels)]
            pixels = _first_band(pixels) if _is_grey(colours) else pixels
        elif picture.mode in _GREY_MODES:
            pixels = _first_band(pixels)
        elif picture.mode in {"RGB", "RGBA"}:
            pixels = pixels[..., :3]
        else:
            pixels = np.asarray(picture.convert("RGB"))
    if num_channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(PIL.Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))
    if num_channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    return _image(path, np.ascontiguousarray(pixels.T, dtype=np.float32))


def read_labels(path: Path, *, label_values: Collection[int] | None = None) -> Image:
    """Read a mask as integers `[1, I, J, 1]`, the values as stored: of a palette its indices.

    Colour masks are accepted where the three channels are equal, floating-point ones where every
    value is whole but for rounding; see `whole_numbers`.

    Args:
        path: a PNG or TIFF file.
        label_values: the values that masks are to hold. A mask of 0 and 255 alone is read as 0 and
            1 where 1 is among them and 255 is not.

    Raises:
        DataError: as of `read_image`, or a picture that cannot be a mask.
    """
    path = Path(path)
    with _open(path) as picture:
        bits = _bits(picture)
        if isinstance(picture, JpegImageFile):
            raise DataError(
                f"{path}: JPEG does not keep pixel values, and labels must be exact; save the mask "
                "as PNG"
            )
        colour = picture.mode in {"RGB", "RGBA"}
        if picture.mode not in _GREY_MODES | _PALETTE_MODES and (not colour or bits > 8):
            raise DataError(
                f"{path}: a mask in colour ({picture.mode}, {bits} bits); save it as a grey PNG "
                "that holds the label values"
            )
        pixels = _pixels(picture)
    if colour and (pixels[..., :1] != pixels[..., 1:3]).any():
        raise DataError(
            f"{path}: a mask in colour does not say which colour is which label; save it as a grey "
            "or palette PNG that holds the label values"
        )
    labels, settled = whole_numbers(_first_band(pixels), source=str(path))
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if picture.mode == "L" and bits < 8:
        labels = labels // (255 // (2**bits - 1))  # Pillow stretches 2 and 4 bits to 0 … 255
    binary = label_values is not None and 1 in label_values and 255 not in label_values
    if binary and ((labels == 0) | (labels == 255)).all():
        labels = labels // 255
    native = labels.dtype.newbyteorder("=")
    image = _image(path, np.ascontiguousarray(labels.T, dtype=native))
    return replace(image, notes=(*image.notes, *settled), rounded=bool(settled))


def picture_channels(path: Path) -> int:
    """Channels that `read_image` gives, from the header alone: 1 or 3.

    A palette counts as colour unless all its entries are grey.

    Raises:
        DataError: not a picture, several frames, more than 10⁹ pixels.
    """
    with _open(Path(path), header_only=True) as picture:
        colours = _palette(picture)
        grey = picture.mode in _GREY_MODES if colours is None else _is_grey(colours)
    return 1 if grey else 3


def read_outline(path: Path, *, num_channels: int | None = None) -> Outline:
    """What the header says of a picture, no pixel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `picture_channels`.
    """
    channels = num_channels if num_channels in {1, 3} else picture_channels(path)
    with _open(Path(path), header_only=True) as picture:
        width, height = _stored_size(picture)
    return Outline(_geometry((width, height, 1)), channels, width * height * channels)


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


@contextmanager
def _open(path: Path, *, header_only: bool = False) -> Iterator[ImageFile]:
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


def _pixels(picture: ImageFile) -> np.ndarray:
    """`[rows, columns]` or `[rows, columns, bands]`, as stored."""
    if not isinstance(picture, TiffImageFile):
        return np.asarray(picture)
    size = _stored_size(picture)
    boxes = np.array([tile[1] for tile in picture.tile]).reshape(-1, 2, 2)
    if np.prod(boxes[:, 1] - boxes[:, 0], axis=1).sum() < size[0] * size[1]:
        raise ValueError("its strips do not cover the picture")
    # Room made here, for Pillow would first hold the size against a limit of its own.
    picture.im = PIL.Image.new(picture.mode, size, color=None).im
    turned = _UNTURN.get(picture.getexif().get(Exif.Orientation, 1))
    picture.load()
    return np.asarray(picture if turned is None else picture.transpose(turned))


def _stored_size(picture: ImageFile) -> tuple[int, int]:
    """Columns and rows in the file: Pillow names those of a TIFF as turned by its orientation."""
    if isinstance(picture, TiffImageFile):
        return picture.tag_v2[Exif.ImageWidth], picture.tag_v2[Exif.ImageLength]
    return picture.size


def _palette(picture: ImageFile) -> np.ndarray | None:
    """Colours `[256, 3]` by index; None where there is no palette. To be asked before loading."""
    if picture.mode not in _PALETTE_MODES or picture.palette is None:
        return None
    order, content = picture.palette.getdata()
    entries = np.frombuffer(bytes(content), dtype=np.uint8)
    entries = entries.reshape(3, -1).T if order.endswith(";L") else entries.reshape(-1, 3)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(entries)] = entries
    return colours


def _first_band(pixels: np.ndarray) -> np.ndarray:
    """`[rows, columns]` of pixels with or without bands."""
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def _is_grey(colours: np.ndarray) -> bool:
    return bool((colours == colours[:, :1]).all())


def _bits(picture: ImageFile) -> int:
    """Bits of one number in the file, as far as Pillow's name of the raw format tells."""
    arguments = picture.tile[0][3] if picture.tile else None
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    found = re.search(r";(\d+)", raw or "")
    return int(found[1]) if found else 8


def _image(path: Path, array: np.ndarray) -> Image:
    """`[I, J]` or `[C, I, J]` with its place."""
    array = array.reshape(-1, *array.shape[-2:], 1)
    return Image(array, _geometry(array.shape[1:]), None, path)


def _geometry(shape: tuple[int, int, int]) -> Geometry:
    return Geometry(shape, np.diag([-1.0, -1.0, 1.0, 1.0]))
