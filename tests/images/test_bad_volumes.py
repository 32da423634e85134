"""NRRD, MetaImage, MGH and pairs of files that cannot be used: refused in one line, no memory."""

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from attnseg.errors import DataError
from attnseg.images import read_case, read_image, read_labels, read_outline

RAW = np.arange(24, dtype="<i2").tobytes()
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "1 2 3",
    "DimSize": "4 3 2",
    "ElementType": "MET_SHORT",
}


def nrrd(path: Path, changes: dict[str, str | None], content: bytes = RAW) -> Path:
    """Write a file whose header has these fields changed; None leaves one out."""
    fields = {key: value for key, value in {**NRRD, **changes}.items() if value is not None}
    text = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"
    path.write_bytes(text.encode() + content)
    return path


def meta(
    path: Path, changes: dict[str, str | None], content: bytes = RAW, *, data: str = "LOCAL"
) -> Path:
    """Write a file whose header has these fields changed; None leaves one out."""
    fields = {key: value for key, value in {**META, **changes}.items() if value is not None}
    text = "".join(f"{key} = {value}\n" for key, value in fields.items())
    path.write_bytes(f"{text}ElementDataFile = {data}\n".encode() + content)
    return path


def assert_refused(path: Path, rule: str, *, by_header: bool = True) -> None:
    """All readers refuse it in one line, before they take any memory to speak of."""
    readers: list[Any] = [read_image, read_labels]
    if by_header:
        readers.append(lambda path: read_outline((path,)))
    tracemalloc.start()
    try:
        for read in readers:
            with pytest.raises(DataError, match=rule) as error:
                read(path)
            assert str(error.value).startswith(str(path.parent))
            assert "\n" not in str(error.value)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_files_that_are_changed_below_are_good(tmp_path: Path) -> None:
    expected = np.arange(24).reshape(2, 3, 4).T
    for path in (nrrd(tmp_path / "a.nrrd", {}), meta(tmp_path / "a.mha", {})):
        image = read_image(path)
        np.testing.assert_array_equal(image.array[0], expected)
        assert image.geometry.orientation == "LPS"
        np.testing.assert_array_equal(image.geometry.affine[:3, 3], (-1, -2, 3))
        assert image.notes == ()


