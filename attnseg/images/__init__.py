"""One scan in, one mask out: images with their geometry, NIfTI reading and writing."""

from attnseg.images.formats import is_scan, read_case, split_channel
from attnseg.images.geometry import Geometry
from attnseg.images.image import Image, smallest_integer_type, strip_suffix
from attnseg.images.nifti import read_image, read_labels, write_image, write_labels

__all__ = [
    "Geometry",
    "Image",
    "is_scan",
    "read_case",
    "read_image",
    "read_labels",
    "smallest_integer_type",
    "split_channel",
    "strip_suffix",
    "write_image",
    "write_labels",
]
