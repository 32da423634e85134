"""What of a picture is followed, kept, converted or left out, and that it is said."""

import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import ImageOps

from attnseg.errors import DataError
from attnseg.images import (
    Image,
    picture_channels,
    picture_orientation,
    read_case,
    read_image,
    read_labels,
    read_outline,
    write_labels,
)

GENERATOR = np.random.default_rng(0)
ROWS, COLUMNS = 7, 5
GREY = GENERATOR.integers(0, 200, (ROWS, COLUMNS), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
DEEP = GENERATOR.integers(0, 2**16, (ROWS, COLUMNS, 4), dtype=np.uint16)
MASK = GREY % 3
EXIF_ORIENTATION = 0x0112
BIG = struct.Struct(">I")


def rows_of(image: Image) -> np.ndarray:
    """`[C, I, J, 1]` → `[rows, columns]` or `[rows, columns, 3]`."""
    pixels = image.array[..., 0].T
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def exif(orientation: int) -> PIL.Image.Exif:
    found = PIL.Image.Exif()
    found[EXIF_ORIENTATION] = orientation
    return found


def chunk(name: bytes, content: bytes) -> bytes:
    return BIG.pack(len(content)) + name + content + BIG.pack(zlib.crc32(name + content))


def tiff(pixels: np.ndarray, *, planes: bool = False, packed: bool = False, **tags) -> bytes:
    """A TIFF of one strip, or one for each plane, in the byte order of `pixels`."""
    order = "<" if pixels.dtype.newbyteorder("<") == pixels.dtype else ">"
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    bands = np.moveaxis(pixels, -1, 0) if planes else [pixels]
    strips = [zlib.compress(band.tobytes()) if packed else band.tobytes() for band in bands]
    rows, columns, count = pixels.shape
    entries = {
        256: [columns],
        257: [rows],
        258: [8 * pixels.itemsize] * count,
        259: [8 if packed else 1],
        262: [2 if count > 2 else 1],
        273: [8 + sum(map(len, strips[:number])) for number in range(len(strips))],
        277: [count],
        278: [rows],
        279: [*map(len, strips)],
        284: [1 + planes],
    } | {int(tag[1:]): values for tag, values in tags.items()}
    content = (b"II*\0" if order == "<" else b"MM\0*") + b"????" + b"".join(strips)
    directory = struct.pack(order + "H", len(entries))
    for tag, values in sorted(entries.items()):
        value = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            place = struct.pack(order + "I", len(content))
            content, value = content + value, place
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + value
    head = content[:4] + struct.pack(order + "I", len(content))
    return head + content[8:] + directory + b"\0\0\0\0"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.jpg", {}), ("a.tif", {}), ("b.tif", {"compression": "tiff_lzw"})],
)
@pytest.mark.parametrize("pixels", [GREY, COLOUR, GREY.astype(np.uint16) * 300])
def test_an_exif_orientation_is_followed(tmp_path, orientation, name, options, pixels):
    """Every reader shows a picture as viewers do, and says so; headers agree with pixels."""
    if name == "a.jpg" and pixels.dtype != np.uint8:
        return
    path = tmp_path / name
    PIL.Image.fromarray(pixels).save(path, exif=exif(orientation), **options)
    # Given a name, Pillow 13 maps TIFFs into memory and scrambles those that are turned.
    with path.open("rb") as stream, PIL.Image.open(stream) as picture:
        picture.load()
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert expected.shape[:2] == ((ROWS, COLUMNS) if orientation < 5 else (COLUMNS, ROWS))
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), expected)
    assert read_outline((path,)).geometry.matches(image.geometry)
    assert picture_orientation(path) == orientation
    assert len(image.notes) == (orientation > 1)
    if orientation > 1:
        note = f"its EXIF orientation is {orientation}; it was read as viewers show it, "
        assert image.notes[0].startswith(note)
    if expected.ndim == 2 and name != "a.jpg":
        labels = read_labels(path)
        np.testing.assert_array_equal(rows_of(labels), expected)
        assert labels.notes == image.notes


def test_a_written_mask_lies_on_the_picture_as_shown(tmp_path):
    PIL.Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=exif(6))
    image = read_case((tmp_path / "a.jpg",))
    labels = np.zeros(image.geometry.shape, np.uint8)
    labels[0, 0] = 1
    write_labels(tmp_path / "mask.png", labels, like=image, dtype=np.dtype(np.uint8))
    with PIL.Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (ROWS, COLUMNS)
        assert mask.getpixel((0, 0)) == 1
        assert EXIF_ORIENTATION not in mask.getexif()
    assert read_labels(tmp_path / "mask.png").geometry.matches(image.geometry)