HUGE = "10000 10000 10000"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sizes": HUGE}, "promises 2000000000000 bytes of voxels, more than the file can hold"),
        ({"sizes": HUGE, "encoding": "gzip"}, "promises 2000000000000 bytes"),
        ({"sizes": "4 3 3"}, "promises 72 bytes of voxels, more than the file can hold"),
        ({"sizes": "4 3 0"}, r"unusable header \(sizes: '4 3 0'\)"),
        ({"sizes": "4 3 -2"}, "sizes"),
        ({"sizes": "4 3"}, "sizes"),
        ({"sizes": "4 3 " + "9" * 5000}, "sizes"),
        ({"sizes": "4 3 ２"}, "sizes"),
        ({"space directions": "(1,0,0) (0,nan,0) (0,0,3)"}, "space directions"),
        ({"space directions": "(1,0,0) (0,0,0) (0,0,3)"}, "zero, undefined or absurd spacing"),
        ({"space directions": "(1,0,0) (2,0,0) (0,0,3)"}, "zero, undefined or absurd spacing"),
        ({"space directions": "(1,0,0) (0,1e30,0) (0,0,3)"}, "absurd spacing"),
        ({"space directions": "(1,0,0) (0,2,0) (0,0)"}, "space directions"),
        ({"space directions": "(1,0,0) 0,2,0) (0,0,3)"}, "space directions"),
        ({"space origin": "(1,inf,3)"}, "space origin"),
        ({"space directions": None}, "which tell no directions"),
        ({"space": "inferior-left"}, r"unusable header \(space: 'inferior-left'\)"),
        ({"space": None}, "space"),
        ({"type": "block"}, "voxels of type 'block'"),
        ({"type": None}, "voxels of type ''"),
        ({"endian": None}, "endian"),
        ({"encoding": "ascii"}, "encoding 'ascii' is not read; save it with encoding raw or gzip"),
        ({"encoding": "bzip2"}, "encoding 'bzip2' is not read"),
        ({"encoding": "gzip"}, "cut short or damaged"),
        ({"dimension": "5"}, "dimension '5' where"),
        ({"dimension": "1"}, "dimension '1' where"),
        ({"line skip": "3"}, "line skip"),
        ({"byte skip": "-2"}, "byte skip"),
        ({"byte skip": "-1"}, "byte skip"),
        ({"byte skip": "1"}, "promises 48 bytes of voxels, more"),
        ({"spcae origin": "(1,2,3)"}, "line: 'spcae origin"),
        ({"kinds": "vector domain list"}, "two or three of space and at most one of channels"),
        ({"data file": "../a.raw"}, r"'../a.raw', which is not one file beside it"),
        ({"data file": "/etc/passwd"}, "not one file beside it"),
        ({"data file": "LIST"}, "not one file beside it"),
        ({"data file": "LIST 2"}, "not one file beside it"),
        ({"data file": "a%03d.raw 1 4 1"}, "not one file beside it"),
        ({"data file": "a\x00.raw"}, "not one file beside it"),
        ({"data file": ".."}, "not one file beside it"),
        ({"data file": "b.raw"}, r"its voxels are not there \(b\.raw\)"),
        ({"data file": "x" * 5000}, "its voxels are not there"),
    ],
)
def test_nrrd(tmp_path: Path, changes: dict[str, str | None], rule: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", changes)
    assert_refused(path, rule, by_header=rule != "cut short or damaged")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"DimSize": HUGE}, "promises 2000000000000 bytes of voxels, more than the file can hold"),
        ({"DimSize": HUGE, "CompressedData": "True"}, "promises 2000000000000 bytes"),
        (
            {"DimSize": HUGE, "CompressedData": "True", "CompressedDataSize": "9" * 18},
            "promises 2000000000000 bytes",
        ),
        ({"DimSize": "4 3 3"}, "promises 72 bytes of voxels, more"),
        ({"DimSize": "4 3 3", "HeaderSize": "-1"}, "promises 72 bytes of voxels, more"),
        ({"DimSize": "4 3 0"}, r"unusable header \(DimSize: '4 3 0'\)"),
        ({"DimSize": None}, "DimSize"),
        ({"NDims": "5"}, "NDims '5' where"),
        ({"NDims": None}, "NDims '' where"),
        ({"ObjectType": "Tube"}, r"unusable header \(ObjectType: 'Tube'\)"),
        ({"ElementSpacing": "1 0 3"}, "zero, undefined or absurd spacing"),
        ({"ElementSpacing": "1 nan 3"}, "ElementSpacing"),
        ({"ElementSpacing": "1 2"}, "ElementSpacing"),
        ({"Offset": "1 2 inf"}, "Offset"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "zero, undefined or absurd spacing"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0"}, "TransformMatrix"),
        ({"ElementType": "MET_STRING"}, "voxels of type 'MET_STRING'"),
        ({"BinaryData": "False"}, "voxels written as text are not read"),
        ({"CompressedData": "maybe"}, "CompressedData"),
        ({"CompressedData": "True"}, "cut short or damaged"),
        ({"ElementToIntensityFunctionSlope": "2"}, "which readers take differently"),
        ({"ElementToIntensityFunctionOffset": "-1024"}, "which readers take differently"),
        ({"ElementNumberOfChannels": "0"}, "ElementNumberOfChannels"),
        ({"ElementNumberOfChannels": "2"}, "where a 3D image|promises 96 bytes"),
        ({"HeaderSize": "10"}, "HeaderSize"),
    ],
)
def test_metaimage(tmp_path: Path, changes: dict[str, str | None], rule: str) -> None:
    path = meta(tmp_path / "a.mha", changes)
    assert_refused(path, rule, by_header=rule != "cut short or damaged")


@pytest.mark.parametrize(
    "data", ["../a.raw", "/etc/passwd", "LIST", "LIST 2", "a%03d.raw 1 4 1", "..", "sub/a.raw"]
)
def test_metaimage_whose_voxels_lie_elsewhere(tmp_path: Path, data: str) -> None:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "a.raw").write_bytes(RAW)
    assert_refused(meta(tmp_path / "sub/a.mhd", {}, b"", data=data), "not one file beside it")


def test_voxels_beside_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"head" + RAW)
    for path in (
        meta(tmp_path / "a.mhd", {"HeaderSize": "4"}, b"", data="a.raw"),
        meta(tmp_path / "b.mhd", {"HeaderSize": "-1"}, b"", data="a.raw"),
        nrrd(tmp_path / "a.nhdr", {"data file": "./a.raw", "byte skip": "4"}, b""),
        nrrd(tmp_path / "b.nhdr", {"data file": "a.raw", "byte skip": "-1"}, b""),
    ):
        np.testing.assert_array_equal(read_image(path).array[0].T.ravel(), np.arange(24))
    (tmp_path / "a.raw").write_bytes(RAW[:-1])
    assert_refused(meta(tmp_path / "a.mhd", {}, b"", data="a.raw"), r"a\.raw: cut short")
    assert_refused(nrrd(tmp_path / "a.nhdr", {"data file": "a.raw"}, b""), r"a\.raw: cut short")


