"""The frames of a scan's DICOM series, and where each lies on the scan's grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from attnseg.errors import DataError
from attnseg.images.dicom.attributes import open_series, reading
from attnseg.images.dicom.planes import Misplaced, Placement, Plane, frame_planes, placement
from attnseg.images.image import Image
from attnseg.images.paths import Series, location
from attnseg.spec import unnamed

# Attributes of patient and study that a series may lack and masks must have, if empty.
TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source image.

    Args:
        dataset: the image that holds it, without pixels.
        number: counted from 1 in a multi-frame image; None in a classic one.
        plane: its place in mm.
        place: its place on the scan's grid.
    """

    dataset: Dataset
    number: int | None
    plane: Plane
    place: Placement

    def cut(self, labels: np.ndarray) -> np.ndarray:
        """The frame's `[I, J]` of a volume on the scan's grid."""
        view = self.place.view(labels)
        cut: np.ndarray = view[np.ix_(self.place.columns, self.place.rows)]
        return cut


def source_frames(image: Image) -> list[Frame]:
    """The frames that a scan was stacked from, in order of the slices of its grid.

    Args:
        image: read from a DICOM series.

    Raises:
        DataError: not read from DICOM; a series that is no longer what it was read from.
    """
    if not isinstance(image.path, Series):
        where = image.name if image.path is None else image.path
        raise DataError(
            f"{where}: not a DICOM scan, and DICOM masks refer to the images they were drawn on; "
            "write NIfTI, NRRD or MHA"
        )
    frames = []
    place = location(image.path)
    with reading(place):
        for dataset in open_series(image.path):
            planes = frame_planes(dataset)
            several = "NumberOfFrames" in dataset
            for index, plane in enumerate(planes):
                try:
                    found = placement(plane, image.geometry)
                except Misplaced as error:
                    raise DataError(f"{place}: not the grid of its mask: {error}") from error
                frames.append(Frame(dataset, index + 1 if several else None, plane, found))
    frames.sort(key=lambda frame: frame.place.slice)
    if not all(frame.place.inside(image.geometry.shape) for frame in frames):
        raise DataError(
            f"{place}: a frame lies outside the grid of its mask; write the mask on the scan's own "
            "grid"
        )
    if not frames or len({frame.place.slice for frame in frames}) < len(frames):
        raise DataError(f"{place}: several frames in one place, or none; predict from one series")
    slices = image.geometry.shape[frames[0].place.axis]
    if len(frames) < slices:
        raise DataError(
            f"{place}: {len(frames)} frames for the {slices} slices of its mask, and labels of "
            "the others would be lost; write the mask on the scan's own grid"
        )
    return frames


def complete(place: Path, dataset: Dataset) -> Dataset:
    """A source's header with what masks copy from it, empty where it may be.

    Raises:
        DataError: an identifier is missing that nothing can stand for.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not dataset.get(keyword):
            raise DataError(
                f"{place}: the images have no {keyword}, by which masks refer to them; "
                "write NIfTI, NRRD or MHA"
            )
    for keyword in TYPE_2:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    if dataset.PatientSex not in ("", "M", "F", "O"):
        dataset.PatientSex = ""
    return dataset


def segment_names(values: np.ndarray, names: Mapping[int, str]) -> dict[int, str]:
    """Name of each label that is told of: the named ones, and those found in the mask; not 0."""
    wanted = sorted((set(names) | set(values.tolist())) - {0})
    return {value: names.get(value, unnamed(value)) for value in wanted}
