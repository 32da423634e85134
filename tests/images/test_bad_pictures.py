"""Pictures that cannot be used: always a `DataError` of one line that names the file."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.errors import DataError
from attnseg.images import Image, picture_files, read_image, read_labels
from attnseg.images.pictures import picture_channels

READERS: tuple[Callable[[Path], object], ...] = (read_image, read_labels, picture_channels)
GREY = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
SUFFIXES = [".png", ".jpg", ".tif"]


def assert_refused(path: Path, rule: str, readers=READERS) -> None:
    for read in readers:
        with pytest.raises(DataError, match=rule) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n", "git lfs"),
        (b"\x89P", "not a PNG, JPEG or TIFF picture"),
        (random.Random(0).randbytes(5000), "not a PNG, JPEG or TIFF picture"),
        (b"GIF89a" + b"\0" * 100, "not a PNG, JPEG or TIFF picture"),
        (b"\x89PNG\r\n\x1a\n", "cut short, damaged"),
        (b"\xff\xd8\xff", "cut short, damaged"),
        (b"II*\0", "cut short, damaged"),
        (b"MM\0*" + b"\0" * 100, "cut short, damaged"),
    ],
    ids=["empty", "lfs", "tiny", "random", "gif", "png", "jpeg", "tiff", "big tiff"],
)
def test_not_a_picture(tmp_path, suffix, content, rule):
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert_refused(tmp_path / f"a{suffix}", rule)


def test_missing(tmp_path):
    assert_refused(tmp_path / "a.png", "no such file")


def test_the_content_decides_not_the_name(tmp_path):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").array[0, ..., 0].T, GREY)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.jpg").array[0, ..., 0].T, GREY)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_short(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    options = {"compression": "tiff_lzw"} if suffix == ".tiff" else {}
    PIL.Image.fromarray(COLOUR).save(path, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "cut short", READERS[:1])


def test_a_flipped_bit_that_unpacks_all_the_same(tmp_path, png):
    """Only the sums of a PNG's chunks tell."""
    path = png(tmp_path / "a.png", [row.tobytes() for row in GREY], size=(30, 40))
    np.testing.assert_array_equal(read_image(path).array[0, ..., 0].T, GREY)
    content = bytearray(path.read_bytes())
    content[content.index(GREY[20].tobytes())] ^= 1
    path.write_bytes(content)
    assert_refused(path, "cut short, damaged", READERS[:2])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_several_frames(tmp_path, name):
    first, second = PIL.Image.fromarray(GREY), PIL.Image.fromarray(255 - GREY)
    first.save(tmp_path / name, save_all=True, append_images=[second])
    assert_refused(tmp_path / name, "several frames .* as NIfTI")


@pytest.mark.parametrize("size", [(40_000, 40_000), (2**31 - 1, 2**31 - 1)])
def test_a_header_that_promises_gigapixels(tmp_path, png, size):
    path = png(tmp_path / "a.png", [b"\0" * 99], size=size, colour=2)
    assert_refused(path, f"{size[0]} × {size[1]} pixels are more than")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tiff"])
def test_pillows_own_limit_is_not_ours(tmp_path, monkeypatch, suffix):
    """Pillow warns of 90 million pixels and refuses twice as many; whole slides have more."""
    path = tmp_path / f"a{suffix}"
    options = {"compression": "tiff_lzw"} if suffix == ".tiff" else {}
    PIL.Image.fromarray(GREY).save(path, **options)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(path).array.size == GREY.size
    monkeypatch.setattr(picture_files, "_MAX_PIXELS", GREY.size - 1)
    assert_refused(path, "cut the picture into parts")


@pytest.mark.parametrize(
    ("mode", "rule"), [("RGB", "which colour is which label"), ("CMYK", r"colour \(CMYK")]
)
def test_masks_in_colour(tmp_path, mode, rule):
    PIL.Image.fromarray(COLOUR).convert(mode).save(tmp_path / "a.tif")
    assert_refused(tmp_path / "a.tif", rule, (read_labels,))


def test_a_tiff_whose_strips_do_not_cover_it(tmp_path):
    path = tmp_path / "a.tif"
    PIL.Image.fromarray(GREY).save(path)
    length = struct.pack("<HHI", 257, 4, 1)
    content = path.read_bytes()
    if length not in content:
        length = struct.pack("<HHI", 257, 3, 1)
    place = content.index(length) + 8
    path.write_bytes(content[:place] + struct.pack("<H", 400) + content[place + 2 :])
    assert_refused(path, "strips do not cover|cut short", READERS[:2])


def originals(folder: Path) -> list[tuple[str, bytes]]:
    """One file of each kind, to be damaged."""
    small, tiny = PIL.Image.fromarray(GREY[:7, :5]), PIL.Image.fromarray(COLOUR[:7, :5])
    kinds = [
        ("l.png", small, {}),
        ("rgb.png", tiny, {}),
        ("p.png", tiny.quantize(5), {}),
        ("i16.png", PIL.Image.fromarray(GREY[:7, :5].astype(np.uint16) * 99), {}),
        ("l.jpg", small, {}),
        ("rgb.jpg", tiny, {}),
        ("raw.tif", small, {}),
        ("rgb.tif", tiny, {}),
        ("f.tif", PIL.Image.fromarray(GREY[:7, :5].astype(np.float32)), {}),
    ]
    for name, picture, options in kinds:
        picture.save(folder / name, **options)
    return [(Path(name).suffix, (folder / name).read_bytes()) for name, _, _ in kinds]


def fuzz(folder: Path, *, rounds: int, seed: int) -> tuple[int, int]:
    """Damage files at random; count what was read and what was refused, in one line each."""
    chance = random.Random(seed)
    choices = originals(folder)
    good = bad = 0
    for number in range(rounds):
        suffix, content = choices[number % len(choices)]
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 3))):
            value = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            damaged[chance.randrange(len(damaged))] = value
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        path = folder / f"fuzz{suffix}"
        path.write_bytes(damaged)
        if read_or_refuse(READERS[number // len(choices) % 2], path):
            good += 1
        else:
            bad += 1
    return good, bad


def read_or_refuse(read: Callable[[Path], object], path: Path) -> bool:
    """Whether the file was read; a refusal is one line that names it."""
    try:
        assert isinstance(read(path), Image)
        return True
    except DataError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return False


def test_damaged_pictures_are_read_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "_MAX_PIXELS", 10**7)  # what a damaged size may cost
    good, bad = fuzz(tmp_path, rounds=450, seed=0)
    assert min(good, bad) > 50


@pytest.mark.slow
def test_many_damaged_pictures(tmp_path, monkeypatch, full):
    monkeypatch.setattr(picture_files, "_MAX_PIXELS", 10**7)
    rounds = full(40_000)
    good, bad = fuzz(tmp_path, rounds=rounds, seed=1)
    assert min(good, bad) > rounds // 10
