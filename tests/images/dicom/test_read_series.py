"""DICOM series as volumes: dcm2niix and SimpleITK see the same values in the same places."""

import shutil
import subprocess
import sysconfig
import tracemalloc
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from source_series import FLIP, make_series, oblique, repack, write_series

from attnseg.errors import DataError
from attnseg.images import Geometry, Image, Series, find_source, read_case, read_image, read_outline
from attnseg.images.dicom import attributes, choose_series, find_series

DCM2NIIX = Path(sysconfig.get_path("scripts")) / "dcm2niix"
REAL = [
    *(f"hippocampus_series/{name}_HCropVolume" for name in (11, 13, 14)),
    "torchio_dicom",
    *("dcmqi/ct-3slice", "dcmqi/23x38x3/image", "dcmqi/24x38x3/image"),
]
GRID = Geometry((7, 6, 5), np.diag([-0.8, -0.9, 2.5, 1.0]))


def values_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1024, 3000, shape).astype(np.int16)


def read(place: Path, series: str | None = None) -> Image:
    return read_image(find_source(place, series=series)[0])


def assert_same_voxels(image: Image, values: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel of the image is one of another grid, to a hundredth, and has its value."""
    assert image.array[0].size == values.size
    turn = np.linalg.inv(affine) @ image.geometry.affine
    exact = turn[:3, :3] @ np.indices(values_shape(image)).reshape(3, -1) + turn[:3, 3:]
    index = np.rint(exact).astype(int)
    assert np.abs(exact - index).max() < 0.01
    assert index.min() >= 0
    np.testing.assert_array_equal(image.array[0].ravel(), values[tuple(index)].astype(np.float32))


def values_shape(image: Image) -> tuple[int, ...]:
    return image.geometry.shape


def by_dcm2niix(folder: Path, output: Path) -> tuple[np.ndarray, np.ndarray]:
    output.mkdir()
    command = [DCM2NIIX, "-z", "n", "-f", "x", "-o", output, folder]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    (path,) = output.glob("*.nii")
    found = nibabel.load(path)
    return np.asarray(found.get_fdata()), found.affine


def by_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    found = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(found.GetDirection(), (3, 3)) * found.GetSpacing()
    affine[:3, 3] = found.GetOrigin()
    return sitk.GetArrayFromImage(found).T, FLIP @ affine


@pytest.mark.parametrize("name", REAL)
def test_real_series_by_two_other_readers(real_data: Path, tmp_path: Path, name: str) -> None:
    folder = real_data / "edge" / "dicom" / name
    image = read(folder)
    assert_same_voxels(image, *by_dcm2niix(folder, tmp_path / "nii"))
    assert_same_voxels(image, *by_simpleitk(folder))
    outline = read_outline((find_source(folder)[0],))
    np.testing.assert_array_equal(outline.geometry.affine, image.geometry.affine)
    assert (outline.geometry.shape, outline.channels) == (image.geometry.shape, 1)


@pytest.mark.parametrize("name", ["23x38x3", "24x38x3"])
def test_multi_frame_images_equal_their_classic_series(real_data: Path, name: str) -> None:
    folder = real_data / "edge" / "dicom" / "dcmqi" / name
    classic, enhanced = read(folder / "image"), read(folder / "multiframe" / "mf.dcm")
    np.testing.assert_array_equal(enhanced.array, classic.array)
    np.testing.assert_allclose(enhanced.geometry.affine, classic.geometry.affine, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_any_directions_whatever_the_names_of_the_files(tmp_path: Path, seed: int) -> None:
    grid = oblique(np.random.default_rng(seed), (7, 6, 5))
    values = values_of(grid.shape, seed)
    write_series(tmp_path / "ct", grid, values=values)
    image = read(tmp_path / "ct")
    assert_same_voxels(image, values, grid.affine)
    assert_same_voxels(image, *by_dcm2niix(tmp_path / "ct", tmp_path / "nii"))


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def change(image: Dataset, index: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = str(0.5 + index), str(-10 * index)

    values = values_of(GRID.shape)
    write_series(tmp_path, GRID, values=values, change=change)
    index = np.arange(GRID.shape[2])
    expected = values * (0.5 + index) - 10.0 * index
    assert_same_voxels(read(tmp_path), expected, GRID.affine)


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLSLossless, DeflatedExplicitVRLittleEndian], ids=lambda u: u.name
)
def test_packed_pixels(tmp_path: Path, syntax: str) -> None:
    def change(image: Dataset, index: int) -> None:
        if syntax == DeflatedExplicitVRLittleEndian:
            deflate(image, index)
        else:
            image.compress(syntax, generate_instance_uid=False)

    values = values_of(GRID.shape)
    write_series(tmp_path, GRID, values=values, change=change)
    assert_same_voxels(read(tmp_path), values, GRID.affine)


@pytest.mark.parametrize("kind", ["JPEGLosslessProcess14_1", "JPEG2000Lossless"])
def test_packed_by_gdcm_as_scanners_pack(tmp_path: Path, kind: str) -> None:
    grid = Geometry((70, 60, 2), GRID.affine)  # JPEG 2000 halves an image five times
    values = values_of(grid.shape)
    write_series(tmp_path / "raw", grid, values=values)
    repack(tmp_path / "raw", tmp_path / "packed", kind)
    one = pydicom.dcmread(next((tmp_path / "packed").iterdir()))
    assert one.file_meta.TransferSyntaxUID.is_compressed
    assert_same_voxels(read(tmp_path / "packed"), values, grid.affine)


@pytest.mark.parametrize(
    ("kind", "off"),
    [
        ("JPEGBaselineProcess1", 1),
        ("JPEGExtendedProcess2_4", 1),
        ("JPEGLosslessProcess14", 0),
        ("JPEGLSNearLossless", 3),
        ("ExplicitVRBigEndian", 0),
        ("ImplicitVRLittleEndian", 0),
    ],
)
def test_eight_bits_packed_or_in_other_orders(tmp_path: Path, kind: str, off: int) -> None:
    grid = Geometry((40, 36, 2), GRID.affine)
    columns, rows, _ = np.indices(grid.shape)
    values = 2 * columns + rows

    def change(image: Dataset, index: int) -> None:
        image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
        image.PixelRepresentation = 0
        image.PixelData = values[..., index].T.astype(np.uint8).tobytes()

    write_series(tmp_path / "raw", grid, values=values, change=change)
    repack(tmp_path / "raw", tmp_path / "packed", kind)
    one = pydicom.dcmread(next((tmp_path / "packed").iterdir()))
    assert one.file_meta.TransferSyntaxUID != pydicom.uid.ExplicitVRLittleEndian
    image = read(tmp_path / "packed")
    np.testing.assert_allclose(image.geometry.affine, grid.affine, atol=1e-6)
    np.testing.assert_allclose(image.array[0], values, atol=off)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_and_meta_information(tmp_path: Path, implicit: bool) -> None:
    values = values_of(GRID.shape)
    write_series(tmp_path / "ct", GRID, values=values)
    for path in (tmp_path / "ct").iterdir():
        bare = Dataset(pydicom.dcmread(path))
        bare.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    assert_same_voxels(read(tmp_path / "ct"), values, GRID.affine)


def test_archives_and_single_files(tmp_path: Path) -> None:
    values = values_of(GRID.shape)
    write_series(tmp_path / "ct", GRID, values=values)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (tmp_path / "ct").iterdir():
            archive.write(path, f"study/{path.name}")
    packed = read(tmp_path / "ct.zip")
    assert packed.name == "ct"
    np.testing.assert_array_equal(packed.array, read(tmp_path / "ct").array)
    single = read(sorted((tmp_path / "ct").iterdir())[0])
    assert single.geometry.shape == (7, 6, 1)
    assert single.geometry.spacing_mm[2] == pytest.approx(2.5)  # its slice thickness


def test_a_tilted_gantry_is_told_and_not_taken_as_straight(tmp_path: Path) -> None:
    def tilt(image: Dataset, index: int) -> None:
        x, y, z = map(float, image.ImagePositionPatient)
        image.ImagePositionPatient = [x, y + index * 2.5 * np.tan(np.radians(12)), z]

    values = values_of(GRID.shape)
    write_series(tmp_path / "ct", GRID, values=values, change=tilt)
    image = read(tmp_path / "ct")
    assert image.geometry.shear_degrees == pytest.approx(12)
    step = image.geometry.affine[:3, 2]
    np.testing.assert_allclose(np.abs(step), [0, 2.5 * np.tan(np.radians(12)), 2.5], atol=1e-6)
    with pytest.raises(DataError, match=r"12\.0° off right angles.*--straighten"):
        read_case((find_source(tmp_path / "ct")[0],))


def moved(which: int, by_mm: float):
    def change(image: Dataset, index: int) -> None:
        if index == which:
            x, y, z = map(float, image.ImagePositionPatient)
            image.ImagePositionPatient = [x, y, z + by_mm]

    return change


def set_for(which: int, **attributes: object):
    def change(image: Dataset, index: int) -> None:
        for keyword, value in attributes.items() if index == which else ():
            setattr(image, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (moved(2, 1.0), r"slices 1\.5 to 3\.5 mm apart, the widest between images 4 and 3"),
        (moved(2, 2.5), r"5 images in 4 places: time points, echoes"),
        (moved(4, 5.0), r"2 slice\(s\) missing, 2 of them between images 2 and 1 \(7\.5 mm"),
        (
            set_for(1, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
            "look in 2 directions, up to 90°",
        ),
        (set_for(1, PixelSpacing=[1.1, 0.8]), "differ in pixel spacing"),
        (set_for(1, Columns=6, Rows=7), r"several sizes \(6 × 7, 7 × 6\)"),
        (set_for(1, ImagePositionPatient=None), "Image Position"),
        (set_for(1, PixelSpacing=[0, 0]), "is absurd"),
        (set_for(1, RescaleSlope=0), "Rescale Slope is 0"),
        (set_for(1, SamplesPerPixel=3), "in colour"),
        (set_for(1, ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"]), "mosaic"),
        (set_for(1, PixelData=b"\0\0"), "damaged|cut short"),
    ],
)
def test_what_cannot_be_stacked_is_refused_in_one_line(tmp_path: Path, change, reason: str) -> None:
    write_series(tmp_path, GRID, values=values_of(GRID.shape), change=change)
    with pytest.raises(DataError, match=reason) as error:
        read(tmp_path)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_missing_slice_in_the_middle_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, GRID, values=values_of(GRID.shape))
    lost = [p for p in tmp_path.iterdir() if pydicom.dcmread(p).InstanceNumber == 3]
    lost[0].unlink()
    with pytest.raises(DataError, match=r"1 slice\(s\) missing, 1 of them between images 4 and 2"):
        read(tmp_path)


def test_of_three_slices_left_of_four_the_gap_is_told_too(tmp_path: Path) -> None:
    grid = Geometry((7, 6, 4), GRID.affine)
    write_series(tmp_path, grid, values=values_of(grid.shape))
    (lost,) = [path for path in tmp_path.iterdir() if pydicom.dcmread(path).InstanceNumber == 2]
    lost.unlink()
    with pytest.raises(DataError, match=r"1 slice\(s\) missing, 1 of them between images 3 and 1"):
        read(tmp_path)


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    huge = set_for(0, Rows=65535, Columns=65535)
    single = Geometry((7, 6, 1), GRID.affine)
    write_series(tmp_path, single, values=values_of(single.shape), change=huge)
    with pytest.raises(DataError, match="more than the file can hold"):
        read(tmp_path)


def study(folder: Path) -> list[Series]:
    """Three series: a localiser of nine images, a long one and a short one."""
    for number, (name, slices) in enumerate([("scout", 9), ("Thin", 6), ("Thick 5 mm", 3)], 1):
        grid = Geometry((7, 6, slices), GRID.affine)

        def change(image: Dataset, index: int, name: str = name, number: int = number) -> None:
            image.SeriesDescription, image.SeriesNumber = name, number
            image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if name == "scout" else "AXIAL"]

        write_series(folder / str(number), grid, values=values_of(grid.shape), change=change)
    return find_series(folder)


def test_the_largest_series_is_taken_and_told_or_the_one_asked_for(tmp_path: Path) -> None:
    found = study(tmp_path)
    assert [series.label for series in found] == [
        "CT, series 2, 6 images, Thin",
        "CT, series 3, 3 images, Thick 5 mm",
    ]
    series, note = choose_series(found)
    assert series == found[0]
    assert note.startswith("2 series: CT, series 2, 6 images, Thin; CT, series 3")
    assert note.endswith("took the largest, CT, series 2, 6 images, Thin: --series chooses")
    thick = found[1]
    for wanted in (thick.uid, thick.uid.rsplit(".", 1)[1], "3", "thick"):
        assert choose_series(found, wanted) == (thick, "")
    for wanted, count in (("coronal", 0), ("CT", 2)):
        with pytest.raises(DataError, match=f"--series {wanted} means {count} of its 2 series"):
            choose_series(found, wanted)
    assert read(tmp_path, "thick").geometry.shape == (7, 6, 3)


def test_localisers_alone_are_refused(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(DataError, match=r"localisers only \(9 images"):
        find_series(tmp_path / "1")


def test_copies_of_images_are_told_from_time_points(tmp_path: Path) -> None:
    write_series(tmp_path, GRID, values=values_of(GRID.shape))
    for path in list(tmp_path.iterdir()):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    with pytest.raises(DataError, match="5 of its 10 images are copies of others; remove them"):
        read(tmp_path)


@pytest.mark.parametrize("groups", [None, 1])
def test_frames_without_a_place_each_are_refused_at_once(
    tmp_path: Path, groups: int | None
) -> None:
    def change(image: Dataset, index: int) -> None:
        image.NumberOfFrames = 5 if groups is None else 10**9
        image.PixelData = image.PixelData * 5
        if groups:
            image.PerFrameFunctionalGroupsSequence = [Dataset()]

    single = Geometry((7, 6, 1), GRID.affine)
    write_series(tmp_path, single, values=values_of(single.shape), change=change)
    with pytest.raises(DataError, match=r"frames, and places of [01]; export it again"):
        read(tmp_path)


def test_high_bits_that_are_no_pixels_are_left_out(tmp_path: Path) -> None:
    """Twelve bits stored of sixteen: negative numbers without their sign, by dcm2niix too."""

    def change(image: Dataset, index: int) -> None:
        image.BitsStored, image.HighBit = 12, 11
        pixels = np.frombuffer(image.PixelData, "<u2") & 0x0FFF
        image.PixelData = pixels.astype("<u2").tobytes()

    values = values_of(GRID.shape).clip(-2048, 2047)
    write_series(tmp_path / "ct", GRID, values=values, change=change)
    assert_same_voxels(read(tmp_path / "ct"), values, GRID.affine)
    assert_same_voxels(read(tmp_path / "ct"), *by_dcm2niix(tmp_path / "ct", tmp_path / "nii"))


def test_dark_high_values_stay_as_stored_as_dcm2niix_keeps_them(tmp_path: Path) -> None:
    change = set_for(0, PhotometricInterpretation="MONOCHROME1")
    values = values_of(GRID.shape)
    write_series(tmp_path / "ct", GRID, values=values, change=change)
    image = read(tmp_path / "ct")
    assert image.notes == ("MONOCHROME1: high values are dark; they are kept as stored",)
    assert_same_voxels(image, values, GRID.affine)
    assert_same_voxels(image, *by_dcm2niix(tmp_path / "ct", tmp_path / "nii"))


def deflate(image: Dataset, index: int) -> None:
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def test_deflated_images_may_be_far_smaller_than_their_pixels(tmp_path: Path) -> None:
    grid = Geometry((256, 256, 2), GRID.affine)
    write_series(tmp_path, grid, values=np.zeros(grid.shape, np.int16), change=deflate)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10_000
    assert read(tmp_path).array.shape == (1, 256, 256, 2)


def test_what_unpacks_without_end_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "_MAX_INFLATED", 1 << 20)

    def change(image: Dataset, index: int) -> None:
        deflate(image, index)
        image.PixelData = bytes(1 << 22)

    write_series(tmp_path / "ct", GRID, values=values_of(GRID.shape), change=change)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.write(next((tmp_path / "ct").iterdir()), "1.dcm")
    for place in (tmp_path / "ct", tmp_path / "ct.zip"):
        with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
            find_series(place)


def test_members_of_archives_that_are_no_images_are_not_unpacked(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", GRID, values=values_of(GRID.shape))
    with zipfile.ZipFile(tmp_path / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (tmp_path / "ct").iterdir():
            archive.write(path, path.name)
        archive.writestr("video.bin", bytes(1 << 26))
    tracemalloc.start()
    (series,) = find_series(tmp_path / "ct.zip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(series.files) == 5
    assert peak < 1 << 24


def test_archives_that_lie_about_their_size_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_BZIP2, compresslevel=9) as archive:
        archive.writestr("1.dcm", bytes(1 << 24))
    with pytest.raises(DataError, match="no scan packs so well"):
        find_series(tmp_path / "bomb.zip")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("dcmqi/liver.dcm", "no DICOM scan but a segmentation"),
        ("dcmqi/partial_overlaps.dcm", "a segmentation"),
        ("dcmqi/sparse-labelmap-ppv5.dcm", "a segmentation"),
        ("dcmqi/24x38x3/seg/label.seg", "a segmentation"),
        ("highdicom/ct_image.dcm", ""),
        ("highdicom/dx_image.dcm", "no Image Position"),
        ("highdicom/seg_image_ct_true_fractional.dcm", "a segmentation"),
        ("highdicom/sm_annotations.dcm", "no DICOM scan but Microscopy Bulk Simple Annotations"),
        ("highdicom/sm_image.dcm", "whole-slide"),
        ("highdicom/sm_image_jpegls.dcm", "whole-slide"),
        ("highdicom/sr_document.dcm", "no DICOM scan but Comprehensive 3D SR"),
        ("highdicom/frame_rgb.jpeg", "holds no DICOM file"),
        ("dcmqi/ct-3slice/01.dcm", ""),
        ("dcmqi/23x38x3/nrrd/label.nrrd", "holds no DICOM file"),
    ],
)
def test_what_becomes_of_a_file(real_data: Path, name: str, outcome: str) -> None:
    path = real_data / "edge" / "dicom" / name
    if not outcome:
        assert read(path).geometry.shape[2] == 1
        return
    with pytest.raises(DataError, match=outcome) as error:
        read_image(find_series(path)[0])
    assert "\n" not in str(error.value)


def test_every_file_of_the_edge_set_is_read_or_refused_in_one_line(real_data: Path) -> None:
    files = [path for path in sorted((real_data / "edge" / "dicom").rglob("*")) if path.is_file()]
    scans, reasons = 0, []
    for path in files:
        try:
            image = read_image(find_series(path)[0])
        except DataError as error:
            reasons.append(str(error))
            continue
        reference = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(image.array[0].T, sitk.GetArrayFromImage(reference))
        scans += 1
    assert scans == 40 + 32 + 35 + 17 + 3 + 2 * (3 + 1) + 1
    assert all("\n" not in reason for reason in reasons)


def test_masks_do_not_come_out_of_a_series(tmp_path: Path) -> None:
    from attnseg.images import read_labels

    image = make_series(tmp_path, GRID)
    assert isinstance(image.path, Series)
    with pytest.raises(DataError, match="attnseg convert"):
        read_labels(image.path)
