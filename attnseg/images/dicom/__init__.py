"""DICOM: segmentations and structure sets in and out. The only place that knows pydicom."""

from attnseg.images.dicom.rtstruct import read_rtstruct, write_rtstruct
from attnseg.images.dicom.seg_writer import write_seg
from attnseg.images.dicom.segmentation import read_seg
from attnseg.images.dicom.segments import Segment, Segments, label_maps

__all__ = [
    "Segment",
    "Segments",
    "label_maps",
    "read_rtstruct",
    "read_seg",
    "write_rtstruct",
    "write_seg",
]