def test_exif_behind_the_pixels_of_a_png(tmp_path):
    """The PNG specification lets it stand there; a header alone must find it too."""
    path = tmp_path / "a.png"
    PIL.Image.fromarray(GREY).save(path)
    content = path.read_bytes()
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:end] + chunk(b"eXIf", exif(6).tobytes()[6:]) + content[end:])
    np.testing.assert_array_equal(rows_of(read_image(path)), np.rot90(GREY, -1))
    assert read_outline((path,)).geometry.shape == (ROWS, COLUMNS, 1)
    assert picture_orientation(path) == 6


def test_an_orientation_in_xmp(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="3"/></x:xmpmeta>'
    PIL.Image.fromarray(GREY).save(tmp_path / "a.jpg", xmp=xmp)
    PIL.Image.fromarray(GREY).save(tmp_path / "b.jpg")
    shown = rows_of(read_image(tmp_path / "b.jpg"))[::-1, ::-1]
    np.testing.assert_array_equal(rows_of(read_image(tmp_path / "a.jpg")), shown)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif(orientation))
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(rows_of(image), GREY)
    assert image.notes == ()


@pytest.mark.parametrize("content", [b"XX*\0broken", b"II*\0\x08\0\0\0\xff\xff", b"II*\0"])
def test_exif_that_cannot_be_read_is_not_in_the_way(tmp_path, content):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + content)
    image = read_image(tmp_path / "a.jpg")
    assert image.array.shape == (1, COLUMNS, ROWS, 1)
    assert image.notes == ()


@pytest.mark.parametrize(("bands", "colour"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_pngs_of_16_bits_keep_them(tmp_path, png, bands, colour):
    """Grey, grey with alpha, RGB, RGBA; Pillow alone gives 8 bits of all but grey."""
    pixels = DEEP[..., :bands].copy()
    pixels[..., -1] |= 0xFFFF if bands in (2, 4) else 0
    rows = [row.astype(">u2").tobytes() for row in pixels]
    path = png(tmp_path / "a.png", rows, size=(COLUMNS, ROWS), bits=16, colour=colour)
    expected = pixels[..., :3] if bands > 2 else pixels[..., 0]
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), expected)
    assert image.notes == ()
    assert picture_channels(path) == len(image.array)
    outline = read_outline((path,))
    assert outline.stored_bytes == 2 * image.array.size
    if bands > 2:
        luma = rows_of(read_image(path, num_channels=1))
        np.testing.assert_allclose(luma, expected @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_tiffs_of_16_bits(tmp_path, order, packed):
    """Kept where a pixel's numbers lie together; of planes 8 bits are read, which is said."""
    pixels = DEEP[..., :3].astype(order + "u2")
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(pixels, packed=packed))
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), pixels)
    assert image.notes == ()
    path.write_bytes(tiff(pixels, packed=packed, planes=True))
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), pixels >> 8)
    assert image.notes == ("its colours have 16 bits a channel; they were read with 8",)
    path.write_bytes(tiff((pixels >> 8).astype(np.uint8), packed=packed, planes=True))
    assert read_image(path).notes == ()
    np.testing.assert_array_equal(rows_of(read_image(path)), pixels >> 8)


