"""One scan in, one mask out: images with their geometry, in the formats that people have."""

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
from attnseg.images.grids import on_common_grid, on_grid, why_not_on_grid
from attnseg.images.image import Image, Outline, smallest_integer_type
from attnseg.images.nifti import open_volumes, write_volumes
from attnseg.images.paths import (
    MASK_SUFFIXES,
    SCAN_SUFFIXES,
    WRITTEN_SUFFIXES,
    Series,
    Source,
    absolute,
    holds_dicom,
    is_dicom,
    is_picture,
    is_scan,
    location,
    mask_name,
    scan_suffix,
    split_channel,
    strip_suffix,
)
from attnseg.images.pictures import picture_channels

__all__ = [
    "MASK_SUFFIXES",
    "MAX_SHEAR_DEGREES",
    "SCAN_SUFFIXES",
    "WRITTEN_SUFFIXES",
    "Geometry",
    "Image",
    "Outline",
    "Series",
    "Source",
    "absolute",
    "find_source",
    "holds_dicom",
    "is_dicom",
    "is_picture",
    "is_scan",
    "location",
    "mask_name",
    "on_common_grid",
    "on_grid",
    "open_volumes",
    "picture_channels",
    "read_case",
    "read_image",
    "read_labels",
    "read_outline",
    "scan_suffix",
    "smallest_integer_type",
    "split_channel",
    "strip_suffix",
    "why_not_on_grid",
    "write_image",
    "write_labels",
    "write_volumes",
]
