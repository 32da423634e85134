"""DICOM segmentations read as dcmqi and highdicom read them."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from source_series import FLIP, ellipsoids, make_series, oblique, positions

from attnseg.errors import DataError
from attnseg.images import Geometry, Image
from attnseg.images.dicom import label_maps, read_seg, write_seg

# Each object of dcmqi's own tests, and the label maps that it was made from or that dcmqi made.
ANSWERS = {
    "liver.dcm": ["liver_seg.nrrd"],
    "partial_overlaps.dcm": [f"partial_overlaps-{n}.nrrd" for n in (1, 2, 3)],
    "sparse-labelmap-noppv.dcm": ["sparse_labelmap_noppv_seg.nrrd"],
    "sparse-labelmap-ppv5.dcm": ["sparse_labelmap_ppv5_seg.nrrd"],
    "23x38x3/seg/label.seg": ["23x38x3/nrrd/label.nrrd"],
    "24x38x3/seg/label.seg": ["24x38x3/nrrd/label.nrrd"],
}


# Label maps for which dcmqi's tests have no object: dcmqi makes one of them on the slices of
# ct-3slice. By name: the files, the labels in each, options. "Gapped" are the label numbers.
MADE = {
    "two segments": (["liver_spine_seg"], [(1, 2)], []),
    "label map": (["liver_spine_seg"], [(1, 2)], ["--segmentationType", "labelmap"]),
    "gapped": (
        ["liver_spine_gapped_seg"],
        [(1, 5)],
        ["--segmentationType", "labelmap", "--useLabelIDAsSegmentNumber"],
    ),
    "deflated": (
        ["liver_spine_gapped_seg"],
        [(1, 5)],
        [
            *("--segmentationType", "labelmap", "--useLabelIDAsSegmentNumber"),
            *("--compress", "deflate"),
        ],
    ),
    "overlapping": (["liver_seg", "heart_seg", "spine_seg_label5"], [(1,), (3,), (5,)], []),
}


def made_by_dcmqi(
    folder: Path, out: Path, files: list[str], labels: list[tuple[int, ...]], options: list[str]
) -> Path:
    """A segmentation that dcmqi makes of label maps of its own."""
    tissue = {"CodeValue": "85756007", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Tissue"}
    segments = [
        [
            {
                "labelID": label,
                "SegmentDescription": f"tissue {label}",
                "SegmentAlgorithmType": "MANUAL",
                "SegmentedPropertyCategoryCodeSequence": tissue,
                "SegmentedPropertyTypeCodeSequence": tissue,
            }
            for label in each
        ]
        for each in labels
    ]
    meta = {
        "ContentCreatorName": "Doe^John",
        "SeriesDescription": "made",
        "SeriesNumber": "300",
        "InstanceNumber": "1",
        "segmentAttributes": segments,
    }
    (out / "meta.json").write_text(json.dumps(meta))
    subprocess.run(
        [
            Path(sysconfig.get_path("scripts")) / "itkimage2segimage",
            *("--inputImageList", ",".join(str(folder / f"{file}.nrrd") for file in files)),
            *("--inputDICOMDirectory", folder / "ct-3slice"),
            *("--inputMetadata", out / "meta.json"),
            *("--outputDICOM", out / "made.dcm"),
            *options,
        ],
        check=True,
        capture_output=True,
    )
    return out / "made.dcm"


def nrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and affine, RAS+, by SimpleITK."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, FLIP @ affine


@pytest.mark.parametrize("name", ANSWERS)
def test_objects_of_dcmqi_equal_the_label_maps_beside_them(real_data: Path, name: str) -> None:
    folder = real_data / "edge" / "dicom" / "dcmqi"
    maps = label_maps(read_seg(folder / name))
    assert len(maps) == len(ANSWERS[name])
    for found, answer in zip(maps, ANSWERS[name], strict=True):
        labels, affine = nrrd(folder / answer)
        np.testing.assert_array_equal(found.array[0], labels)
        np.testing.assert_allclose(found.geometry.affine, affine, atol=2e-6)


@pytest.mark.parametrize("name", MADE)
def test_what_dcmqi_makes_of_its_label_maps_comes_back(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    folder = real_data / "edge" / "dicom" / "dcmqi"
    files, labels, options = MADE[name]
    found = read_seg(made_by_dcmqi(folder, tmp_path, files, labels, options))
    numbers = iter(found.segments)
    for file, values in zip(files, labels, strict=True):
        expected, affine = nrrd(folder / f"{file}.nrrd")
        np.testing.assert_allclose(found.geometry.affine, affine, atol=1e-5)
        for value in values:
            segment = next(numbers)
            np.testing.assert_array_equal(found.mask(segment), expected == value)
            assert segment.number == value or "--useLabelIDAsSegmentNumber" not in options
    # The heart overlaps the liver, the spine neither.
    overlapping = name == "overlapping"
    maps = label_maps(found)
    assert [np.unique(image.array).tolist() for image in maps] == (
        [[0, 1, 3], [0, 2]] if overlapping else [[0, *(s.number for s in found.segments)]]
    )


@pytest.mark.parametrize(
    "name",
    [
        "ct_binary",
        "ct_binary_fractional",
        "ct_true_fractional",
        "ct_binary_overlap",
        "ct_binary_single_frame",
    ],
)
def test_objects_of_highdicom_lie_where_its_own_reader_has_them(real_data: Path, name: str) -> None:
    path = real_data / "edge" / "dicom" / "highdicom" / f"seg_image_{name}.dcm"
    found = read_seg(path)
    theirs = highdicom.seg.segread(path)
    assert [segment.number for segment in found.segments] == list(theirs.segment_numbers)
    for segment in found.segments:
        mask = found.mask(segment)
        volume = theirs.get_volume(segment_numbers=[segment.number], allow_missing_positions=True)
        expected = positions(volume.array[..., 0] > 0.5, FLIP @ volume.affine)
        assert len(expected) > 0
        ours = positions(mask, found.geometry.affine)
        np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_the_threshold_of_fractions_is_half_and_told(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "edge" / "dicom" / "highdicom" / "seg_image_ct_true_fractional.dcm"
    dataset = pydicom.dcmread(source)
    dataset.MaximumFractionalValue = 200
    dataset.PixelData = bytes([99, 100, 101, 200] * (len(dataset.PixelData) // 4))
    dataset.save_as(tmp_path / "seg.dcm")
    found = read_seg(tmp_path / "seg.dcm")
    mask = found.mask(found.segments[0])
    np.testing.assert_array_equal(mask.reshape(4, 4, 16, 3)[..., 0, 0], [[0, 0, 1, 1]] * 4)
    assert found.notes == ("fractions above half of 200 were taken for the segment, others not",)


def test_padding_of_a_label_map_is_told(real_data: Path) -> None:
    path = real_data / "edge" / "dicom" / "dcmqi" / "sparse-labelmap-ppv5.dcm"
    found = read_seg(path)
    assert found.names == {1: "Liver", 5: "not labelled"}
    assert found.notes == ("value 5 is its padding: voxels that nobody labelled",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("seg_image_sm_control", "whole-slide"),
        ("seg_image_sm_dots_tiled_full", "whole-slide"),
        ("seg_image_sm_control_labelmap_palette_color", "whole-slide"),
        ("seg_image_cr_binary", "no position in the patient"),
        ("ct_image", "CT Image Storage, not a DICOM segmentation"),
        ("sr_document", "not a DICOM segmentation"),
    ],
)
def test_what_is_no_segmentation_of_a_volume_is_refused(
    real_data: Path, name: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        read_seg(real_data / "edge" / "dicom" / "highdicom" / f"{name}.dcm")


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Image, np.ndarray]:
    """A segmentation of two labels, its scan, and the labels; the first slices hold none."""
    like = make_series(tmp_path / "ct", oblique(np.random.default_rng(4), (13, 10, 12)))
    labels = ellipsoids(like.geometry.shape)
    labels[..., :3] = 0
    labels[3:6, 4:6, 8] = 7
    write_seg(tmp_path / "mask.seg.dcm", labels, like=like)
    return tmp_path / "mask.seg.dcm", like, labels


def rewritten(path: Path, dataset: pydicom.Dataset) -> Path:
    dataset.save_as(path.with_name("changed.dcm"))
    return path.with_name("changed.dcm")


def without_frames(dataset: pydicom.Dataset, drop: set[int]) -> pydicom.Dataset:
    """The object without some of its frames, counted from 0."""
    pixels = dataset.pixel_array
    kept = [frame for frame in range(len(pixels)) if frame not in drop]
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = [groups[frame] for frame in kept]
    dataset.NumberOfFrames = len(kept)
    packed = np.packbits(pixels[kept].ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    return dataset


@pytest.mark.parametrize("spacing_named", [True, False])
def test_slices_without_frames_are_background_at_the_true_spacing(
    written: tuple[Path, Image, np.ndarray], spacing_named: bool
) -> None:
    path, like, labels = written
    dataset = pydicom.dcmread(path)
    across = like.geometry.affine[:3, 2] * [-1, -1, 1]  # along K, LPS
    heights = [
        round(float(np.dot(item.PlanePositionSequence[0].ImagePositionPatient, across)), 3)
        for item in dataset.PerFrameFunctionalGroupsSequence
    ]
    gone = sorted(set(heights))[3:5]
    dataset = without_frames(dataset, {f for f, height in enumerate(heights) if height in gone})
    if not spacing_named:
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    held = np.flatnonzero(labels.any(axis=(0, 1)))
    expected = labels.copy()
    expected[..., held[3:5]] = 0
    (found,) = label_maps(read_seg(rewritten(path, dataset)))
    np.testing.assert_array_equal(found.array[0], expected[..., held.min() : held.max() + 1])


def test_a_mask_comes_onto_any_grid_of_the_same_voxels(
    written: tuple[Path, Image, np.ndarray],
) -> None:
    path, like, labels = written
    # The same voxels, their axes in another order and two of them the other way round.
    turned = labels.transpose(2, 0, 1)[::-1, :, ::-1]
    to_old = np.zeros((4, 4))
    to_old[[2, 0, 1, 3], [0, 1, 2, 3]] = -1, 1, -1, 1
    to_old[2, 3], to_old[1, 3] = labels.shape[2] - 1, labels.shape[1] - 1
    grid = Geometry(turned.shape, like.geometry.affine @ to_old)
    (found,) = label_maps(read_seg(path, like=grid))
    np.testing.assert_array_equal(found.array[0], turned)


def test_a_grid_between_the_voxels_is_refused(written: tuple[Path, Image, np.ndarray]) -> None:
    path, like, _ = written
    shift = np.eye(4)
    shift[0, 3] = 0.3
    with pytest.raises(DataError, match=r"0\.30 voxels off"):
        read_seg(path, like=Geometry(like.geometry.shape, like.geometry.affine @ shift))
    half = np.diag([0.5, 1, 1, 1])
    with pytest.raises(DataError, match="other spacing or axes"):
        read_seg(path, like=Geometry(like.geometry.shape, like.geometry.affine @ half))


def test_labels_outside_the_grid_are_cut_off_and_told(
    written: tuple[Path, Image, np.ndarray],
) -> None:
    path, like, labels = written
    found = read_seg(path, like=Geometry((13, 10, 6), like.geometry.affine))
    (image,) = label_maps(found)
    np.testing.assert_array_equal(image.array[0], labels[:13, :10, :6])
    assert "lie outside the grid of the image" in found.notes[0]


def test_frames_at_uneven_distances_need_the_image(
    written: tuple[Path, Image, np.ndarray],
) -> None:
    path, like, _ = written
    dataset = pydicom.dcmread(path)
    groups = dataset.PerFrameFunctionalGroupsSequence
    position = groups[1].PlanePositionSequence[0]
    normal = like.geometry.affine[:3, 2] * [-1, -1, 1]
    position.ImagePositionPatient = list(np.array(position.ImagePositionPatient) + 0.4 * normal)
    with pytest.raises(DataError, match="not evenly spaced"):
        read_seg(rewritten(path, dataset))


def test_a_tilted_gantry_is_carried(written: tuple[Path, Image, np.ndarray]) -> None:
    path, _, labels = written
    dataset = pydicom.dcmread(path)
    plain = read_seg(path).geometry
    # Each slice further along the rows by a third of the distance between slices.
    along = plain.affine[:3, 0] / plain.spacing_mm[0]
    normal = plain.affine[:3, 2] / plain.spacing_mm[2]
    for item in dataset.PerFrameFunctionalGroupsSequence:
        place = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float) * [-1, -1, 1]
        height = (place - plain.affine[:3, 3]) @ normal
        moved = (place + along * height / 3) * [-1, -1, 1]
        item.PlanePositionSequence[0].ImagePositionPatient = [f"{x:.9g}" for x in moved]
    found = read_seg(rewritten(path, dataset))
    assert found.geometry.shear_degrees == pytest.approx(np.degrees(np.arctan(1 / 3)), abs=1e-3)
    np.testing.assert_allclose(found.geometry.affine[:3, :2], plain.affine[:3, :2], atol=1e-6)
    assert found.geometry.affine[:3, 2] @ normal == pytest.approx(plain.spacing_mm[2], rel=1e-6)
    held = np.flatnonzero(labels.any(axis=(0, 1)))
    expected = labels[..., held.min() : held.max() + 1]
    np.testing.assert_array_equal(label_maps(found)[0].array[0], expected)


def test_two_frames_in_one_place_are_refused(written: tuple[Path, Image, np.ndarray]) -> None:
    path, _, _ = written
    dataset = pydicom.dcmread(path)
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].PlanePositionSequence = groups[0].PlanePositionSequence
    with pytest.raises(DataError, match="two frames of segment 1"):
        read_seg(rewritten(path, dataset))


def test_empty_slices_take_no_memory(real_data: Path, tmp_path: Path) -> None:
    """A damaged position may claim metres of them; what nothing was painted on stays untouched."""
    dataset = pydicom.dcmread(real_data / "edge" / "dicom" / "dcmqi" / "liver.dcm")
    place = dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    x, y, z = place.ImagePositionPatient
    place.ImagePositionPatient = [x, y, z + 3000]
    dataset.save_as(tmp_path / "far.dcm")
    # In a process of its own: how others have set the C library plays no part.
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from attnseg.images.dicom import read_seg\n"
        "from attnseg.memory import resident_bytes\n"
        "found = read_seg(Path(sys.argv[1]))\n"
        "before = resident_bytes()\n"
        "mask = found.mask(found.segments[0])\n"
        "print(mask.size, resident_bytes() - before)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "far.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, taken = map(int, done.stdout.split())
    assert size > 700_000_000
    assert taken < 50_000_000
