"""Pairs of .hdr and .img, what is told of a NIfTI header's place, and SimpleITK's word on it."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import OBLIQUE, nifti_bytes

from attnseg.errors import DataError
from attnseg.images import Geometry, read_case, read_image, read_labels, read_outline, write_labels

ARRAY = np.random.default_rng(0).integers(-100, 100, (6, 5, 4)).astype("i2")


def save_pair(
    folder: Path,
    *,
    array: np.ndarray = ARRAY,
    version: int = 1,
    packed: bool = False,
    **options: Any,
) -> Path:
    """`a.hdr` and `a.img`, or `a.img.gz`."""
    magic = b"ni1" if version == 1 else b"ni2"
    content = nifti_bytes(array, version=version, magic=magic, vox_offset=16, **options)
    size = 348 if version == 1 else 540
    voxels = b"\0" * 16 + content[-array.nbytes :]
    (folder / "a.hdr").write_bytes(content[:size])
    if packed:
        (folder / "a.img.gz").write_bytes(gzip.compress(voxels))
    else:
        (folder / "a.img").write_bytes(voxels)
    return folder / "a.hdr"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "u8"])
@pytest.mark.parametrize(("version", "endian"), [(1, "<"), (1, ">"), (2, "<"), (2, ">")])
def test_pairs_are_read_as_nibabel_reads_them(
    tmp_path: Path, version: int, endian: str, dtype: str, packed: bool
) -> None:
    array = np.abs(ARRAY).astype(dtype)
    fields = {"scl_slope": 2.5, "scl_inter": -7.0} if dtype == "i2" else {}
    path = save_pair(tmp_path, array=array, version=version, endian=endian, packed=packed, **fields)
    image = read_image(path)
    if not packed:
        oracle = nib.load(path)
        np.testing.assert_array_equal(image.array[0], oracle.get_fdata().astype("f4"))
        assert np.array_equal(image.geometry.affine, oracle.affine)
    expected = array * 2.5 - 7 if fields else array
    np.testing.assert_array_equal(image.array[0], expected.astype("f4"))
    assert image.name == "a"
    outline = read_outline((path,))
    assert np.array_equal(outline.geometry.affine, image.geometry.affine)
    assert outline.stored_bytes == array.nbytes


@pytest.mark.parametrize("version", [1, 2])
def test_the_mask_of_a_pair_is_one_file_with_its_fields(tmp_path: Path, version: int) -> None:
    path = save_pair(tmp_path, version=version, codes=(2, 1), qform=np.diag([-2.0, 3, 4, 1]))
    like, mask = read_image(path), tmp_path / "mask.nii.gz"
    write_labels(mask, np.abs(ARRAY), like=like, dtype=np.dtype("u1"))
    np.testing.assert_array_equal(read_labels(mask).array[0], np.abs(ARRAY))
    scan, written = nib.load(path).header, nib.load(mask).header
    names = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x"]
    for name in [*names, "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"]:
        assert scan[name].tobytes() == written[name].tobytes(), name
    assert scan["pixdim"][:4].tobytes() == written["pixdim"][:4].tobytes()


def test_half_a_pair(tmp_path: Path) -> None:
    path = save_pair(tmp_path)
    for name in ("a.img", "a.img.gz"):
        content = (tmp_path / "a.img").read_bytes()
        (tmp_path / "b").mkdir(exist_ok=True)
        image = tmp_path / "b" / name
        image.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        with pytest.raises(DataError, match=r"half of a pair; give the header beside it, a\.hdr"):
            read_image(image)
    (tmp_path / "a.img").write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"a\.img: cut short: the header promises 240 bytes"):
        read_outline((path,))
    (tmp_path / "a.img").unlink()
    with pytest.raises(DataError, match=r"a\.hdr: its voxels are not there \(a\.img\)"):
        read_image(path)


def test_a_single_file_by_the_name_of_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(nifti_bytes(ARRAY))
    (tmp_path / "a.img").write_bytes(ARRAY.tobytes("F"))
    with pytest.raises(DataError, match="damaged header"):
        read_image(tmp_path / "a.hdr")


def test_analyze_does_not_say_which_side_is_left(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(ARRAY, np.diag([1.0, 2, 3, 1])), tmp_path / "a.img")
    with pytest.raises(DataError, match=r"a\.hdr: an Analyze 7\.5 header.*convert it to NIfTI"):
        read_image(tmp_path / "a.hdr")


def nudged(mm: float) -> np.ndarray:
    affine = OBLIQUE.copy()
    affine[0, 3] += mm
    return affine


# The smallest spacing is 0.7 mm, and a tenth of it is rounding.
@pytest.mark.parametrize(("mm", "told"), [(0.0, False), (0.06, False), (0.08, True), (30.0, True)])
def test_sform_and_qform_that_disagree_are_told(
    tmp_path: Path, nifti: Any, mm: float, told: bool
) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, qform=nudged(mm))
    for image in (read_image(path), read_labels(path), read_case((path,))):
        assert np.array_equal(image.geometry.affine, nib.load(path).get_sform())
        assert bool(image.notes) == told
        if told:
            assert f"sform and qform place a corner {mm:.3g} mm apart" in image.notes[0]
    turned = OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0])
    assert "mm apart" in read_image(nifti(tmp_path / "b.nii", ARRAY, qform=turned)).notes[0]
    for codes in ((1, 0), (0, 1)):
        one = nifti(tmp_path / "c.nii", ARRAY, qform=nudged(mm), codes=codes)
        assert read_image(one).notes == ()


def test_a_qform_that_is_no_place_is_told(tmp_path: Path, nifti: Any) -> None:
    path = nifti(tmp_path / "a.nii", ARRAY, quatern_b=3.0)
    assert "inf mm apart" in read_image(path).notes[0]


def test_a_place_by_spacings_alone_is_told(tmp_path: Path, nifti: Any) -> None:
    image = read_image(nifti(tmp_path / "a.nii", ARRAY, codes=(0, 0)))
    assert "neither sform nor qform has a code" in image.notes[0]
    assert image.geometry.orientation == "LAS"


def test_units_other_than_millimetres_are_told(tmp_path: Path, nifti: Any) -> None:
    for code, words in ((1, "metres"), (3, "micrometres")):
        image = read_image(nifti(tmp_path / "a.nii", ARRAY, xyzt_units=code))
        assert image.notes == (f"its header gives lengths in {words}; taken as mm",)
    for code in (0, 2, 10):
        assert read_image(nifti(tmp_path / "a.nii", ARRAY, xyzt_units=code)).notes == ()


@pytest.mark.parametrize(
    ("degrees", "told"),
    [(0.0, ""), (0.04, ""), (0.06, "0.06°"), (0.3, "0.3°"), (0.99, "0.99°"), (1.01, None)],
)
def test_axes_askew(tmp_path: Path, nifti: Any, degrees: float, told: str | None) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:2, 1] = 3 * np.sin(np.radians(degrees)), 3 * np.cos(np.radians(degrees))
    path = nifti(tmp_path / "a.nii", ARRAY, affine=affine, codes=(1, 0))
    if told is None:
        for read in (read_case, read_outline):
            with pytest.raises(DataError, match=r"its axes are 1\.0° off right angles"):
                read((path,))
        return
    expected = (f"axes {told} off right angles; taken as straight",) if told else ()
    assert read_case((path,)).notes == expected


GRIDS = {
    "oblique": OBLIQUE,
    "flipped": np.diag([-0.7, 1.5, -4.0, 1.0]),
    "permuted": np.array([[0, 0, 4, 1], [-0.7, 0, 0, 2], [0, 1.5, 0, 3], [0, 0, 0, 1.0]]),
    "mirrored": OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0]),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_the_same_voxel_lies_at_simpleitks_place(
    tmp_path: Path, nifti: Any, grid: str, endian: str, dtype: str
) -> None:
    array = np.abs(ARRAY).astype(dtype)
    path = nifti(tmp_path / "a.nii.gz", array, affine=GRIDS[grid], endian=endian)
    image, oracle = read_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(image.array[0].T, sitk.GetArrayFromImage(oracle).astype("f4"))
    for voxel in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (5, 4, 3)):
        place = image.geometry.affine @ [*voxel, 1]
        expected = oracle.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(place[:3] * (-1, -1, 1), expected, rtol=0, atol=2e-5)


def test_orientation_of_those_grids() -> None:
    found = {name: Geometry((6, 5, 4), affine).orientation for name, affine in GRIDS.items()}
    assert found == {"oblique": "RAS", "flipped": "LAI", "permuted": "PSR", "mirrored": "LAS"}


def spacings(*steps: float) -> list[float]:
    return [1.0, *steps, 1.0, 1.0, 1.0, 1.0]


def header_of(path: Path) -> nib.Nifti1Header:
    """As stored: nibabel corrects what it loads."""
    return nib.Nifti1Header(path.read_bytes()[:348], check=False)


def test_a_2d_file_whose_unused_spacing_is_zero(tmp_path: Path, nifti: Any) -> None:
    """nnU-Net's #2809: dim[0] is 2, pixdim[3] is 0; nibabel and ITK take 1."""
    affine = np.diag([0.5, 0.7, 1.0, 1.0])
    for unused in (0.0, np.nan, np.inf):
        steps = spacings(0.5, 0.7, unused)
        scan = {"affine": affine, "codes": (0, 1), "pixdim": steps}
        path = nifti(tmp_path / "a.nii", ARRAY[:, :, 0], **scan)
        image, mask = read_image(path), read_labels(path)
        assert image.geometry.shape == (*ARRAY.shape[:2], 1)
        np.testing.assert_allclose(image.geometry.spacing_mm, (0.5, 0.7, 1.0))
        assert image.notes == mask.notes == ()
        out = tmp_path / "mask.nii"
        write_labels(out, mask.array[0], like=image, dtype=np.dtype("u1"))
        ours, theirs = (header_of(each) for each in (out, path))
        for field in ("pixdim", "qoffset_x", "quatern_d", "qform_code", "sform_code", "srow_x"):
            assert ours[field].tobytes() == theirs[field].tobytes()
        assert np.array_equal(read_labels(out).geometry.affine, image.geometry.affine)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_without_a_spacing(
    tmp_path: Path, nifti: Any, codes: tuple[int, int], axis: int
) -> None:
    steps = np.array([0.5, 2.0, 3.0])
    steps[axis] = 0
    slices = np.take(ARRAY, [0], axis=axis)
    scan = {"affine": np.diag([*steps, 1]), "codes": codes, "pixdim": spacings(*steps)}
    path = nifti(tmp_path / "a.nii", slices, qform=np.eye(4), **scan)
    steps[axis] = 1
    image = read_image(path)
    np.testing.assert_allclose(image.geometry.spacing_mm, steps)
    assert "its header gives no spacing along an axis of one voxel; 1 mm is taken" in image.notes
    assert image.geometry.shear_degrees == 0


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 5, 1), (1, 1, 5), (1, 1, 1)])
def test_a_row_and_a_single_voxel_without_spacings(
    tmp_path: Path, nifti: Any, codes: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    steps = np.where(np.array(shape) > 1, 0.5, 0.0)
    scan = {"affine": np.diag([*steps, 1]), "codes": codes, "pixdim": spacings(*steps)}
    path = nifti(tmp_path / "a.nii", np.ones(shape, np.int16), qform=np.eye(4), **scan)
    image = read_image(path)
    assert image.geometry.shape == shape
    np.testing.assert_allclose(image.geometry.spacing_mm, np.where(np.array(shape) > 1, 0.5, 1))
    assert image.geometry.shear_degrees == 0
    assert "its header gives no spacing along an axis of one voxel; 1 mm is taken" in image.notes


@pytest.mark.parametrize("codes", [(0, 1), (0, 0)])
@pytest.mark.parametrize("step", [np.nan, np.inf])
def test_a_spacing_of_a_single_slice_that_is_no_number(
    tmp_path: Path, nifti: Any, codes: tuple[int, int], step: float
) -> None:
    pixdim = spacings(0.5, 2.0, step)
    path = nifti(tmp_path / "a.nii", ARRAY[:, :, :1], qform=np.eye(4), codes=codes, pixdim=pixdim)
    image = read_image(path)
    np.testing.assert_allclose(image.geometry.spacing_mm, (0.5, 2, 1))
    assert np.isfinite(image.geometry.affine).all()
    assert "its header gives no spacing along an axis of one voxel; 1 mm is taken" in image.notes
    several = nifti(tmp_path / "b.nii", ARRAY, qform=np.eye(4), codes=codes, pixdim=pixdim)
    with pytest.raises(DataError, match=r"zero, undefined"):
        read_image(several)


def test_a_file_of_one_axis(tmp_path: Path, nifti: Any) -> None:
    path = nifti(tmp_path / "a.nii", np.arange(5, dtype=np.int16))
    image = read_image(path)
    assert image.array.ravel().tolist() == [0, 1, 2, 3, 4]
    assert image.geometry.shape == (5, 1, 1)
    out = tmp_path / "mask.nii"
    write_labels(out, image.array[0] > 2, like=image, dtype=np.dtype("u1"))
    assert nib.load(out).shape == (5,)  # as its source
    assert read_labels(out).array.ravel().tolist() == [0, 0, 0, 1, 1]


def test_a_flat_sform_of_a_2d_file(tmp_path: Path, nifti: Any) -> None:
    flat = np.array([[0, -0.5, 0, 3], [0.7, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    image = read_image(nifti(tmp_path / "a.nii", ARRAY[:, :, 0], affine=flat, codes=(1, 0)))
    np.testing.assert_allclose(image.geometry.affine[:3, 2], [0, 0, 1])
    assert image.geometry.affine[0, 1] == -0.5
    assert image.notes == ()


@pytest.mark.parametrize("version", [1, 2])
def test_a_sform_of_zeros_beside_a_whole_qform(tmp_path: Path, nifti: Any, version: int) -> None:
    path = nifti(
        tmp_path / "a.nii", ARRAY, version=version, affine=np.zeros((4, 4)), qform=OBLIQUE,
        pixdim=spacings(0.7, 1.5, 4.0),
    )  # fmt: skip
    for image in (read_image(path), read_labels(path)):
        np.testing.assert_allclose(image.geometry.affine, OBLIQUE, atol=1e-5)
        assert image.notes == ("its sform is all zeros; the qform is taken",)
    # A sform of zeros alone leaves nothing to go by, and one that is flat is no oversight.
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    for affine, codes in ((np.zeros((4, 4)), (1, 0)), (flat, (1, 1))):
        other = nifti(tmp_path / "b.nii", ARRAY, affine=affine, qform=np.eye(4), codes=codes)
        with pytest.raises(DataError, match=r"zero, undefined .* \(spacings .* mm, origin"):
            read_image(other)


def test_a_quaternion_of_zeros_is_no_rotation(tmp_path: Path, nifti: Any) -> None:
    zeros = dict.fromkeys(("quatern_b", "quatern_c", "quatern_d"), 0)
    sloppy = [0.0, -0.5, 2, 3, 0, 0, 0, 0]
    path = nifti(tmp_path / "a.nii", ARRAY, codes=(0, 1), pixdim=sloppy, **zeros)
    geometry = read_image(path).geometry
    np.testing.assert_allclose(geometry.affine[:3, :3], np.diag([0.5, 2, 3]))


@pytest.mark.parametrize("shape", [(9, 8, 1), (9, 1, 8), (1, 9, 8), (9, 8, 1, 1), (9, 8)])
@pytest.mark.parametrize("across", [999.0, 0.02])
def test_one_slice_along_any_axis(
    tmp_path: Path, nifti: Any, shape: tuple[int, ...], across: float
) -> None:
    steps = [across if n == 1 else 0.02 for n in (*shape, 1)[:3]]
    path = nifti(tmp_path / "a.nii.gz", np.zeros(shape, "u1"), affine=np.diag([*steps, 1]))
    image = read_image(path)
    assert image.geometry.shape == (*shape, 1)[:3]
    np.testing.assert_allclose(image.geometry.spacing_mm, steps, rtol=1e-6)
    assert image.notes == ()


def test_voxels_of_a_microscope(tmp_path: Path, nifti: Any) -> None:
    """5 nm a side: far below a millimetre, and no zero."""
    image = read_image(nifti(tmp_path / "a.nii", ARRAY, affine=np.diag([5e-6, 5e-6, 5e-6, 1])))
    np.testing.assert_allclose(image.geometry.spacing_mm, 5e-6)
