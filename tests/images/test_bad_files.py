"""Files that cannot be used: always a `DataError` of one line that names the file."""

import gzip
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isal import igzip

from attnseg.errors import DataError
from attnseg.images import Image, read_image, read_labels, write_labels

READERS: tuple[Callable[..., Any], ...] = (read_image, read_labels)
ARRAY = np.random.default_rng(0).integers(0, 200, (9, 8, 7)).astype("i2")


def assert_refused(path: Path, rule: str) -> None:
    for read in READERS:
        with pytest.raises(DataError, match=rule) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_missing(tmp_path: Path) -> None:
    assert_refused(tmp_path / "a.nii.gz", "no such file")
    assert_refused(tmp_path, "no such file")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n", "git lfs"),
        (b"no", "not a NIfTI file"),
        (random.Random(0).randbytes(5000), "not a NIfTI file"),
        (igzip.compress(random.Random(1).randbytes(5000)), "not a NIfTI file"),
        (igzip.compress(b""), "not a NIfTI file"),
        (b"\x1f\x8b" + random.Random(2).randbytes(5000), "cut short or damaged"),
        (b"\x1f\x8b", "cut short or damaged"),
    ],
    ids=["empty", "lfs", "tiny", "random", "packed random", "packed empty", "no gzip", "2 bytes"],
)
def test_not_an_image(tmp_path: Path, name: str, content: bytes, rule: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, rule)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_cut_short(tmp_path: Path, nifti: Any, name: str, share: float) -> None:
    path = nifti(tmp_path / name, ARRAY)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "cut short|not a NIfTI file")


def test_a_flipped_bit_that_unpacks_all_the_same(tmp_path: Path, nifti: Any) -> None:
    """Only the sum at the end of a gzip file tells."""
    array = np.random.default_rng(0).integers(0, 30000, (64, 64, 32)).astype("i2")
    plain = nifti(tmp_path / "a.nii", array).read_bytes()
    content = bytearray(gzip.compress(plain, compresslevel=0))
    place = bytes(content).find(plain[100_000:100_008])
    assert place > 0
    content[place] ^= 1
    path = tmp_path / "b.nii.gz"
    path.write_bytes(content)
    assert_refused(path, "CRC")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_header_that_promises_terabytes(
    tmp_path: Path, nifti: Any, name: str, version: int
) -> None:
    dim = [3, 10_000, 10_000, 10_000, 1, 1, 1, 1]
    path = nifti(tmp_path / name, ARRAY, version=version, dim=dim)
    tracemalloc.start()
    try:
        assert_refused(path, "promises 2000000000000 bytes of voxels, more than the file can hold")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_sizes_whose_product_exceeds_64_bits(tmp_path: Path, nifti: Any) -> None:
    dim = [4, 2**16, 2**16, 2**16, 2**16, 1, 1, 1]  # the product is 0 modulo 2^64
    path = nifti(tmp_path / "a.nii", ARRAY, version=2, dim=dim)
    assert_refused(path, "more than the file can hold")


@pytest.mark.parametrize("offset", [-1.0, 0.0, 100.0, 347.0, 1e30, np.nan, np.inf])
def test_voxels_start_at_an_impossible_byte(tmp_path: Path, nifti: Any, offset: float) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, vox_offset=offset)
    assert_refused(path, "voxels start at byte")


def test_voxels_start_inside_the_longer_header(tmp_path: Path, nifti: Any) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, version=2, vox_offset=352)
    assert_refused(path, "voxels start at byte 352")


@pytest.mark.parametrize("offset", [2000.0, 1e5])
def test_voxels_start_beyond_the_end(tmp_path: Path, nifti: Any, offset: float) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, vox_offset=offset)
    assert_refused(path, "cut short")


@pytest.mark.parametrize(
    "dim",
    [
        [0] * 8,
        [3, 4, 0, 4, 1, 1, 1, 1],
        [3, 4, -4, 4, 1, 1, 1, 1],
        [3, -1, 1, 1, 1, 1, 1, 1],  # which nibabel takes for a surface of FreeSurfer
    ],
)
def test_no_volume(tmp_path: Path, nifti: Any, dim: list[int]) -> None:
    assert_refused(nifti(tmp_path / "a.nii", ARRAY, dim=dim), "is not a volume")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_zero_spacing(tmp_path: Path, nifti: Any, axis: int) -> None:
    flat = np.diag([1.0, 1.0, 1.0, 1.0])
    flat[axis, axis] = 0.0
    path = nifti(tmp_path / "sform.nii", ARRAY, affine=flat, qform=np.eye(4))
    assert_refused(path, "zero, undefined or absurd spacing")
    pixdim = np.ones(8)
    pixdim[axis + 1] = 0.0
    for codes in ((0, 1), (0, 0)):
        path = nifti(tmp_path / "pixdim.nii", ARRAY, codes=codes, pixdim=pixdim)
        assert_refused(path, "zero, undefined or absurd spacing")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("field", ["srow_x", "qoffset_y", "pixdim"])
