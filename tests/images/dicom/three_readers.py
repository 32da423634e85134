"""Where highdicom, pydicom and dcmqi see the voxels of a DICOM segmentation, in mm, RAS+."""

import subprocess
import sysconfig
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from source_series import FLIP, positions

from attnseg.images import Geometry


def by_highdicom(path: Path) -> dict[int, np.ndarray]:
    segmentation = highdicom.seg.segread(path)
    found = {}
    for number in segmentation.segment_numbers:
        volume = segmentation.get_volume(segment_numbers=[number], allow_missing_positions=True)
        found[number] = positions(volume.array[..., 0], FLIP @ volume.affine)
    return found


def by_pydicom(path: Path) -> dict[int, np.ndarray]:
    """Frame by frame, from the attributes alone."""
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = shared.PixelMeasuresSequence[0].PixelSpacing
    found: dict[int, list[np.ndarray]] = {}
    groups = dataset.PerFrameFunctionalGroupsSequence
    for item, pixels in zip(groups, dataset.pixel_array, strict=True):
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(pixels)
        steps = np.outer(column * columns, directions[:3]) + np.outer(row * rows, directions[3:])
        found.setdefault(number, []).append((origin + steps) * [-1, -1, 1])
    return {number: positions_in_order(np.concatenate(points)) for number, points in found.items()}


def by_dcmqi(path: Path, folder: Path) -> dict[int, np.ndarray]:
    program = Path(sysconfig.get_path("scripts")) / "segimage2itkimage"
    folder.mkdir()
    subprocess.run(
        [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd", "-p", "s"],
        check=True,
        capture_output=True,
    )
    found = {}
    for file in folder.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        labels = sitk.GetArrayFromImage(image).T
        number = int(file.stem.removeprefix("s-"))
        found[number] = positions(labels > 0, FLIP @ affine)
    return found


def positions_in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 2).T)]


def assert_same_places(
    found: dict[int, np.ndarray], labels: np.ndarray, geometry: Geometry
) -> None:
    values = [value for value in np.unique(labels).tolist() if value]
    assert sorted(found) == list(range(1, len(values) + 1))
    for number, value in enumerate(values, start=1):
        expected = positions(labels == value, geometry.affine)
        np.testing.assert_allclose(found[number], expected, atol=1e-3)
