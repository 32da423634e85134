"""PNG, JPEG and TIFF: what is read is what was stored, and masks come back."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.errors import DataError
from attnseg.images import (
    Geometry,
    Image,
    is_picture,
    picture_channels,
    read_case,
    read_image,
    read_labels,
    write_labels,
)

GENERATOR = np.random.default_rng(0)
ROWS, COLUMNS = 7, 5
GREY = GENERATOR.integers(0, 256, (ROWS, COLUMNS), dtype=np.uint8)
GREY16 = GENERATOR.integers(0, 2**16, (ROWS, COLUMNS), dtype=np.uint16)
COLOUR = GENERATOR.integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
ALPHA = GENERATOR.integers(0, 256, (ROWS, COLUMNS, 1), dtype=np.uint8)
# Each file format that keeps pixel values, raw and packed.
EXACT = [("a.png", {}), ("a.tif", {}), ("a.TIFF", {"compression": "tiff_lzw"})]


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


def rows_of(image: Image) -> np.ndarray:
    """`[C, I, J, 1]` → `[rows, columns]` or `[rows, columns, 3]`."""
    assert image.array.shape[3] == 1
    pixels = image.array[..., 0].T
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


@pytest.mark.parametrize(("name", "options"), EXACT)
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GREY, GREY),
        (GREY16, GREY16),
        (GREY > 99, GREY > 99),
        (COLOUR, COLOUR),
        (np.dstack([COLOUR, ALPHA]), COLOUR),
        (np.dstack([GREY, ALPHA]), GREY),
    ],
    ids=["grey", "16 bits", "1 bit", "RGB", "RGBA", "LA"],
)
def test_pixels_come_back(tmp_path, name, options, stored, expected):
    path = save(tmp_path / name, stored, **options)
    image = read_image(path)
    np.testing.assert_array_equal(rows_of(image), expected)
    assert image.array.dtype == np.float32
    assert image.array.flags.c_contiguous
    assert image.path == path
    assert image.name == "a"
    assert picture_channels(path) == image.array.shape[0] == (1 if expected.ndim == 2 else 3)
    if expected.ndim == 2:
        labels = read_labels(path)
        np.testing.assert_array_equal(rows_of(labels), expected)
        assert labels.array.dtype == (np.uint16 if expected is GREY16 else np.uint8)
        assert labels.array.dtype.isnative


def test_a_picture_lies_as_it_is_seen(tmp_path):
    """Columns run to the patient's left, rows to the back: the radiological view, upright."""
    image = read_image(save(tmp_path / "a.png", GREY))
    assert image.array.shape == (1, COLUMNS, ROWS, 1)
    assert image.array[0, 4, 1, 0] == GREY[1, 4]
    assert image.geometry.orientation == "LPS"
    assert image.geometry.spacing_mm == (1, 1, 1)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes(tmp_path, name, grey):
    """An image shows the palette's colours, a mask holds its indices."""
    colours = GENERATOR.integers(0, 256, (4, 3))
    if grey:
        colours[:, 1:] = colours[:, :1]
    indices = GREY % 4
    picture = PIL.Image.fromarray(indices)
    picture.putpalette(colours.astype(np.uint8).tobytes())
    picture.info["transparency"] = b"\x00\x80"
    picture.save(tmp_path / name)
    expected = colours[indices]
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(rows_of(image), expected[..., 0] if grey else expected)
    assert picture_channels(tmp_path / name) == image.array.shape[0]
    np.testing.assert_array_equal(rows_of(read_labels(tmp_path / name)), indices)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_keep_their_values(tmp_path, png, bits):
    """Pillow stretches grey of 2 and 4 bits to 0 … 255; labels are what the file says."""
    labels = GREY % 2**bits
    per_byte = 8 // bits
    padded = np.pad(labels, ((0, 0), (0, -COLUMNS % per_byte))).reshape(ROWS, -1, per_byte)
    packed = (padded << (8 - bits * (1 + np.arange(per_byte)))).sum(axis=2).astype(np.uint8)
    rows = [row.tobytes() for row in packed]
    path = png(tmp_path / "a.png", rows, size=(COLUMNS, ROWS), bits=bits)
    np.testing.assert_array_equal(rows_of(read_labels(path)), labels)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_tiffs_of_other_numbers(tmp_path, byte_order):
    signed = GREY.astype("i4") - 100
    labels = read_labels(save(tmp_path / "i.tif", signed))
    np.testing.assert_array_equal(rows_of(labels), signed)
    whole, halves = GREY.astype("f4"), GREY.astype("f4") + 0.5
    np.testing.assert_array_equal(rows_of(read_labels(save(tmp_path / "f.tif", whole))), GREY)
    np.testing.assert_array_equal(rows_of(read_image(save(tmp_path / "f.tif", halves))), halves)
    with pytest.raises(DataError, match=r"f\.tif: label value .*\.5 is not a whole number"):
        read_labels(tmp_path / "f.tif")
    swapped = PIL.Image.frombytes(
        "I;16B" if byte_order == ">" else "I;16",
        (COLUMNS, ROWS),
        GREY16.astype(byte_order + "u2").tobytes(),
    )
    swapped.save(tmp_path / "s.tif")
    labels = read_labels(tmp_path / "s.tif")
    np.testing.assert_array_equal(rows_of(labels), GREY16)
    assert labels.array.dtype.isnative


