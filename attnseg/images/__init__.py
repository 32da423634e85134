"""One scan in, one mask out: images with their geometry; NIfTI and pictures, read and written."""

from attnseg.images.formats import read_case, read_image, read_labels, read_outline, write_labels
from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, Outline, smallest_integer_type
from attnseg.images.nifti import write_image, write_volumes
from attnseg.images.paths import SCAN_SUFFIXES, is_picture, is_scan, split_channel, strip_suffix
from attnseg.images.pictures import picture_channels

__all__ = [
    "SCAN_SUFFIXES",
    "Geometry",
    "Image",
    "Outline",
    "is_picture",
    "is_scan",
    "picture_channels",
    "read_case",
    "read_image",
    "read_labels",
    "read_outline",
    "smallest_integer_type",
    "split_channel",
    "strip_suffix",
    "write_image",
    "write_labels",
    "write_volumes",
]
