"""One scan in, one mask out: images with their geometry, in the formats that people have."""

from attnseg.images.contents import absence, files_below, shown
from attnseg.images.formats import (
    find_source,
    read_case,
    read_image,
    read_labels,
    read_outline,
    write_image,
    write_labels,
)
from attnseg.images.geometry import MAX_SHEAR_DEGREES, Geometry
from attnseg.images.image import Image, Outline, smallest_integer_type
from attnseg.images.left_out import LeftOut, left_out
from attnseg.images.nifti import open_volumes, write_volumes
from attnseg.images.paths import (
    MASK_SUFFIXES,
    SCAN_SUFFIXES,
    UNREAD_SUFFIXES,
    WRITTEN_SUFFIXES,
    Series,
    Source,
    absolute,
    half_of_a_pair,
    has_suffix,
    holds_dicom,
    is_dicom,
    is_picture,
    is_scan,
    location,
    names_dicom,
    scan_suffix,
    split_channel,
    strip_suffix,
)
from attnseg.images.pictures import picture_channels

__all__ = [
    "MASK_SUFFIXES",
    "MAX_SHEAR_DEGREES",
    "SCAN_SUFFIXES",
    "UNREAD_SUFFIXES",
    "WRITTEN_SUFFIXES",
    "Geometry",
    "Image",
    "LeftOut",
    "Outline",
    "Series",
    "Source",
    "absence",
    "absolute",
    "files_below",
    "find_source",
    "half_of_a_pair",
    "has_suffix",
    "holds_dicom",
    "is_dicom",
    "is_picture",
    "is_scan",
    "left_out",
    "location",
    "names_dicom",
    "open_volumes",
    "picture_channels",
    "read_case",
    "read_image",
    "read_labels",
    "read_outline",
    "scan_suffix",
    "shown",
    "smallest_integer_type",
    "split_channel",
    "strip_suffix",
    "write_image",
    "write_labels",
    "write_volumes",
]
