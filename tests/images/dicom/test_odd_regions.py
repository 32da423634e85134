"""One odd region or segment never stops the others: what is cut or left out, and what is told."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from source_series import make_series, positions

from attnseg.datasets.drawn import convert_drawn
from attnseg.errors import DataError
from attnseg.images import Geometry, Image, read_labels
from attnseg.images.dicom import Segments, read_rtstruct, read_seg, write_seg

# Axial CT as scanners store it: I to the left, J to the back, K to the head.
GRID = Geometry(
    (40, 44, 20), np.array([[-1.5, 0, 0, 30], [0, -1.5, 0, 20], [0, 0, 3, 5], [0, 0, 0, 1.0]])
)
CLOSED = "CLOSED_PLANAR"
Contour = tuple[str, Sequence[float | str]]


def box(x: tuple[float, float], y: tuple[float, float], z: float, kind: str = CLOSED) -> Contour:
    """A rectangle in mm, LPS."""
    corners = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]
    return kind, [number for corner in corners for number in (*corner, z)]


def structures(path: Path, regions: dict[str, list[Contour] | None]) -> Path:
    """A structure set as treatment planning writes it; None: no ContourSequence at all."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid()
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, name
        drawn.ReferencedROINumber = number
        if contours is not None:
            drawn.ContourSequence = []
            for kind, numbers in contours:
                item = Dataset()
                item.ContourGeometricType = kind
                item.ContourData = [
                    f"{each:.6f}" if isinstance(each, float | int) else each for each in numbers
                ]
                drawn.ContourSequence.append(item)
        dataset.StructureSetROISequence.append(region)
        dataset.ROIContourSequence.append(drawn)
    dataset.save_as(path, enforce_file_format=True)
    return path


def image(geometry: Geometry = GRID) -> Image:
    return Image(np.broadcast_to(np.float32(0), (1, *geometry.shape)), geometry)


def read(path: Path, regions: dict[str, list[Contour] | None]) -> Segments:
    return read_rtstruct(structures(path / "s.dcm", regions), like=image())


def mask(found: Segments, name: str) -> np.ndarray:
    (segment,) = [each for each in found.segments if each.name == name]
    return found.mask(segment)


SOLID = [box((-10, 11), (-5, 16), z) for z in (20, 23, 26)]


def solid() -> np.ndarray:
    """x = -30 + 1.5 i and y = -20 + 1.5 j; from half-way on: 20 mm is i of 13.33, 41 mm 27.33."""
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[14:28, 10:24, 5:8] = True
    return expected


def test_regions_as_treatment_planning_writes_them(tmp_path: Path) -> None:
    # The case of structure_sets.py.
    holes = [box((-4, 5), (1, 10), z) for z in (20, 23, 26)]
    found = read(
        tmp_path,
        {
            "ring": [*SOLID, *holes],
            "empty": None,
            "iso": [("POINT", [0, 0, 20])],
            "twopoint": [(CLOSED, [0, 0, 20, 3, 3, 20]), box((12, 20), (20, 30), 23)],
            "tiny": [box((0.2, 0.3), (20.2, 20.3), 20), box((-20, -12), (20, 30), 20)],
        },
    )
    assert [segment.name for segment in found.segments] == ["ring", "empty", "twopoint", "tiny"]
    assert [segment.value for segment in found.segments] == [1, 2, 4, 5]
    ring = solid()
    ring[18:24, 14:20, 5:8] = False
    np.testing.assert_array_equal(mask(found, "ring"), ring)
    assert not mask(found, "empty").any()
    assert mask(found, "twopoint").sum() == mask(found, "twopoint")[28:34, 27:34, 6].sum() == 42
    assert found.notes == (
        "region 'empty': no contours, so its mask is empty",
        "region 'iso': 1 of 1 contour is points or open lines: left out",
        "region 'twopoint': 1 of 2 contours is of fewer than three points: left out",
        "region 'tiny': 1 of 2 contours is so small that no voxel's centre is inside: no voxel",
    )


def test_contours_beyond_the_last_slice_are_left_out_and_the_others_read(tmp_path: Path) -> None:
    # The case of structure_sets.py: slices from 5 to 62 mm.
    body = [box((-20, 20), (-10, 30), z) for z in range(5, 72, 3)]
    found = read(tmp_path, {"body": body, "ptv": SOLID})
    np.testing.assert_array_equal(mask(found, "ptv"), solid())
    assert mask(found, "body").any(axis=(0, 1)).all()
    assert found.notes == (
        "region 'body': 3 of 23 contours are beyond the first or last slice of the image, by up "
        "to 9 mm (3 slices): left out",
    )