def test_a_mask_in_colour_of_16_bits(tmp_path, png):
    """Read where the three channels are equal; its labels are in the lower byte."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.repeat(MASK.astype("<u2")[..., None], 3, axis=-1)))
    np.testing.assert_array_equal(rows_of(read_labels(path)), MASK)
    path.write_bytes(tiff(np.repeat(MASK.astype("<u2")[..., None], 3, axis=-1), planes=True))
    with pytest.raises(DataError, match=r"a mask in colour \(RGB, 16 bits\)"):
        read_labels(path)
    rows = [row.astype(">u2").tobytes() for row in DEEP[..., :3]]
    path = png(tmp_path / "a.png", rows, size=(COLUMNS, ROWS), bits=16, colour=2)
    with pytest.raises(DataError, match="which colour is which label"):
        read_labels(path)


def test_alpha_is_told_where_it_hides_something(tmp_path):
    path = tmp_path / "a.png"
    alpha = np.full((ROWS, COLUMNS, 1), 255, np.uint8)
    for pixels in (GREY[..., None], COLOUR):
        PIL.Image.fromarray(np.dstack([pixels, alpha])).save(path)
        assert read_image(path).notes == ()
        hidden = alpha.copy()
        hidden[0, :2, 0] = 0, 128
        PIL.Image.fromarray(np.dstack([pixels, hidden])).save(path)
        image = read_image(path)
        np.testing.assert_array_equal(rows_of(image), pixels.squeeze())
        assert image.notes == (
            "2 of 35 pixels are not opaque; alpha was left out, their colours are as stored",
        )


@pytest.mark.parametrize("kind", ["grey", "colour", "palette", "some of a palette"])
def test_values_that_a_png_calls_transparent(tmp_path, kind):
    pixels = PIL.Image.fromarray(COLOUR if kind == "colour" else MASK)
    if "palette" in kind:
        pixels.putpalette(COLOUR[0, :3].tobytes())
    key = {"grey": 1, "colour": tuple(map(int, COLOUR[2, 3])), "palette": 1}.get(kind)
    pixels.save(tmp_path / "a.png", transparency=b"\xff\x80" if key is None else key)
    hidden = 1 if kind == "colour" else int((MASK == 1).sum())
    (note,) = read_image(tmp_path / "a.png").notes
    assert note.startswith(f"{hidden} of 35 pixels are not opaque; alpha was left out")


def test_alpha_of_masks(tmp_path):
    """Told unless it says what the labels say: a transparent background."""
    path = tmp_path / "a.png"

    def notes(values: np.ndarray, alpha: np.ndarray) -> tuple[str, ...]:
        PIL.Image.fromarray(np.dstack([values, alpha]).astype(np.uint8)).save(path)
        labels = read_labels(path)
        np.testing.assert_array_equal(rows_of(labels), values)
        return labels.notes

    opaque = np.full_like(MASK, 255)
    assert notes(MASK, opaque) == ()
    assert notes(MASK, opaque * (MASK > 0)) == ()
    (drawn_in_alpha,) = notes(MASK * 0, opaque * (MASK > 0))
    assert drawn_in_alpha.endswith("alpha was left out, labels are as stored")
    assert len(notes(MASK, opaque * (MASK > 1))) == 1


def test_palettes_of_masks(tmp_path):
    """Told unless the palette shows the labels themselves as grey."""
    picture = PIL.Image.fromarray(MASK)
    for palette, noted in (
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], False),
        ([0, 0, 0, 255, 0, 0, 0, 255, 0], True),
        ([0, 0, 0, 128, 128, 128, 255, 255, 255], True),
    ):
        picture.putpalette(palette)
        picture.save(tmp_path / "a.png")
        labels = read_labels(tmp_path / "a.png")
        np.testing.assert_array_equal(rows_of(labels), MASK)
        told = "a palette; its indices were taken for the labels, not its colours"
        assert labels.notes == ((told,) if noted else ())
        assert read_image(tmp_path / "a.png").notes == ()


@pytest.mark.parametrize(
    ("name", "mode"), [("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.tif", "LAB"), ("a.tif", "YCbCr")]
)
def test_other_colours_are_converted_and_told(tmp_path, name, mode):
    picture = PIL.Image.new("RGB", (COLUMNS, ROWS), (200, 60, 30))
    if mode == "LAB":
        picture = PIL.Image.new("LAB", (COLUMNS, ROWS), (128, 140, 120))
    picture.convert(mode).save(tmp_path / name, exif=exif(6))
    image = read_image(tmp_path / name)
    assert image.array.shape == (3, ROWS, COLUMNS, 1)
    converted = f"its colours are stored as {mode}; they were converted to RGB without a colour "
    assert image.notes[-1] == converted + "profile"
    if mode != "LAB":
        np.testing.assert_allclose(image.array[:, 0, 0, 0], (200, 60, 30), atol=4)


def test_what_tiffs_hold_besides(tmp_path):
    """Bands without a meaning, and grey from white to black."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(DEEP.astype("<u2"), t338=[0]))
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), DEEP[..., :3])
    assert image.notes == ("has 1 band(s) that are neither colour nor alpha; they were left out",)
    path.write_bytes(tiff(GREY, t262=[0]))
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), 255 - GREY)
    inverted = "its grey runs from white to black (WhiteIsZero); its values were inverted, "
    assert image.notes == (inverted + "as viewers show them",)
    path.write_bytes(tiff(DEEP[..., 0].astype("<u2"), t262=[0]))
    np.testing.assert_array_equal(rows_of(read_image(path)), DEEP[..., 0])
    assert read_image(path).notes[0].endswith("its values were taken as stored")


def test_further_pictures_of_a_phone(tmp_path):
    """A JPEG of several pictures (MPO): the first is the one that viewers show."""
    first, second = PIL.Image.fromarray(GREY), PIL.Image.fromarray(255 - GREY)
    first.save(tmp_path / "one.jpg")
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    image = read_image(tmp_path / "a.jpg")
    np.testing.assert_array_equal(image.array, read_image(tmp_path / "one.jpg").array)
    (note,) = image.notes
    assert note.startswith("holds further pictures behind the first")


def test_twelve_bits(tmp_path):
    """Of TIFF they are read as they are; JPEG of 12 bits is refused in one line."""
    pixels = (DEEP[:, :4, 0] % 4096).astype(int)
    pairs = pixels.reshape(ROWS, 2, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    content = tiff(packed.reshape(ROWS, 6).astype(np.uint8), t256=[4], t258=[12])
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(rows_of(read_image(tmp_path / "a.tif")), pixels)
    PIL.Image.fromarray(GREY).save(tmp_path / "a.jpg")
    jpeg = bytearray((tmp_path / "a.jpg").read_bytes())
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    Path(tmp_path / "a.jpg").write_bytes(jpeg)
    with pytest.raises(DataError, match=r"a\.jpg: cut short, damaged or of an unknown kind"):
        read_image(tmp_path / "a.jpg")
