"""DICOM segmentations written: what highdicom, pydicom and dcmqi make of them."""

import logging
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from source_series import ellipsoids, make_series, oblique, stacked
from three_readers import assert_same_places, by_dcmqi, by_highdicom, by_pydicom

import attnseg
from attnseg.errors import DataError, UsageError
from attnseg.images import Geometry, Image, Series, write_labels
from attnseg.images.dicom import label_maps, read_rtstruct, read_seg, write_rtstruct, write_seg

NAMES = {1: "left hippocampus", 205: "Größe α"}


@pytest.mark.parametrize("series", ["11_HCropVolume", "13_HCropVolume", "14_HCropVolume"])
def test_three_readers_see_each_voxel_where_the_nifti_has_it(
    real_data: Path, tmp_path: Path, series: str
) -> None:
    like = stacked(real_data / "edge" / "dicom" / "hippocampus_series" / series)
    labels = ellipsoids(like.geometry.shape)
    path = tmp_path / "mask.seg.dcm"
    write_labels(path, labels, like=like, dtype=labels.dtype, names=NAMES)
    write_labels(tmp_path / "mask.nii.gz", labels, like=like, dtype=labels.dtype)
    nifti = nibabel.load(tmp_path / "mask.nii.gz")
    places = np.asarray(nifti.dataobj), Geometry(nifti.shape, nifti.affine)
    assert_same_places(by_highdicom(path), *places)
    assert_same_places(by_pydicom(path), *places)
    assert_same_places(by_dcmqi(path, tmp_path / "dcmqi"), *places)


def test_oblique_grids_by_three_readers(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(9), (21, 17, 9)))
    labels = ellipsoids(like.geometry.shape)
    path = tmp_path / "mask.seg.dcm"
    write_seg(path, labels, like=like, names=NAMES)
    assert_same_places(by_highdicom(path), labels, like.geometry)
    assert_same_places(by_pydicom(path), labels, like.geometry)
    assert_same_places(by_dcmqi(path, tmp_path / "dcmqi"), labels, like.geometry)


@pytest.mark.slow
def test_random_labels_on_random_grids_come_back(
    tmp_path: Path, full: Callable[[int], int]
) -> None:
    for seed in range(full(400)):
        chance = np.random.default_rng(seed)
        shape = (*chance.integers(3, 12, size=2).tolist(), int(chance.integers(1, 12)))
        like = make_series(tmp_path / str(seed), oblique(chance, shape))
        values = np.concatenate([[0], chance.choice(60000, size=4, replace=False) - 20000])
        labels = values[chance.integers(0, chance.integers(1, 6), size=shape)]
        names = {int(value): f"v{value}" for value in values[1:]}
        write_seg(tmp_path / "mask.seg.dcm", labels, like=like, names=names)
        maps = label_maps(read_seg(tmp_path / "mask.seg.dcm", like=like.geometry))
        assert len(maps) == 1
        np.testing.assert_array_equal(maps[0].array[0], labels)


def test_the_object_says_what_it_is_of_whom_and_from_what(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(1), (9, 8, 7)))
    labels = ellipsoids(like.geometry.shape)
    write_seg(tmp_path / "mask.seg.dcm", labels, like=like, names={**NAMES, 300: "tumour"})
    dataset = pydicom.dcmread(tmp_path / "mask.seg.dcm")
    source = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == source[keyword].value
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert (dataset.SegmentationType, dataset.Modality) == ("BINARY", "SEG")
    assert dataset.SoftwareVersions == attnseg.__version__
    left, other, tumour = dataset.SegmentSequence
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [1, 2, 3]
    assert [item.SegmentLabel for item in dataset.SegmentSequence] == [*NAMES.values(), "tumour"]
    assert [item.SegmentDescription for item in dataset.SegmentSequence] == [
        *("label 1", "label 205", "label 300")
    ]
    kind = left.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("5366008", "SCT")
    side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodeMeaning) == ("7771000", "Left")
    kind = other.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeMeaning) == ("99ATTNSEG", "Größe α")
    assert tumour.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert (left.SegmentAlgorithmType, left.SegmentAlgorithmName) == ("AUTOMATIC", "attnseg")
    # A frame for each slice that a label is on, and each derived from its own source image.
    assert dataset.NumberOfFrames == sum(
        int((labels == value).any(axis=(0, 1)).sum()) for value in (1, 205)
    )
    sources = {
        str(header.SOPInstanceUID): header.ImagePositionPatient
        for header in map(pydicom.dcmread, (tmp_path / "ct").iterdir())
    }
    for item in dataset.PerFrameFunctionalGroupsSequence:
        image = item.DerivationImageSequence[0].SourceImageSequence[0]
        position = item.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, sources[image.ReferencedSOPInstanceUID], atol=1e-6)


def test_the_values_that_masks_had_come_back(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(2), (6, 5, 4)))
    labels = ellipsoids(like.geometry.shape, values=(205, 17)).astype(np.int32) - 20
    labels[labels == -20] = 0
    write_seg(tmp_path / "mask.seg.dcm", labels, like=like, names={185: "a", -3: "b"})
    found = read_seg(tmp_path / "mask.seg.dcm", like=like.geometry)
    assert found.names == {185: "a", -3: "b"}
    np.testing.assert_array_equal(label_maps(found)[0].array[0], labels)
    assert found.series_uid == like.path.uid