def test_jpeg(tmp_path):
    smooth = np.add.outer(np.arange(40), 2 * np.arange(60)).astype(np.uint8)
    path = save(tmp_path / "a.JPG", smooth, quality=95)
    np.testing.assert_allclose(rows_of(read_image(path)), smooth, atol=4)
    save(path, np.dstack([smooth] * 3), quality=95)
    assert read_image(path).array.shape == (3, 60, 40, 1)
    PIL.Image.fromarray(COLOUR).convert("CMYK").save(path)
    assert read_image(path).array.shape == (3, COLUMNS, ROWS, 1)
    with pytest.raises(DataError, match="JPEG does not keep pixel values"):
        read_labels(path)


@pytest.mark.parametrize(
    ("values", "label_values", "expected"),
    [
        ((0, 255), (0, 1), (0, 1)),
        ((0, 255), (0, 1, 2), (0, 1)),
        ((0, 255), None, (0, 255)),
        ((0, 255), (0, 255), (0, 255)),
        ((0, 255), (0, 1, 255), (0, 255)),
        ((0, 255), (0, 2), (0, 255)),
        ((0, 1, 255), (0, 1), (0, 1, 255)),
        ((0, 254), (0, 1), (0, 254)),
        ((0, 1), (0, 1), (0, 1)),
        ((0,), (0, 1), (0,)),
        ((255,), (0, 1), (1,)),
    ],
)
def test_a_mask_in_black_and_white(tmp_path, values, label_values, expected):
    choice = GREY % len(values)
    path = save(tmp_path / "a.png", np.array(values, dtype=np.uint8)[choice])
    found = rows_of(read_labels(path, label_values=label_values))
    np.testing.assert_array_equal(found, np.array(expected)[choice])
    save(path, np.dstack([np.array(values, dtype=np.uint8)[choice]] * 3))
    np.testing.assert_array_equal(rows_of(read_labels(path, label_values=label_values)), found)


def test_grey_and_colour_as_the_model_expects(tmp_path):
    grey, colour = save(tmp_path / "g.png", GREY), save(tmp_path / "c.png", COLOUR)
    repeated = rows_of(read_case((grey,), num_channels=3))
    np.testing.assert_array_equal(repeated, np.dstack([GREY] * 3))
    luma = rows_of(read_case((colour,), num_channels=1))
    np.testing.assert_allclose(luma, COLOUR @ [0.299, 0.587, 0.114], atol=0.51)
    assert read_case((colour,)).array.shape[0] == 3
    with pytest.raises(DataError, match=r"g\.png: 1 channel\(s\) where 2 are expected"):
        read_case((grey,), num_channels=2)


def test_pictures_as_channels_of_one_case(tmp_path):
    """Grey saved as RGB is one channel where a case has one file for each."""
    paths = (
        save(tmp_path / "a_0000.png", GREY16),
        save(tmp_path / "a_0001.png", np.dstack([GREY] * 3)),
    )
    case = read_case(paths, num_channels=2)
    np.testing.assert_array_equal(rows_of(case)[..., 0], GREY16)
    np.testing.assert_array_equal(case.array[1, ..., 0].T, GREY)
    save(paths[1], GREY[:-1])
    with pytest.raises(DataError, match=r"a_0001\.png: its grid differs"):
        read_case(paths)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_written_masks_come_back(tmp_path, dtype, largest):
    image = read_image(save(tmp_path / "a.png", COLOUR))
    labels = GENERATOR.integers(0, largest + 1, image.geometry.shape)
    labels[0, 0, 0] = largest
    write_labels(tmp_path / "new" / "mask.png", labels, like=image, dtype=np.dtype(dtype))
    found = read_labels(tmp_path / "new" / "mask.png")
    np.testing.assert_array_equal(found.array[0], labels)
    assert found.array.dtype == dtype
    assert found.geometry.matches(image.geometry)
    with PIL.Image.open(tmp_path / "new" / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), labels[..., 0].T)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mask.png"]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint32])
def test_labels_that_png_cannot_hold(tmp_path, dtype):
    image = read_image(save(tmp_path / "a.png", GREY))
    labels = np.zeros(image.geometry.shape, dtype=dtype)
    with pytest.raises(DataError, match=r"mask\.png: PNG masks hold .* as NIfTI") as error:
        write_labels(tmp_path / "mask.png", labels, like=image, dtype=np.dtype(dtype))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "mask.png").exists()


def test_masks_that_are_no_png(tmp_path):
    volume = Image(np.zeros((1, 4, 3, 2), np.float32), Geometry((4, 3, 2), np.eye(4)))
    labels, dtype = np.zeros((4, 3, 2), np.uint8), np.dtype(np.uint8)
    with pytest.raises(DataError, match="one slice, and this mask has 2"):
        write_labels(tmp_path / "a.png", labels, like=volume, dtype=dtype)
    with pytest.raises(DataError, match=r"let the name end in \.png"):
        write_labels(tmp_path / "a.tif", labels, like=volume, dtype=dtype)


def test_real_pictures_as_pillow_reads_them(real_data):
    for path in sorted((real_data / "nuclei" / "images").iterdir())[::40]:
        with PIL.Image.open(path) as picture:
            expected = np.asarray(picture)
        image = read_image(path)
        assert is_picture(path)
        np.testing.assert_array_equal(rows_of(image), expected)
        labels = read_labels(real_data / "nuclei" / "labels" / path.name, label_values=(0, 1))
        assert labels.geometry.matches(image.geometry)
        assert set(np.unique(labels.array)) <= {0, 1}
