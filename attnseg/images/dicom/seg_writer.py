"""DICOM segmentation objects out, through highdicom."""

import logging
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import attnseg
from attnseg.errors import DataError, UsageError
from attnseg.files import write_bytes
from attnseg.images.dicom.attributes import reading
from attnseg.images.dicom.codes import colour, concept, long_string
from attnseg.images.dicom.segments import label_note
from attnseg.images.dicom.sources import Frame, complete, segment_names, source_frames
from attnseg.images.image import Image
from attnseg.images.paths import location


def write_seg(
    path: Path, labels: np.ndarray, *, like: Image, names: Mapping[int, str] | None = None
) -> None:
    """Write a mask as a binary DICOM segmentation (PS3.3 A.51).

    One segment a label, numbered from 1 in order of label values; its Segment Description, as
    "label 205", keeps the value. Labels that are named but not found are described and have no
    frame; where no label is found, each has one empty frame, since an object without frames is
    none. Patient, study and frame of reference are the source's.

    Args:
        path: where to.
        labels: `[I, J, K]` label values on the scan's grid.
        like: the scan, read from a DICOM series.
        names: label value → name; labels without one are called by their value.

    Raises:
        DataError: the scan is not DICOM, or its series lacks what a segmentation must refer to;
            no label at all.
        UsageError: highdicom is not installed.
    """
    path = Path(path)
    try:
        import highdicom
    except ImportError:
        raise UsageError(
            "DICOM segmentations are written by highdicom, which is not installed; run "
            "`pip install 'attnseg[dicom]'`"
        ) from None
    frames = source_frames(like)
    found = np.unique(labels)
    called = segment_names(found, names or {})
    if not called:
        raise DataError(f"{path}: no label is named and none found; a segmentation needs one")
    pixels = _segment_numbers(frames, labels, found, list(called))
    if pixels[0].size < 8:  # highdicom 0.28 packs them apart, where PS3.5 8.1.1 has them joined
        raise DataError(
            f"{path}: slices of {pixels[0].size} pixels; a DICOM segmentation is written of slices "
            "of 8 and more: write NIfTI, NRRD or MHA"
        )
    if not pixels.any():  # one frame a segment is enough to say that nothing was found
        frames, pixels = frames[:1], pixels[:1]
    # Each multi-frame image once, in the order of the slices.
    sources = {frame.dataset.get("SOPInstanceUID"): frame.dataset for frame in frames}
    place = location(like.path) if like.path else path
    # highdicom tells of each empty frame it leaves out, and of names it finds odd.
    quiet = logging.getLogger("highdicom")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    content = BytesIO()
    try:
        with reading(place):
            segmentation = highdicom.seg.Segmentation(
                source_images=[complete(place, dataset) for dataset in sources.values()],
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=_descriptions(highdicom, called),
                series_instance_uid=generate_uid(prefix=None),
                series_number=1000 + int(frames[0].dataset.get("SeriesNumber") or 0),
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer="attnseg",
                manufacturer_model_name="attnseg",
                software_versions=attnseg.__version__,
                device_serial_number="0",
                series_description="attnseg segmentation",
                content_label="SEGMENTATION",
                specific_character_set="ISO_IR 192",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=bool(pixels.any()),
                **_places(highdicom, frames, like),
            )
            segmentation.save_as(content)
    finally:
        quiet.setLevel(level)
    # Apart from `reading`: a full disk is no fault of the source's.
    write_bytes(path, content.getvalue())


def _segment_numbers(
    frames: list[Frame], labels: np.ndarray, found: np.ndarray, values: list[int]
) -> np.ndarray:
    """`[frames, rows, columns]`: 0, or the place of the voxel's label in `values`, from 1."""
    number = {0: 0} | {value: place for place, value in enumerate(values, start=1)}
    dtype = np.uint8 if len(values) < 256 else np.uint16
    numbers = np.array([number[value] for value in found.tolist()], dtype=dtype)
    return np.stack([numbers[np.searchsorted(found, frame.cut(labels))].T for frame in frames])


def _descriptions(highdicom: Any, called: Mapping[int, str]) -> list[Any]:
    """A Segment Description for each label, numbered from 1."""
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="attnseg", family=codes.CID7162.ArtificialIntelligence, version=attnseg.__version__
    )
    descriptions = []
    for number, (value, name) in enumerate(called.items(), start=1):
        what = concept(name)
        item = highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=long_string(name),
            segmented_property_category=what.category,
            segmented_property_type=what.kind,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*colour(number - 1)),
        )
        if what.side is not None:
            side = highdicom.sr.CodedConcept.from_code(what.side)
            kind = item.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = [side]
        item.SegmentDescription = label_note(value)
        descriptions.append(item)
    return descriptions


def _places(highdicom: Any, frames: list[Frame], like: Image) -> dict[str, Any]:
    """Position of each frame, and the orientation and spacing that they share."""
    first = frames[0].plane
    between = like.geometry.spacing_mm[frames[0].place.axis]
    thickness = frames[0].dataset.get("SliceThickness") or between
    return {
        "plane_positions": [
            highdicom.PlanePositionSequence("PATIENT", frame.plane.position_mm.tolist())
            for frame in frames
        ],
        "plane_orientation": highdicom.PlaneOrientationSequence(
            "PATIENT", first.orientation.tolist()
        ),
        "pixel_measures": highdicom.PixelMeasuresSequence(
            pixel_spacing=first.spacing_mm,
            slice_thickness=float(thickness),
            spacing_between_slices=between,
        ),
    }