@pytest.mark.parametrize("size", [True, False])
def test_a_compressed_metaimage_is_checked_to_its_last_bit(tmp_path: Path, size: bool) -> None:
    """SimpleITK gives what it has, and reads nothing where the size is not said."""
    array = np.random.default_rng(0).integers(0, 9, 30 * 40 * 50).astype("<i2")
    packed = zlib.compress(array.tobytes())
    changes = {"CompressedData": "True", "DimSize": "50 40 30"}
    if size:
        changes["CompressedDataSize"] = str(len(packed))
    path = tmp_path / "a.mha"
    whole = read_image(meta(path, changes, packed)).array[0]
    np.testing.assert_array_equal(whole.T.ravel(), array)
    for damaged in (packed[:-1], packed[:-300], packed[: len(packed) // 2]):
        assert_refused(meta(path, changes, damaged), "cut short or damaged", by_header=False)
    for place in (-1, -3, len(packed) // 2):
        flipped = bytearray(packed)
        flipped[place] ^= 1
        rule = "cut short or damaged"
        with pytest.raises(DataError, match=rule):
            read_image(meta(path, changes, bytes(flipped)))


def test_a_packed_nrrd_that_ends_early(tmp_path: Path) -> None:
    packed = gzip.compress(RAW[:-1])
    path = nrrd(tmp_path / "a.nrrd", {"encoding": "gzip"}, packed)
    assert_refused(
        path, "cut short: 47 bytes of voxels where the header promises 48", by_header=False
    )
    path = nrrd(tmp_path / "a.nrrd", {"encoding": "gzip"}, gzip.compress(RAW)[:-12])
    assert_refused(path, "cut short or damaged", by_header=False)
    path = nrrd(
        tmp_path / "a.nrrd", {"encoding": "gzip", "byte skip": "4"}, gzip.compress(b"head" + RAW)
    )
    np.testing.assert_array_equal(read_image(path).array[0].T.ravel(), np.arange(24))


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.mgh", "a.mgz"])
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n", "git lfs"),
        (b"\x00\x01\x02" * 500, "not an? (NRRD|MetaImage|MGH) file"),
        (b"x" * (3 << 20), "no end|not an MGH file"),
    ],
)
def test_not_such_a_file(tmp_path: Path, name: str, content: bytes, rule: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, rule)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mgz", "a.hdr"])
def test_missing(tmp_path: Path, name: str) -> None:
    assert_refused(tmp_path / name, "no such file")


def test_what_is_left_open_is_told(tmp_path: Path) -> None:
    def notes(path: Path) -> str:
        return " ".join(read_case((path,)).notes)

    path = tmp_path / "a.nrrd"
    spaced = {"space": None, "space directions": None, "space origin": None}
    assert "gives no directions; axes" in notes(nrrd(path, {**spaced, "spacings": "1 2 3"}))
    assert "neither spacings nor directions" in notes(nrrd(path, spaced))
    assert "no space origin" in notes(nrrd(path, {"space origin": None}))
    assert "names no sides" in notes(nrrd(path, {"space": "scanner-xyz"}))
    assert "lengths in" in notes(nrrd(path, {"space units": '"m" "m" "m"'}))
    assert notes(nrrd(path, {"space units": '"mm" "mm" "mm"'})) == ""
    askew = nrrd(path, {"space directions": "(1,0,0) (0.01,2,0) (0,0,3)"})
    assert notes(askew) == "axes 0.29° off right angles; taken as straight"
    path = tmp_path / "a.mha"
    assert "no TransformMatrix and no Offset" in notes(
        meta(path, {"TransformMatrix": None, "Offset": None})
    )
    assert "no ElementSpacing" in notes(meta(path, {"ElementSpacing": None}))
    assert notes(meta(path, {"ElementSpacing": None, "ElementSize": "1 2 3"})) == ""


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
@pytest.mark.parametrize(
    ("offset", "kind", "value", "rule"),
    [
        (0, ">i", 2, "not an MGH file"),
        (4, ">i", 100_000, "promises .* bytes of voxels, more than the file can hold"),
        (8, ">i", 0, "is not a volume"),
        (12, ">i", -4, "is not a volume"),
        (20, ">i", 9, "unknown type of voxels, code 9"),
        (30, ">f", 0.0, "zero, undefined or absurd spacing"),
        (34, ">f", np.nan, "zero, undefined or absurd spacing"),
        (82, ">f", np.inf, "zero, undefined or absurd spacing or origin"),
    ],
)
def test_mgh(tmp_path: Path, name: str, offset: int, kind: str, value: float, rule: str) -> None:
    nib.save(nib.MGHImage(np.zeros((400, 3, 2), "f4"), np.diag([1, 2, 3, 1.0])), tmp_path / "b.mgh")
    content = bytearray((tmp_path / "b.mgh").read_bytes())
    struct.pack_into(kind, content, offset, value)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("z") else content)
    assert_refused(path, rule)


def test_a_single_slice_without_a_step(tmp_path: Path) -> None:
    """No voxel takes the step; 1 mm square to the others, and told."""
    content = RAW[:24]
    directions = "(1,0,0) (0,2,0) (0,0,0)"
    slices = [
        nrrd(tmp_path / "a.nrrd", {"sizes": "4 3 1", "space directions": directions}, content),
        meta(tmp_path / "a.mha", {"DimSize": "4 3 1", "ElementSpacing": "1 2 0"}, content),
    ]
    for path in slices:
        image = read_image(path)
        np.testing.assert_allclose(image.geometry.spacing_mm, (1, 2, 1))
        assert image.notes[-1].startswith("its header gives no spacing along an axis of one voxel")