def test_contours_that_leave_the_slices_are_cut_and_told(tmp_path: Path) -> None:
    # The case of structure_sets.py: x from -30 to 28.5, y from -20 to 44.5.
    couch = [box((-80, 80), (30, 90), 20), box((50, 60), (0, 9), 23)]
    found = read(tmp_path, {"couch": couch, "ptv": SOLID})
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[:, 34:, 5] = True
    np.testing.assert_array_equal(mask(found, "couch"), expected)
    np.testing.assert_array_equal(mask(found, "ptv"), solid())
    assert found.notes == (
        "region 'couch': 1 of 2 contours is partly outside the slices of the image, by up to "
        "50.75 mm: cut there",
        "region 'couch': 1 of 2 contours is outside the slices of the image, by up to 30.75 mm: "
        "left out",
    )


def test_contours_between_slices_go_to_the_nearest(tmp_path: Path) -> None:
    # The cases of structure_sets.py, and a region half-way between slices alone.
    between = [box((-10, 11), (-5, 16), z) for z in (20, 21.5, 23, 24.5, 26)]
    shifted = [box((-10, 11), (-5, 16), z + 1.2) for z in (20, 23, 26)]
    halfway = [box((-10, 11), (-5, 16), z + 1.5) for z in (17, 20, 23)]
    found = read(tmp_path, {"interp": between, "shifted": shifted, "halfway": halfway})
    for name in ("interp", "shifted", "halfway"):
        np.testing.assert_array_equal(mask(found, name), solid(), err_msg=name)
    assert found.notes == (
        "region 'interp': 2 of 5 contours are between slices, on which the region has others, by "
        "up to 1.5 mm (0.5 slices): left out",
        "region 'shifted': 3 of 3 contours are between slices, by up to 1.2 mm (0.4 slices): moved "
        "to the nearest slice",
        "region 'halfway': 3 of 3 contours are between slices, by up to 1.5 mm (0.5 slices): moved "
        "to the nearest slice",
    )


def stored(geometry: Geometry, order: tuple[int, int, int], flips: tuple[int, ...]) -> Geometry:
    """The same voxels stored along other axes, some of them the other way."""
    affine = geometry.affine[:, [*order, 3]]
    i, j, k = (geometry.shape[axis] for axis in order)
    for axis in flips:
        affine[:, 3] += ((i, j, k)[axis] - 1) * affine[:, axis]
        affine[:, axis] *= -1
    return Geometry((i, j, k), affine)


@pytest.mark.parametrize("turned", [0.0, 0.2])
def test_ties_do_not_depend_on_how_the_image_is_stored(tmp_path: Path, turned: float) -> None:
    affine = GRID.affine.copy()
    rotation = np.array(
        [[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]]
    )
    affine[:3, :3] = rotation @ affine[:3, :3]
    grid = Geometry((12, 13, 6), affine)

    def contour(voxels: list[tuple[float, float]], k: float) -> Contour:
        places = [(affine @ (i, j, k, 1))[:3] * [-1, -1, 1] for i, j in voxels]
        return CLOSED, np.concatenate(places).tolist()

    # All of their lines go through centres: straight, slanted, and half-way between slices.
    square = [contour([(2, 3), (8, 3), (8, 9), (2, 9)], k) for k in (1, 2)]
    diamond = [contour([(5, 2), (9, 6), (5, 10), (1, 6)], k) for k in (1, 2.5)]
    path = structures(tmp_path / "s.dcm", {"square": square, "diamond": diamond})
    places = []
    for order, flips in (
        ((0, 1, 2), ()),  # as scanned
        ((0, 1, 2), (1,)),  # rows from below
        ((0, 1, 2), (0, 2)),  # columns and slices the other way
        ((1, 2, 0), (0, 1)),  # sagittal
        ((2, 0, 1), (1, 2)),  # coronal, slices first
    ):
        found = read_rtstruct(path, like=image(stored(grid, order, flips)))
        places.append(
            [positions(mask(found, name), found.geometry.affine) for name in ("square", "diamond")]
        )
    for other in places[1:]:
        for one, same in zip(places[0], other, strict=True):
            np.testing.assert_allclose(same, one, rtol=0, atol=1e-6)
    expected = np.zeros(grid.shape, dtype=bool)
    expected[2:8, 3:9, 1:3] = True  # the right and back lines are left to what lies beyond them
    np.testing.assert_allclose(places[0][0], positions(expected, affine), rtol=0, atol=1e-6)
    assert len(places[0][1]) == 2 * 32


