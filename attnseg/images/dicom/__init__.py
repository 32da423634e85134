"""DICOM: segmentations and structure sets in and out. The only place that knows pydicom."""

from attnseg.images.dicom.segmentation import read_seg
from attnseg.images.dicom.segments import Segment, Segments, label_maps

__all__ = ["Segment", "Segments", "label_maps", "read_seg"]
