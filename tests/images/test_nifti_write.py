"""Written masks: the scan's place bit for bit, as nibabel and SimpleITK see it, whole or not."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from small_disk import largest_file

from attnseg.errors import DiskFullError
from attnseg.images import (
    Geometry,
    Image,
    read_image,
    read_labels,
    smallest_integer_type,
    write_image,
    write_labels,
)

SHAPE = (7, 5, 3)
# Not the place that the sform says.
ELSEWHERE = np.array([[0, 0, -2.5, 40], [1.5, 0, 0, -9], [0, -0.5, 0, 3], [0, 0, 0, 1.0]])
GEOMETRY_FIELDS = (
    *("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
CODES = {"sform": (1, 0), "qform": (0, 1), "both": (4, 2), "neither": (0, 0)}
SOURCES = [
    pytest.param(codes, qform, id=name)
    for name, codes, qform in (
        *((name, codes, None) for name, codes in CODES.items()),
        ("conflicting", (1, 1), ELSEWHERE),
    )
]
FILES = [(1, "<"), (1, ">"), (2, "<"), (2, ">")]


def random_labels(values: tuple[int, ...], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).choice(np.array(values), shape)


def scan(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(1).normal(100, 20, shape).astype(np.float32)


@pytest.mark.parametrize(("codes", "qform"), SOURCES)
@pytest.mark.parametrize(("version", "endian"), FILES)
@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
def test_place_and_header_are_the_scans_own(
    tmp_path: Path, nifti: Any, codes: Any, qform: Any, version: int, endian: str, name: str
) -> None:
    source = nifti(
        tmp_path / "scan.nii", scan(), codes=codes, qform=qform, version=version, endian=endian
    )
    labels = random_labels((0, 1, 2))
    like = read_image(source)
    write_labels(tmp_path / name, labels, like=like, dtype=np.dtype(np.uint8))

    mask, oracle = nib.load(tmp_path / name), nib.load(source)
    assert type(mask.header) is type(oracle.header)
    assert np.array_equal(mask.affine, oracle.affine)
    for field in GEOMETRY_FIELDS:
        assert np.array_equal(mask.header[field], oracle.header[field]), field
    assert np.array_equal(mask.header["pixdim"][:4], oracle.header["pixdim"][:4])
    assert mask.get_data_dtype() == np.uint8
    assert mask.header.get_slope_inter() in {(None, None), (1.0, 0.0)}
    np.testing.assert_array_equal(np.asarray(mask.dataobj), labels)
    again = read_labels(tmp_path / name)
    assert np.array_equal(again.geometry.affine, like.geometry.affine)
    np.testing.assert_array_equal(again.array[0], labels)


TEXTS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")


@pytest.mark.parametrize("version", [1, 2])
def test_no_text_of_the_scan_comes_along(tmp_path: Path, version: int) -> None:
    """Scanners and converters name patients there, and behind the header in extensions."""
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(scan(), ELSEWHERE)
    fields = [field for field in TEXTS if field in image.header]
    for field in fields:
        image.header[field] = b"Zzyzx"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Zzyzx" * 9))
    nib.save(image, tmp_path / "scan.nii")
    assert (tmp_path / "scan.nii").read_bytes().count(b"Zzyzx") == len(fields) + 9

    like = read_image(tmp_path / "scan.nii")
    write_labels(tmp_path / "mask.nii", random_labels((0, 1)), like=like, dtype=np.dtype(np.uint8))
    write_image(tmp_path / "copy.nii", like)
    for name in ("mask.nii", "copy.nii"):
        assert b"Zzyzx" not in (tmp_path / name).read_bytes()
        written = nib.load(tmp_path / name)
        assert (written.header["descrip"], len(written.header.extensions)) == (b"attnseg", 0)
        assert not any(written.header[field] for field in fields if field != "descrip")
        np.testing.assert_array_equal(written.affine, image.affine)


def test_the_word_for_no_auxiliary_file_stays(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), ELSEWHERE)
    image.header["aux_file"] = b"none"
    nib.save(image, tmp_path / "scan.nii")
    like = read_image(tmp_path / "scan.nii")
    write_labels(tmp_path / "mask.nii", random_labels((0, 1)), like=like, dtype=np.dtype(np.uint8))
    assert nib.load(tmp_path / "mask.nii").header["aux_file"] == b"none"


def points(image: sitk.Image) -> np.ndarray:
    """Physical points (LPS) of the corners and of an inner voxel."""
    indices = [(0, 0, 0), (6, 0, 0), (0, 4, 0), (0, 0, 2), (6, 4, 2), (3, 1, 1)]
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in indices])


@pytest.mark.parametrize(("codes", "qform"), SOURCES)
@pytest.mark.parametrize("endian", "<>")
def test_simpleitk_sees_mask_and_scan_at_the_same_points(
    tmp_path: Path, nifti: Any, codes: Any, qform: Any, endian: str
) -> None:
    """NIfTI-1 only: SimpleITK does not read NIfTI-2 at all."""
    source = nifti(tmp_path / "scan.nii", scan(), codes=codes, qform=qform, endian=endian)
    labels, like = random_labels((0, 1, 2)), read_image(source)
    write_labels(tmp_path / "mask.nii.gz", labels, like=like, dtype=np.dtype(np.uint8))

    mask = sitk.ReadImage(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), labels.transpose(2, 1, 0))
    np.testing.assert_array_equal(points(mask), points(sitk.ReadImage(source)))
    if codes != (0, 0) and qform is None:  # without one true place ITK makes its own choice
        indices = np.array([(0, 0, 0), (6, 0, 0), (0, 4, 0), (0, 0, 2), (6, 4, 2), (3, 1, 1)])
        affine = like.geometry.affine
        world = indices @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_allclose(points(mask), world * (-1, -1, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0, 1), np.uint8),
        ((0, 255), np.uint8),
        ((0, 300), np.uint16),
        ((0, 70_000), np.uint32),
        ((0, 5_000_000_000), np.uint64),
        ((0, -1), np.int8),
        ((0, -1, 127), np.int8),
        ((0, -1, 128), np.int16),
        ((0, -200), np.int16),
        ((0, -1, 205, 500), np.int16),
        ((0, -1, 40_000), np.int32),
        ((0, -1, 2**40), np.int64),
    ],
)
def test_labels_take_the_smallest_type_and_come_back(
    tmp_path: Path, nifti: Any, values: tuple[int, ...], dtype: type
) -> None:
    chosen = smallest_integer_type(values)
    assert chosen == np.dtype(dtype)
    like = read_image(nifti(tmp_path / "scan.nii", scan()))
    labels = random_labels(values)
    write_labels(tmp_path / "mask.nii.gz", labels, like=like, dtype=chosen)
    back = read_labels(tmp_path / "mask.nii.gz").array
    assert back.dtype == chosen
    np.testing.assert_array_equal(back[0], labels)
    assert nib.load(tmp_path / "mask.nii.gz").get_data_dtype() == chosen


def test_no_type_holds_everything() -> None:
    with pytest.raises(AssertionError, match="no integer type"):
        smallest_integer_type((-1, 2**63))


def test_what_does_not_belong_to_the_mask_is_dropped(tmp_path: Path, nifti: Any) -> None:
    source = nifti(
        tmp_path / "scan.nii",
        scan(),
        extension=b"patient name",
        scl_slope=3.0,
        scl_inter=-5.0,
        cal_max=900.0,
        descrip=b"patient name",
    )
    write_labels(
        tmp_path / "mask.nii",
        random_labels((0, 1)),
        like=read_image(source),
        dtype=np.dtype(np.uint8),
    )
    mask = nib.load(tmp_path / "mask.nii")
    assert mask.header.extensions == []
    assert mask.header["cal_max"] == 0
    assert mask.header["descrip"] == b"attnseg"
    assert b"patient" not in (tmp_path / "mask.nii").read_bytes()
    assert (tmp_path / "mask.nii").stat().st_size == 352 + np.prod(SHAPE)
    np.testing.assert_array_equal(mask.get_fdata(), random_labels((0, 1)))


@pytest.mark.parametrize("codes", list(CODES.values()))
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1), (6, 4, 3, 2), (6, 4, 3, 1, 1)])
def test_masks_of_flat_and_of_4d_scans(
    tmp_path: Path, nifti: Any, shape: tuple[int, ...], codes: tuple[int, int]
) -> None:
    like = read_image(nifti(tmp_path / "scan.nii", scan(shape), codes=codes), num_channels=2)
    labels = random_labels((0, 3), like.geometry.shape)
    write_labels(tmp_path / "mask.nii", labels, like=like, dtype=np.dtype(np.uint8))
    mask = nib.load(tmp_path / "mask.nii")
    assert mask.shape == (shape if len(shape) == 2 else like.geometry.shape)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), labels.reshape(mask.shape))
    assert np.array_equal(mask.affine, nib.load(tmp_path / "scan.nii").affine)


def test_same_mask_same_bytes(tmp_path: Path, nifti: Any) -> None:
    """Neither the time nor the temporary name gets into the file."""
    like = read_image(nifti(tmp_path / "scan.nii", scan()))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(tmp_path / name, random_labels((0, 1)), like=like, dtype=np.dtype("u1"))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content[4:8] == b"\0\0\0\0"
    assert b"partial" not in content


@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 24])
def test_slices_are_written_in_order(
    tmp_path: Path, nifti: Any, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr("attnseg.images.streams._CHUNK_BYTES", chunk_bytes)
    like = read_image(nifti(tmp_path / "scan.nii", scan((5, 4, 9))))
    labels = np.arange(180).reshape(5, 4, 9)
    for array in (labels, np.asfortranarray(labels), labels[::-1].copy()[::-1]):
        write_labels(tmp_path / "mask.nii", array, like=like, dtype=np.dtype(np.uint8))
        np.testing.assert_array_equal(nib.load(tmp_path / "mask.nii").get_fdata(), labels)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_images_made_in_memory(tmp_path: Path, name: str, num_channels: int) -> None:
    affine = ELSEWHERE.astype(np.float32).astype(np.float64)
    array = np.stack([scan() + channel for channel in range(num_channels)])
    write_image(tmp_path / name, Image(array, Geometry(SHAPE, affine)))
    image = read_image(tmp_path / name, num_channels=num_channels)
    np.testing.assert_array_equal(image.array, array)
    assert np.array_equal(image.geometry.affine, affine)
    oracle = nib.load(tmp_path / name)
    np.testing.assert_array_equal(
        oracle.get_fdata().reshape(*SHAPE, num_channels), np.moveaxis(array, 0, -1)
    )
    np.testing.assert_allclose(oracle.get_qform(), affine, atol=1e-5)


def test_mask_of_an_image_made_in_memory(tmp_path: Path) -> None:
    like = Image(scan()[None], Geometry(SHAPE, ELSEWHERE))
    labels = random_labels((0, 7))
    write_labels(tmp_path / "mask.nii.gz", labels, like=like, dtype=np.dtype(np.uint8))
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), labels)
    np.testing.assert_array_equal(mask.affine, ELSEWHERE)


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, nifti: Any, name: str
) -> None:
    shape = (32, 32, 16)
    source = nifti(tmp_path / "scan.nii", np.zeros(shape, dtype="u1"))
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / name).write_bytes(b"old")
    labels = np.random.default_rng(0).integers(0, 256, shape)
    with largest_file(5000), pytest.raises(DiskFullError, match=f"{name}: larger than a file may"):
        write_labels(folder / name, labels, like=read_image(source), dtype=np.dtype(np.uint8))
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_bytes() == b"old"


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1)])
def test_the_mask_of_a_2d_file_is_2d(tmp_path: Path, codes: tuple[int, int]) -> None:
    source = nib.Nifti1Image(np.arange(12, dtype=np.int16).reshape(4, 3), None)
    source.header["pixdim"][1:4] = (0.5, 0.7, 3.0)
    affine = np.diag([0.5, 0.7, 3.0, 1.0])
    source.header.set_sform(affine, code=codes[0])
    source.header.set_qform(affine, code=codes[1])
    source.to_filename(tmp_path / "scan.nii")
    image = read_image(tmp_path / "scan.nii")
    labels = image.array[0] > 5
    write_labels(tmp_path / "mask.nii", labels, like=image, dtype=np.dtype(np.uint8))
    scan, mask = nib.load(tmp_path / "scan.nii"), nib.load(tmp_path / "mask.nii")
    assert mask.shape == scan.shape == (4, 3)
    assert mask.affine.tobytes() == scan.affine.tobytes()
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(scan.dataobj) > 5)