def test_undefined_affine(tmp_path: Path, nifti: Any, value: float, field: str) -> None:
    content = {
        "srow_x": [1.0, 0.0, value, 0.0],
        "qoffset_y": value,
        "pixdim": [1.0, value, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    }[field]
    codes = (1, 1) if field == "srow_x" else (0, 1)
    path = nifti(tmp_path / "a.nii", ARRAY, codes=codes, **{field: content})
    assert_refused(path, "affine has a zero, undefined or absurd spacing or origin")


@pytest.mark.parametrize("value", [3.0, 1e30, np.nan])
def test_no_rotation(tmp_path: Path, nifti: Any, value: float) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, codes=(0, 1), quatern_b=value)
    assert_refused(path, "unusable qform|zero, undefined or absurd")


@pytest.mark.parametrize(
    ("code", "itemsize"),
    [(32, 8), (1792, 16), (128, 3), (2304, 4)],
    ids=["complex64", "complex128", "RGB", "RGBA"],
)
def test_voxels_that_are_no_plain_numbers(
    tmp_path: Path, nifti: Any, code: int, itemsize: int
) -> None:
    stored = np.zeros((6, 4, 3 * itemsize), dtype="u1")
    dim = [3, 6, 4, 3, 1, 1, 1, 1]
    path = nifti(tmp_path / "a.nii", stored, dim=dim, datatype=code, bitpix=8 * itemsize)
    assert_refused(path, "are of type")


@pytest.mark.parametrize("code", [0, 1, 255, 77, -3])
def test_unknown_type_of_voxels(tmp_path: Path, nifti: Any, code: int) -> None:
    assert_refused(nifti(tmp_path / "a.nii", ARRAY, datatype=code), "type of voxels")


def test_undefined_scaling(tmp_path: Path, nifti: Any) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, scl_slope=2.0, scl_inter=np.nan)
    assert_refused(path, "unusable intensity scaling")


def test_half_of_a_pair(tmp_path: Path, nifti: Any) -> None:
    """A header whose voxels lie in an `.img`."""
    path = nifti(tmp_path / "a.nii", ARRAY, magic=b"ni1", vox_offset=0)
    assert_refused(path, "damaged header")


def originals(folder: Path, nifti: Any) -> list[tuple[bytes, int]]:
    """Files to damage, each with the number of bytes worth changing."""
    small = ARRAY[:3, :3, :2]
    plain = nifti(folder / "a.nii", small, affine=np.diag([1.0, 2.0, 3.0, 1.0]))
    qform = nifti(folder / "b.nii", small, codes=(0, 1))
    other = nifti(folder / "c.nii", small.astype("f8"), version=2, endian=">", extension=b"text")
    packed = nifti(folder / "d.nii.gz", small)
    files = [plain.read_bytes(), qform.read_bytes(), other.read_bytes(), packed.read_bytes()]
    return list(zip(files, (356, 356, 580, len(files[3])), strict=True))


def read_or_refuse(read: Callable[[Path], Image], path: Path) -> Image | None:
    """What was read; None for a refusal in one line that names the file."""
    try:
        return read(path)
    except DataError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return None


def fuzz(folder: Path, nifti: Any, *, rounds: int, seed: int) -> tuple[int, int]:
    """Damage files at random; count what was read and what was refused, in one line each."""
    chance = random.Random(seed)
    choices = originals(folder, nifti)
    path, mask = folder / "fuzz.nii", folder / "mask.nii"
    good = bad = 0
    for number in range(rounds):
        content, num_bytes = choices[number % len(choices)]
        damaged = bytearray(content)
        value = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        damaged[chance.randrange(num_bytes)] = value
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        image = read_or_refuse(READERS[number // 4 % 2], path)
        if image is None:
            bad += 1
            continue
        good += 1
        assert len(image.geometry.orientation) == 3
        assert np.isfinite(image.geometry.spacing_mm).all()
        if number % 40 < 4:  # now and then, for it is slow: good enough to write a mask beside it
            labels = np.zeros(image.geometry.shape, dtype=np.uint8)
            write_labels(mask, labels, like=image, dtype=labels.dtype)
            assert np.array_equal(read_labels(mask).geometry.affine, image.geometry.affine)
    return good, bad


def test_damaged_headers_are_read_or_refused(tmp_path: Path, nifti: Any) -> None:
    good, bad = fuzz(tmp_path, nifti, rounds=300, seed=0)
    assert good > 100
    assert bad > 100


@pytest.mark.slow
def test_many_damaged_headers(tmp_path: Path, nifti: Any, full: Callable[[int], int]) -> None:
    rounds = full(30_000)
    good, bad = fuzz(tmp_path, nifti, rounds=rounds, seed=1)
    assert min(good, bad) > rounds // 3


def test_sizes_at_the_ends_of_their_range(tmp_path: Path, nifti: Any) -> None:
    content = nifti(tmp_path / "a.nii", ARRAY).read_bytes()
    path = tmp_path / "b.nii"
    found = []
    for index in range(8):
        for value in (-32768, -1, 0, 2, 32767):
            damaged = bytearray(content)
            struct.pack_into("<h", damaged, 40 + 2 * index, value)
            path.write_bytes(damaged)
            found.append(read_or_refuse(read_image, path))
    sizes = [image.array.size for image in found if image is not None]
    assert sizes, "some sizes do no harm"
    assert max(sizes) <= ARRAY.size
    assert len(sizes) < len(found), "others are refused"