def test_odd_regions_of_other_kinds(tmp_path: Path) -> None:
    # Own finding: doubled contours, planes at an angle, damaged numbers, regions not described.
    sagittal = (CLOSED, [0, -5, 20, 0, 16, 20, 0, 16, 41, 0, -5, 41])
    found = read(
        tmp_path,
        {
            "twice": [*SOLID, SOLID[0]],
            "angle": [*SOLID, sagittal],
            "damaged": [*SOLID, (CLOSED, [*SOLID[0][1][:-2], "1e9", 20])],
            "short": [*SOLID, (CLOSED, SOLID[0][1][:-1])],
            "nothing": [*SOLID, (CLOSED, [])],
            "open": [*SOLID, ("OPEN_PLANAR", SOLID[1][1])],
        },
    )
    for name in ("twice", "angle", "nothing", "open"):
        np.testing.assert_array_equal(mask(found, name), solid(), err_msg=name)
    assert [each.name for each in found.segments] == ["twice", "angle", "nothing", "open"]
    assert found.notes == (
        "region 'twice': 1 of 4 contours is drawn twice: left out",
        "region 'angle': 1 of 4 contours is at an angle to the slices of the image, by up to 10.5 "
        "mm (3.5 slices): left out",
        "region 'damaged': left out, for one of its contours has coordinates that are not finite, "
        "or beyond 1,000 m",
        "region 'short': left out, for one of its contours has 11 coordinates, not three a point",
        "region 'nothing': 1 of 4 contours is of fewer than three points: left out",
        "region 'open': 1 of 4 contours is points or open lines: left out",
    )
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    dataset.StructureSetROISequence = dataset.StructureSetROISequence[:1]
    dataset.save_as(tmp_path / "stray.dcm")
    stray = read_rtstruct(tmp_path / "stray.dcm", like=image())
    np.testing.assert_array_equal(mask(stray, "twice"), solid())
    assert "contours of region 2, which the object does not describe, were left out" in stray.notes


def test_an_object_of_which_nothing_is_left_is_one_error(tmp_path: Path) -> None:
    below = [box((-10, 11), (-5, 16), z) for z in (-30, -27)]
    with pytest.raises(DataError, match=r"nothing that it draws lies on the image") as caught:
        read(tmp_path, {"below": below, "iso": [("POINT", [0, 0, 20])], "empty": None})
    assert "region 'below': 2 of 2 contours are beyond" in str(caught.value)
    assert "by up to 35 mm (12 slices)" in str(caught.value)
    assert str(caught.value).endswith("give the image that it was drawn on")
    # What was looked for and not found is no error.
    assert read(tmp_path, {"empty": None}).names == {1: "empty"}


def test_notes_reach_the_report_of_a_conversion(tmp_path: Path) -> None:
    make_series(tmp_path / "ct", GRID, values=np.zeros(GRID.shape, np.int16))
    path = structures(tmp_path / "s.dcm", {"ptv": SOLID, "iso": [("POINT", [0, 0, 20])]})
    (written,), notes = convert_drawn(path, tmp_path / "out.nrrd", like=tmp_path / "ct")
    assert notes == ("region 'iso': 1 of 1 contour is points or open lines: left out",)
    np.testing.assert_array_equal(read_labels(written).array[0], solid())


@pytest.fixture
def two_segments(tmp_path: Path) -> tuple[Path, Image, np.ndarray]:
    grid = Geometry((9, 8, 6), GRID.affine)
    like = make_series(tmp_path / "ct", grid)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[1:4, 1:4, 1:5] = 1
    labels[5:8, 2:7, 3:6] = 2
    write_seg(tmp_path / "m.seg.dcm", labels, like=like, names={1: "liver", 2: "spleen"})
    return tmp_path / "m.seg.dcm", like, labels


def changed(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path.with_name("changed.dcm"))
    return path.with_name("changed.dcm")


def test_labels_beyond_the_image_are_cut_off_and_told(
    two_segments: tuple[Path, Image, np.ndarray],
) -> None:
    # Own finding: the same fault in DICOM-SEG.
    path, like, labels = two_segments
    found = read_seg(path, like=Geometry((9, 6, 5), like.geometry.affine))
    np.testing.assert_array_equal(mask(found, "liver"), labels[:, :6, :5] == 1)
    np.testing.assert_array_equal(mask(found, "spleen"), labels[:, :6, :5] == 2)
    assert found.notes == (
        "segment 'spleen': 21 labelled voxel(s) lie outside the grid of the image, by up to 3 mm, "
        "and were cut off",
    )
    far = like.geometry.affine.copy()
    far[2, 3] += 300
    with pytest.raises(DataError, match="all of its labels lie outside the grid of the image"):
        read_seg(path, like=Geometry(like.geometry.shape, far))


