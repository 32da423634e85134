"""DICOM: series in, segmentations and structure sets in and out. Only here pydicom is known."""

from attnseg.images.dicom.find import choose_series, drawn_kind, find_series
from attnseg.images.dicom.referenced import referenced_series
from attnseg.images.dicom.rtstruct import read_rtstruct
from attnseg.images.dicom.rtstruct_writer import write_rtstruct
from attnseg.images.dicom.seg_writer import write_seg
from attnseg.images.dicom.segmentation import read_seg
from attnseg.images.dicom.segments import Segment, Segments, label_maps
from attnseg.images.dicom.stack import read_image, read_labels, read_outline

__all__ = [
    "Segment",
    "Segments",
    "choose_series",
    "drawn_kind",
    "find_series",
    "label_maps",
    "read_image",
    "read_labels",
    "read_outline",
    "read_rtstruct",
    "read_seg",
    "referenced_series",
    "write_rtstruct",
    "write_seg",
]