def test_nothing_found_is_an_empty_frame_a_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(3), (6, 5, 4)))
    empty = np.zeros(like.geometry.shape, dtype=np.uint8)
    with caplog.at_level(logging.DEBUG, logger="highdicom"):
        write_seg(tmp_path / "mask.seg.dcm", empty, like=like, names=NAMES)
    assert pydicom.dcmread(tmp_path / "mask.seg.dcm").NumberOfFrames == 2
    found = read_seg(tmp_path / "mask.seg.dcm", like=like.geometry)
    assert found.names == NAMES
    np.testing.assert_array_equal(label_maps(found)[0].array[0], empty)
    with pytest.raises(DataError, match="no label is named and none found"):
        write_seg(tmp_path / "none.seg.dcm", empty, like=like)
    assert not (tmp_path / "none.seg.dcm").exists()


@pytest.mark.parametrize("place", ["23x38x3", "24x38x3"])
def test_enhanced_multi_frame_sources(real_data: Path, tmp_path: Path, place: str) -> None:
    like = stacked(real_data / "edge" / "dicom" / "dcmqi" / place / "multiframe")
    labels = ellipsoids(like.geometry.shape)
    labels[2:9, 3:7, 0] = 3
    path = tmp_path / "mask.seg.dcm"
    write_seg(path, labels, like=like)
    assert_same_places(by_highdicom(path), labels, like.geometry)
    dataset = pydicom.dcmread(path)
    for item in dataset.PerFrameFunctionalGroupsSequence:
        image = item.DerivationImageSequence[0].SourceImageSequence[0]
        height = item.PlanePositionSequence[0].ImagePositionPatient[2]
        frame = round((height - like.geometry.affine[2, 3]) / like.geometry.affine[2, 2]) + 1
        assert image.ReferencedFrameNumber == frame


def test_a_series_in_a_zip_archive(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(5), (6, 5, 4)))
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for file in (tmp_path / "ct").iterdir():
            archive.write(file, file.name)
    packed = replace(like, path=Series(tmp_path / "ct.zip", like.path.uid, like.path.files))
    labels = ellipsoids(like.geometry.shape)
    write_seg(tmp_path / "mask.seg.dcm", labels, like=packed)
    (found,) = label_maps(read_seg(tmp_path / "mask.seg.dcm", like=like.geometry))
    np.testing.assert_array_equal(found.array[0], labels)


def test_what_a_source_may_lack_and_what_not(tmp_path: Path) -> None:
    grid = oblique(np.random.default_rng(6), (6, 5, 4))
    labels = ellipsoids(grid.shape)
    like = make_series(tmp_path / "bare", grid, drop=("PatientID", "PatientName", "SeriesNumber"))
    write_seg(tmp_path / "bare.seg.dcm", labels, like=like)
    assert pydicom.dcmread(tmp_path / "bare.seg.dcm").PatientID == ""
    like = make_series(tmp_path / "lost", grid, drop=("FrameOfReferenceUID",))
    with pytest.raises(DataError, match="no FrameOfReferenceUID"):
        write_seg(tmp_path / "lost.seg.dcm", labels, like=like)
    assert not list(tmp_path.glob("*lost.seg.dcm"))


def test_other_scans_and_a_missing_package_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = oblique(np.random.default_rng(7), (6, 5, 4))
    labels = ellipsoids(grid.shape)
    other = Image(np.zeros((1, *grid.shape)), grid, path=tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match=r"scan\.nii\.gz: not a DICOM scan"):
        write_seg(tmp_path / "mask.seg.dcm", labels, like=other)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"pip install 'attnseg\[dicom\]'"):
        write_seg(tmp_path / "mask.seg.dcm", labels, like=other)


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(11), (6, 5, 4)))
    labels = ellipsoids(like.geometry.shape)
    for name in ("m.seg.dcm", "m.rtstruct.dcm"):
        names = {1: "liver"}
        dtype = np.dtype(np.uint8)
        write_labels(tmp_path / name, labels, like=like, dtype=dtype, names=names)
    segmentation = read_seg(tmp_path / "m.seg.dcm")
    structures = read_rtstruct(tmp_path / "m.rtstruct.dcm", like=like)
    assert segmentation.names == structures.names == {1: "liver", 205: "label 205"}


def test_slices_of_fewer_than_eight_pixels_are_refused(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(10), (2, 3, 4)))
    with pytest.raises(DataError, match="slices of 6 pixels"):
        write_seg(tmp_path / "mask.seg.dcm", np.ones((2, 3, 4), dtype=np.uint8), like=like)


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(8), (6, 5, 4)))
    shape = (6, 5, 3)
    cut = Image(np.zeros((1, *shape)), Geometry(shape, like.geometry.affine), path=like.path)
    with pytest.raises(DataError, match="outside the grid"):
        write_seg(tmp_path / "mask.seg.dcm", np.ones(shape, dtype=np.uint8), like=cut)


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_a_mask_of_more_slices_than_frames_is_refused(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(12), (6, 5, 4)))
    shape = (6, 5, 7)
    longer = Image(np.zeros((1, *shape)), Geometry(shape, like.geometry.affine), path=like.path)
    with pytest.raises(DataError, match="4 frames for the 7 slices of its mask"):
        write(tmp_path / "mask.dcm", np.ones(shape, dtype=np.uint8), like=longer)
    assert not (tmp_path / "mask.dcm").exists()


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_a_folder_that_cannot_be_written_is_no_fault_of_the_series(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(13), (6, 5, 4)))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        write(tmp_path / "file" / "m.dcm", np.ones((6, 5, 4), dtype=np.uint8), like=like)