def test_a_segment_off_the_grid_is_left_out_and_told(
    two_segments: tuple[Path, Image, np.ndarray],
) -> None:
    # Own finding.
    path, like, labels = two_segments
    dataset = pydicom.dcmread(path)
    for item in dataset.PerFrameFunctionalGroupsSequence:
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2:
            place = item.PlanePositionSequence[0]
            x, y, z = place.ImagePositionPatient
            place.ImagePositionPatient = [x, y, z + 1.2]
    found = read_seg(changed(path, dataset), like=like.geometry)
    assert found.names == {1: "liver"}
    np.testing.assert_array_equal(mask(found, "liver"), labels == 1)
    assert found.notes == (
        "segment 'spleen' does not lie on the grid of the image (3 of 3 frames: a frame is 0.40 "
        "voxels off), and was left out",
    )
    dataset.SegmentSequence = dataset.SegmentSequence[1:]
    with pytest.raises(DataError, match=r"does not lie on the grid of the image \(.*'spleen'"):
        read_seg(changed(path, dataset), like=like.geometry)


def test_empty_nameless_and_undescribed_segments(
    two_segments: tuple[Path, Image, np.ndarray],
) -> None:
    path, like, labels = two_segments
    dataset = pydicom.dcmread(path)
    first, second = dataset.SegmentSequence
    third = Dataset()
    third.update(second)
    third.SegmentNumber, third.SegmentLabel, third.SegmentDescription = 3, "", ""
    del third.SegmentedPropertyTypeCodeSequence
    dataset.SegmentSequence = [first, third]
    found = read_seg(changed(path, dataset), like=like.geometry)
    assert found.names == {1: "liver", 3: "segment 3"}
    np.testing.assert_array_equal(mask(found, "liver"), labels == 1)
    assert not mask(found, "segment 3").any()
    assert found.notes == (
        "frames of segment 2, which the object does not describe, were left out",
    )


def test_regions_of_one_number_or_none_are_left_out_and_told(tmp_path: Path) -> None:
    # Own finding: the second of two took the contours of both, and one without a number stopped
    # the object.
    small = [box((-20, -12), (20, 30), 20)]
    path = structures(tmp_path / "s.dcm", {"ptv": SOLID, "a": small, "b": small, "c": small})
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[2].ROINumber = 2
    dataset.ROIContourSequence[2].ReferencedROINumber = 2
    del dataset.StructureSetROISequence[3].ROINumber
    del dataset.ROIContourSequence[3].ReferencedROINumber
    found = read_rtstruct(changed(path, dataset), like=image())
    assert found.names == {1: "ptv"}
    np.testing.assert_array_equal(mask(found, "ptv"), solid())
    assert found.notes == (
        "region 'c': left out, for it has no number to find its contours by",
        "regions 'a', 'b': left out, for they share the number 2, and which contours are whose is "
        "unknown",
        "1 contour(s) that do not say of which region were left out",
    )
    dataset.StructureSetROISequence = dataset.StructureSetROISequence[1:3]
    with pytest.raises(DataError, match=r"'a', 'b': left out, .*; export it again$"):
        read_rtstruct(changed(path, dataset), like=image())


def test_contours_of_a_region_in_several_lists_are_put_together(tmp_path: Path) -> None:
    path = structures(tmp_path / "s.dcm", {"ptv": SOLID[:1], "more": SOLID[1:]})
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence = dataset.StructureSetROISequence[:1]
    dataset.ROIContourSequence[1].ReferencedROINumber = 1
    found = read_rtstruct(changed(path, dataset), like=image())
    np.testing.assert_array_equal(mask(found, "ptv"), solid())
    assert found.notes == (
        "region 'ptv': its contours stand in several lists, and were put together",
    )


def test_a_region_in_another_frame_of_reference_is_left_out(tmp_path: Path) -> None:
    # Own finding: coordinates of another frame of reference were taken for the image's.
    like = make_series(tmp_path / "ct", GRID, values=np.zeros(GRID.shape, np.int16))
    path = structures(tmp_path / "s.dcm", {"ptv": SOLID, "of the PET": SOLID})
    own = pydicom.dcmread(next((tmp_path / "ct").iterdir())).FrameOfReferenceUID
    dataset = pydicom.dcmread(path)
    for item, uid in zip(dataset.StructureSetROISequence, (own, generate_uid()), strict=True):
        item.ReferencedFrameOfReferenceUID = uid
    found = read_rtstruct(changed(path, dataset), like=like)
    assert found.names == {1: "ptv"}
    assert found.notes == (
        "region 'of the PET': left out, for its coordinates are of another frame of reference "
        "than the image's",
    )
    # Programs that remove names give the whole object another one: told, and read.
    dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = generate_uid()
    found = read_rtstruct(changed(path, dataset), like=like)
    assert found.names == {1: "ptv", 2: "of the PET"}
    assert found.notes == (
        "its frame of reference is not the image's: see whether the masks lie where they should",
    )
