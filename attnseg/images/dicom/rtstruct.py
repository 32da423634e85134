"""RT structure sets in and out, by pydicom alone (PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

import attnseg
from attnseg.errors import DataError
from attnseg.files import write_bytes
from attnseg.images.dicom.attributes import open_dataset, reading
from attnseg.images.dicom.codes import PRIVATE_SCHEME, colour, concept, long_string
from attnseg.images.dicom.contours import filled, outlines
from attnseg.images.dicom.planes import LPS_TO_RAS, TOLERANCE
from attnseg.images.dicom.segments import Segment, Segments, label_note, label_values
from attnseg.images.dicom.sources import TYPE_2, Frame, complete, segment_names, source_frames
from attnseg.images.image import Image
from attnseg.images.paths import Series, location

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
_CONTOUR_DATA = Tag(0x3006, 0x0050)
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


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


def read_rtstruct(path: Path, *, like: Image) -> Segments:
    """Read an RT structure set onto the grid of the series that it was drawn on.

    A voxel belongs to a region where its centre lies within its contours on that slice, by the
    even-odd rule: keyholes and contours within contours are holes. Nothing is put between slices.
    Regions of points and open lines are left out, which the notes tell.

    Args:
        path: the file.
        like: the image that it was drawn on; parts of contours outside it are cut off.

    Raises:
        DataError: not a structure set, contours that are not on slices of the image; damaged.
    """
    path = Path(path)
    dataset = open_dataset(path)
    with reading(path):
        if dataset.get("SOPClassUID") != STRUCTURE_SET:
            raise DataError(f"{path}: not an RT structure set; give the structure set's file")
        regions = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence", [])}
        if any(abs(number) >= 2**31 for number in regions):
            raise ValueError(f"regions are numbered {list(regions)}")
        drawn: dict[int, list[np.ndarray]] = defaultdict(list)
        others = set()
        for item in dataset.get("ROIContourSequence", []):
            number = int(item.ReferencedROINumber)
            for contour in item.get("ContourSequence") or ():
                if contour.ContourGeometricType in _CLOSED:
                    drawn[number].append(_points(contour))
                else:
                    others.add(number)
        if strangers := sorted(set(drawn) - set(regions)):
            raise ValueError(f"contours of region {strangers[0]}, which is not described")
        notes = tuple(
            f"region {_name(regions[number], number)!r} has points or open lines, which were left "
            "out"
            for number in sorted(others & set(regions))
        )
        axis, placed = _placed(path, drawn, like)
        kept = sorted(number for number in regions if number in drawn or number not in others)
        texts = [str(regions[number].get("ROIDescription", "")) for number in kept]
        if min(kept, default=1) < 1:
            kept_values = list(range(1, len(kept) + 1))
        else:
            kept_values = label_values(kept, texts)
        segments = tuple(
            Segment(number, _name(regions[number], number), value)
            for number, value in zip(kept, kept_values, strict=True)
        )
        uid = series_uid(dataset)
    if isinstance(like.path, Series) and uid and uid != like.path.uid:
        notes = (*notes, f"it was drawn on series {uid}, another one than {like.path.uid}")

    def mask(segment: Segment) -> np.ndarray:
        volume = np.zeros(like.geometry.shape, dtype=bool, order="F")
        slices = np.moveaxis(volume, axis, 0)
        for index, contours in placed.get(segment.number, {}).items():
            slices[index] = filled(contours, slices.shape[1:])
        return volume

    return Segments(path, like.geometry, segments, uid, mask, notes)


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
    item[_CONTOUR_DATA] = RawDataElement(
        _CONTOUR_DATA, "DS", len(text), text, 0, is_implicit_VR=True, is_little_endian=True
    )
    return item


def _points(contour: Dataset) -> np.ndarray:
    """`[N, 3]` points of a contour in mm, LPS."""
    data = contour.get_item(_CONTOUR_DATA)
    if isinstance(data, RawDataElement):
        values = np.array((data.value or b"").split(b"\\")).astype(np.float64)
    else:
        values = np.array([] if data is None else data.value, dtype=np.float64)
    if len(values) == 0 or len(values) % 3 or not (np.abs(values) < 1e6).all():
        raise ValueError(f"a contour of {len(values)} numbers, not three sensible ones a point")
    return values.reshape(-1, 3)


def _placed(
    path: Path, drawn: Mapping[int, list[np.ndarray]], like: Image
) -> tuple[int, dict[int, dict[int, list[np.ndarray]]]]:
    """The voxel axis across the contours; by region and slice, their points in pixels.

    Raises:
        DataError: a contour that is not on one of the image's slices.
    """
    to_voxel = np.linalg.inv(like.geometry.affine)
    found = {
        number: [
            points @ (to_voxel[:3, :3] @ LPS_TO_RAS).T + to_voxel[:3, 3] for points in contours
        ]
        for number, contours in drawn.items()
    }
    flat = np.array([np.ptp(each, axis=0) for contours in found.values() for each in contours])
    axis = int(np.argmin(flat.sum(axis=0))) if len(flat) else 2
    placed: dict[int, dict[int, list[np.ndarray]]] = {}
    for number, contours in found.items():
        placed[number] = defaultdict(list)
        for voxels in contours:
            index = round(float(voxels[:, axis].mean()))
            off = float(np.abs(voxels[:, axis] - index).max())
            if off > TOLERANCE or not 0 <= index < like.geometry.shape[axis]:
                raise DataError(
                    f"{path}: a contour of region {number} is not on a slice of the image (it is "
                    f"{off:.2f} slices off slice {index}); give the image that it was drawn on"
                )
            placed[number][index].append(np.delete(voxels, axis, axis=1))
    return axis, placed


def _name(item: Dataset, number: int) -> str:
    return str(item.get("ROIName") or "").strip() or f"region {number}"


def series_uid(dataset: Dataset) -> str:
    """SeriesInstanceUID of the images that contours were drawn on; empty where not named."""
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                return str(series.get("SeriesInstanceUID") or "")
    return ""
