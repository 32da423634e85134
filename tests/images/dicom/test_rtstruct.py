"""RT structure sets: what is drawn comes back, and others' are read by the same rules."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from source_series import ellipsoids, make_series, oblique, stacked

from attnseg.errors import DataError
from attnseg.images import Geometry, Image
from attnseg.images.dicom import label_maps, read_rtstruct, write_rtstruct

Drawn = tuple[Path, Image, np.ndarray]


def round_trip(path: Path, labels: np.ndarray, like: Image) -> np.ndarray:
    write_rtstruct(path, labels, like=like)
    (found,) = label_maps(read_rtstruct(path, like=like))
    return found.array[0]


def awkward(shape: tuple[int, int, int]) -> np.ndarray:
    """Blobs, holes, islands in holes, single voxels, several components, voxels at the border."""
    labels = ellipsoids(shape)
    labels[1:8, 1:8, 0] = 3
    labels[3:6, 3:6, 0] = 0
    labels[4, 4, 0] = 3
    labels[0, :, 1], labels[:, -1, 1], labels[-1, 0, 1] = 4, 4, 1
    labels[5, 5, 2] = labels[6, 6, 2] = labels[8, 3, 2] = 9
    labels[..., -1] = 5
    return labels


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(0), (14, 12, 5)))
    labels = awkward(like.geometry.shape)
    names = {1: "left parotid", 3: "Größe", 700: "not there"}
    write_rtstruct(tmp_path / "s.rtstruct.dcm", labels, like=like, names=names)
    return tmp_path / "s.rtstruct.dcm", like, labels


def test_labels_come_back_voxel_by_voxel(drawn: Drawn) -> None:
    path, like, labels = drawn
    found = read_rtstruct(path, like=like)
    (image,) = label_maps(found)
    np.testing.assert_array_equal(image.array[0], labels)
    named = {1: "left parotid", 3: "Größe", 700: "not there"}
    assert found.names == {value: f"label {value}" for value in (4, 5, 9, 205)} | named
    assert found.series_uid == like.path.uid
    assert found.notes == ("region 'not there': no contours, so its mask is empty",)


@pytest.mark.parametrize(
    "series",
    [
        "hippocampus_series/11_HCropVolume",
        "dcmqi/24x38x3/multiframe",
        "torchio_dicom",
        "dcmqi/ct-3slice",
    ],
)
def test_labels_on_real_series_come_back(real_data: Path, tmp_path: Path, series: str) -> None:
    like = stacked(real_data / "edge" / "dicom" / series)
    labels = awkward(like.geometry.shape)
    np.testing.assert_array_equal(round_trip(tmp_path / "s.rtstruct.dcm", labels, like), labels)


@pytest.mark.slow
def test_random_labels_on_random_grids_come_back(
    tmp_path: Path, full: Callable[[int], int]
) -> None:
    for seed in range(full(400)):
        chance = np.random.default_rng(seed)
        shape = tuple(chance.integers(1, 14, size=3).tolist())
        like = make_series(tmp_path / str(seed), oblique(chance, shape))
        labels = np.where(chance.random(shape) < chance.random(), chance.integers(1, 4), 0)
        labels[chance.random(shape) < 0.2] = 7
        found = round_trip(tmp_path / "s.rtstruct.dcm", labels, like)
        np.testing.assert_array_equal(found, labels)


def test_the_object_says_what_it_is_of_whom_and_from_what(drawn: Drawn) -> None:
    path, _, _ = drawn
    dataset = pydicom.dcmread(path)
    headers = [pydicom.dcmread(file) for file in (path.parent / "ct").iterdir()]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == headers[0][keyword].value
    assert dataset.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.481.3"
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    series = study.RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == headers[0].SeriesInstanceUID
    instances = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
    assert instances == {header.SOPInstanceUID for header in headers}
    first = dataset.StructureSetROISequence[0]
    assert (first.ROINumber, first.ROIName, first.ROIDescription) == (1, "left parotid", "label 1")
    kind = dataset.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    assert (kind.CodeValue, kind.CodeMeaning) == ("45289007", "Parotid gland")
    colours = {tuple(item.ROIDisplayColor) for item in dataset.ROIContourSequence}
    assert len(colours) == len(dataset.ROIContourSequence) == 7
    assert "ContourSequence" not in dataset.ROIContourSequence[-1]
    # Each contour lies in the plane of the image it refers to, and is a closed polygon there.
    places = {
        header.SOPInstanceUID: (
            np.array(header.ImagePositionPatient, float),
            np.cross(header.ImageOrientationPatient[:3], header.ImageOrientationPatient[3:]),
        )
        for header in headers
    }
    for item in dataset.ROIContourSequence[:-1]:
        for contour in item.ContourSequence:
            image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
            assert len(points) == contour.NumberOfContourPoints >= 4
            origin, normal = places[image]
            np.testing.assert_allclose((points - origin) @ normal, 0, atol=1e-4)


def test_frames_of_a_multi_frame_source_are_named(real_data: Path, tmp_path: Path) -> None:
    like = stacked(real_data / "edge" / "dicom" / "dcmqi" / "23x38x3" / "multiframe")
    labels = np.zeros(like.geometry.shape, dtype=np.uint8)
    labels[2:4, 5:9] = 1
    write_rtstruct(tmp_path / "s.dcm", labels, like=like)
    contours = pydicom.dcmread(tmp_path / "s.dcm").ROIContourSequence[0].ContourSequence
    frames = [contour.ContourImageSequence[0].ReferencedFrameNumber for contour in contours]
    assert sorted(frames) == [1, 2, 3]


def one_contour(path: Path, points: np.ndarray, *, kind: str = "CLOSED_PLANAR") -> Path:
    """The structure set with one region of one contour, LPS."""
    dataset = pydicom.dcmread(path)
    contour = Dataset()
    contour.ContourGeometricType = kind
    contour.ContourData = [f"{number:.8g}" for number in points.ravel()]
    dataset.StructureSetROISequence = dataset.StructureSetROISequence[:1]
    dataset.ROIContourSequence = dataset.ROIContourSequence[:1]
    dataset.ROIContourSequence[0].ContourSequence = [contour]
    dataset.save_as(path.with_name("changed.dcm"))
    return path.with_name("changed.dcm")


def in_mm(geometry: Geometry, voxels: list[tuple[float, float, float]]) -> np.ndarray:
    """Voxel places in mm, LPS."""
    return (np.array(voxels) @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]) * [-1, -1, 1]


def test_contours_through_other_points_hold_the_centres_within(drawn: Drawn) -> None:
    path, like, _ = drawn
    corners = [(2.2, 3.3, 2.0), (8.7, 3.3, 2.0), (8.7, 7.6, 2.0), (2.2, 7.6, 2.0)]
    found = read_rtstruct(one_contour(path, in_mm(like.geometry, corners)), like=like)
    expected = np.zeros(like.geometry.shape, dtype=bool)
    expected[3:9, 4:8, 2] = True
    np.testing.assert_array_equal(found.mask(found.segments[0]), expected)


def test_a_single_contour_that_is_not_on_the_image_is_refused(drawn: Drawn) -> None:
    # Those between slices are moved: see test_odd_regions.py.
    path, like, _ = drawn
    corners = [(2.0, 3.0, 9.0), (8.0, 3.0, 9.0), (8.0, 7.0, 9.0)]
    with pytest.raises(DataError, match=r"beyond the first or last slice .* \(5 slices\)"):
        read_rtstruct(one_contour(path, in_mm(like.geometry, corners)), like=like)


def test_an_object_of_points_alone_is_refused(drawn: Drawn) -> None:
    path, like, _ = drawn
    points = in_mm(like.geometry, [(2.0, 3.0, 1.0)])
    with pytest.raises(DataError, match="'left parotid': 1 of 1 contour is points or open lines"):
        read_rtstruct(one_contour(path, points, kind="POINT"), like=like)


def test_an_image_of_another_series_is_told(drawn: Drawn) -> None:
    path, like, labels = drawn
    other = replace(like, path=replace(like.path, uid="1.2.3"))
    found = read_rtstruct(path, like=other)
    assert found.notes[1:] == (f"it was drawn on series {like.path.uid}, another one than 1.2.3",)
    np.testing.assert_array_equal(label_maps(found)[0].array[0], labels)


def test_what_is_no_structure_set_and_what_none_is_made_of(drawn: Drawn, tmp_path: Path) -> None:
    _, like, labels = drawn
    with pytest.raises(DataError, match="not an RT structure set"):
        read_rtstruct(next((tmp_path / "ct").iterdir()), like=like)
    other = Image(like.array, like.geometry, path=tmp_path / "scan.nrrd")
    with pytest.raises(DataError, match="not a DICOM scan"):
        write_rtstruct(tmp_path / "o.rtstruct.dcm", labels, like=other)
    with pytest.raises(DataError, match="no label is named and none found"):
        write_rtstruct(tmp_path / "o.rtstruct.dcm", labels * 0, like=like)
    assert not (tmp_path / "o.rtstruct.dcm").exists()
