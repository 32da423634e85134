"""RT structure sets out: labels as regions of interest (PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.dataelem import RawDataElement
from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

import attnseg
from attnseg.errors import DataError
from attnseg.files import write_bytes
from attnseg.images.dicom.attributes import reading
from attnseg.images.dicom.codes import PRIVATE_SCHEME, colour, concept, long_string
from attnseg.images.dicom.contours import outlines
from attnseg.images.dicom.planes import LPS_TO_RAS
from attnseg.images.dicom.rtstruct import CONTOUR_DATA, STRUCTURE_SET
from attnseg.images.dicom.segments import label_note
from attnseg.images.dicom.sources import TYPE_2, Frame, complete, segment_names, source_frames
from attnseg.images.image import Image
from attnseg.images.paths import location

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"


def write_rtstruct(
    path: Path, labels: np.ndarray, *, like: Image, names: Mapping[int, str] | None = None
) -> None:
    """Write a mask as an RT structure set.

    One region of interest a label, numbered from 1 in order of label values; its ROI Description,
    as "label 205", keeps the value. On each of the source's slices, closed contours run along the
    edges of the voxels, holes joined to them by keyholes: read back, every voxel is as it was.

    Args:
        path: where to.
        labels: `[I, J, K]` label values on the scan's grid.
        like: the scan, read from a DICOM series.
        names: label value → name; labels without one are called by their value.

    Raises:
        DataError: the scan is not DICOM, or its series lacks what contours must refer to; no label
            at all.
    """
    path = Path(path)
    frames = source_frames(like)
    called = segment_names(np.unique(labels), names or {})
    if not called:
        raise DataError(f"{path}: no label is named and none found; a structure set needs one")
    place = location(like.path) if like.path else path
    content = BytesIO()
    with reading(place):
        for frame in frames:
            complete(place, frame.dataset)
        structures = _header(frames)
        drawn = _contours(frames, labels)
        structures.StructureSetROISequence = []
        structures.ROIContourSequence = []
        structures.RTROIObservationsSequence = []
        for number, (value, name) in enumerate(called.items(), start=1):
            _add_region(structures, number, value, name)
            if value in drawn:
                structures.ROIContourSequence[-1].ContourSequence = drawn[value]
        structures.save_as(content, enforce_file_format=True)
    # Apart from `reading`: a full disk is no fault of the source's.
    write_bytes(path, content.getvalue())


def _header(frames: list[Frame]) -> Dataset:
    """All of a structure set but its regions."""
    source, now = frames[0].dataset, datetime.now()
    structures = Dataset()
    structures.file_meta = FileMetaDataset()
    structures.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # contours beyond 64 kB
    structures.SpecificCharacterSet = "ISO_IR 192"
    structures.SOPClassUID = STRUCTURE_SET
    structures.SOPInstanceUID = generate_uid(prefix=None)
    structures.file_meta.MediaStorageSOPClassUID = UID(STRUCTURE_SET)
    structures.file_meta.MediaStorageSOPInstanceUID = structures.SOPInstanceUID
    for keyword in (*TYPE_2, "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(structures, keyword, source.get(keyword))
    structures.PositionReferenceIndicator = source.get("PositionReferenceIndicator") or ""
    structures.Modality = "RTSTRUCT"
    structures.SeriesInstanceUID = generate_uid(prefix=None)
    structures.SeriesNumber = 1000 + int(source.get("SeriesNumber") or 0)
    structures.SeriesDescription = "attnseg structures"
    structures.OperatorsName = ""
    structures.InstanceNumber = 1
    structures.Manufacturer = "attnseg"
    structures.ManufacturerModelName = "attnseg"
    structures.SoftwareVersions = attnseg.__version__
    structures.StructureSetLabel = "attnseg"
    structures.StructureSetDate = structures.InstanceCreationDate = now.strftime("%Y%m%d")
    structures.StructureSetTime = structures.InstanceCreationTime = now.strftime("%H%M%S")
    structures.ApprovalStatus = "UNAPPROVED"
    series, study, frame_of_reference = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    images = {frame.dataset.SOPInstanceUID: frame.dataset.SOPClassUID for frame in frames}
    series.ContourImageSequence = [_reference(uid, kind) for uid, kind in images.items()]
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = source.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference.FrameOfReferenceUID = source.FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    structures.ReferencedFrameOfReferenceSequence = [frame_of_reference]
    return structures


def _reference(uid: str, kind: str, frame: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(kind)
    item.ReferencedSOPInstanceUID = UID(uid)
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def _add_region(structures: Dataset, number: int, value: int, name: str) -> None:
    """A region without contours: its name, its colour, what it is."""
    region, contour, observation = Dataset(), Dataset(), Dataset()
    region.ROINumber = contour.ReferencedROINumber = observation.ReferencedROINumber = number
    region.ReferencedFrameOfReferenceUID = structures.FrameOfReferenceUID
    region.ROIName = long_string(name)
    region.ROIDescription = label_note(value)
    region.ROIGenerationAlgorithm = "AUTOMATIC"
    contour.ROIDisplayColor = list(colour(number - 1))
    observation.ObservationNumber = number
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    kind = concept(name).kind
    if kind.scheme_designator != PRIVATE_SCHEME:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = kind.value, kind.scheme_designator
        code.CodeMeaning = kind.meaning
        observation.RTROIIdentificationCodeSequence = [code]
    structures.StructureSetROISequence.append(region)
    structures.ROIContourSequence.append(contour)
    structures.RTROIObservationsSequence.append(observation)


def _contours(frames: list[Frame], labels: np.ndarray) -> dict[int, list[Dataset]]:
    """Label value → its contours, in mm, slice by slice."""
    drawn: dict[int, list[Dataset]] = defaultdict(list)
    for frame in frames:
        pixels = frame.cut(labels)
        for value in np.unique(pixels[pixels != 0]).tolist():
            for outline in outlines(pixels == value):
                drawn[value].append(_contour(frame, outline))
    return drawn


def _contour(frame: Frame, outline: np.ndarray) -> Dataset:
    """An outline in pixels as a contour on its frame."""
    image, affine = frame.dataset, LPS_TO_RAS @ frame.plane.affine[:3]
    points = outline @ affine[:, :2].T + affine[:, 3]
    item = Dataset()
    item.ContourImageSequence = [_reference(image.SOPInstanceUID, image.SOPClassUID, frame.number)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    # As it goes into the file: pydicom would make an object of each of a million numbers.
    text = "\\".join(f"{number:.10g}" for number in points.ravel().tolist()).encode()
    text += b" " * (len(text) % 2)
    item[CONTOUR_DATA] = RawDataElement(
        CONTOUR_DATA, "DS", len(text), text, 0, is_implicit_VR=True, is_little_endian=True
    )
    return item
