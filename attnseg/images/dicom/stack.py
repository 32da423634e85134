"""A DICOM series as a volume: slices ordered by where they lie, or refused in one line.

Stacking follows PS3.3 C.7.6.2: Image Position and Orientation (Patient) place each frame, and
neither file names nor instance numbers play a part. I runs along a frame's columns, J along its
rows, K along their normal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels import pixel_array

from attnseg.errors import DataError
from attnseg.images.dicom.attributes import file_of, group_item, numbers, opened, reading
from attnseg.images.dicom.planes import frame_planes
from attnseg.images.dicom.slices import Read, Slice, in_order, placeless, several_sizes
from attnseg.images.geometry import Geometry, checked_geometry, shear_notes
from attnseg.images.image import Image, Outline
from attnseg.images.paths import Series, Source
from attnseg.images.streams import DEFLATE_RATIO, refuse_promise

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


@dataclass(frozen=True, eq=False)
class _Stack:
    """A series whose headers have been read: its frames from the first slice to the last."""

    frames: tuple[Slice, ...]
    geometry: Geometry
    stored_bytes: int
    notes: tuple[str, ...]


def read_image(source: Series, *, num_channels: int | None = None) -> Image:
    """Read a series as float32 `[1, I, J, K]`, rescaled to the modality's unit.

    Stored values are kept as they are but for Rescale Slope and Intercept, each slice's own.

    Args:
        source: of `find_series`.
        num_channels: a series is one channel, whatever is expected.

    Raises:
        DataError: damaged, in colour, or slices that make no even stack: missing, repeated, of
            several orientations, sizes or spacings, without a place.
    """
    with opened(source) as read:
        stack = _stack(source, read)
        array = np.empty(stack.geometry.shape, dtype=np.float32, order="F")
        held: tuple[str, Dataset | None] = ("", None)
        for k, frame in enumerate(stack.frames):
            if held[0] != frame.name:
                held = frame.name, read(frame.name, pixels=True)
            with reading(file_of(source, frame.name)):
                array[..., k] = _pixels(source, frame, held[1])
    return Image(array[None], stack.geometry, path=source, notes=stack.notes)


def read_outline(source: Series, *, num_channels: int | None = None) -> Outline:
    """What the headers of a series say, no pixel read.

    Args: as of `read_image`.

    Raises:
        DataError: as of `read_image`, so far as headers tell.
    """
    with opened(source) as read:
        stack = _stack(source, read)
    return Outline(stack.geometry, 1, stack.stored_bytes)


def read_labels(source: Source) -> Image:
    """Masks are not read from a series.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{source}: masks in DICOM are objects of their own; `attnseg convert` makes label maps of "
        "segmentations and structure sets"
    )


def _stack(source: Series, read: Read) -> _Stack:
    """The series by its headers; pixels are read only to tell slices sent twice from time points.

    Raises:
        DataError: it lacks files, or makes no even stack.
    """
    if source.fault:
        raise DataError(source.fault)
    headers = [(name, read(name)) for name in source.files]
    kinds = {str(header.get("SOPClassUID")) for _, header in headers}
    if _WHOLE_SLIDE in kinds:
        raise DataError(f"{source}: a whole-slide image, and attnseg reads volumes; export a PNG")
    sizes = [_size(_named(source, name), source, header) for name, header in headers]
    if len(set(sizes)) > 1:
        raise DataError(several_sizes(source, sizes))
    frames = [frame for name, header in headers for frame in _frames(source, name, header)]
    columns, rows, bits = sizes[0]
    stored = columns * rows * len(frames) * max(1, bits // 8)
    syntaxes = {header.file_meta.TransferSyntaxUID for _, header in headers}
    packed = any(syntax.is_encapsulated or syntax.is_deflated for syntax in syntaxes)
    room = _stored_size(source) * (DEFLATE_RATIO if packed else 1)
    refuse_promise(source.place, columns * rows * len(frames) * bits // 8, room=room)
    order = in_order(source, frames, read)
    geometry = _grid(source, order, headers[0][1])
    notes = [*source.notes, *shear_notes(geometry)]
    if any(header.get("PhotometricInterpretation") == "MONOCHROME1" for _, header in headers):
        notes.append("MONOCHROME1: high values are dark; they are kept as stored")
    return _Stack(tuple(order), geometry, stored, tuple(notes))


def _named(source: Series, name: str) -> str:
    """A file of a series, as messages name it."""
    return str(source) if name == "." else f"{source}: {name}"


def _size(what: str, source: Series, header: Dataset) -> tuple[int, int, int]:
    """Columns, rows and bits a pixel of a grey image that says where it lies."""
    if "ImagePositionPatient" not in header and "PerFrameFunctionalGroupsSequence" not in header:
        raise DataError(f"{what}: {placeless(header)}")
    with reading(source.place):
        columns, rows = int(header.Columns), int(header.Rows)
        bits = int(header.get("BitsAllocated") or 0)
        if int(header.get("SamplesPerPixel") or 1) != 1:
            raise DataError(
                f"{what}: an image in colour ({header.get('PhotometricInterpretation')}), and "
                "scans are grey: give the series it was made from, or move the file away"
            )
        if "MOSAIC" in [str(part) for part in header.get("ImageType") or ()]:
            raise DataError(f"{what}: a mosaic of slices (Siemens); convert it with dcm2niix")
        if min(columns, rows, bits) < 1:
            raise DataError(f"{what}: {columns} × {rows} pixels of {bits} bits; export it again")
    return columns, rows, bits


def _frames(source: Series, name: str, header: Dataset) -> list[Slice]:
    """The frames of one file."""
    with reading(source.place):
        try:
            planes = frame_planes(header)
            scales = [_scale(header, index) for index in range(len(planes))]
        except ValueError as error:
            raise DataError(f"{_named(source, name)}: {error}; export it again") from None
    instance = str(header.get("InstanceNumber") or name)
    several = len(planes) > 1
    uid = str(header.get("SOPInstanceUID") or name)
    return [
        Slice(name, index, plane, scale, f"frame {index + 1}" if several else instance, uid)
        for index, (plane, scale) in enumerate(zip(planes, scales, strict=True))
    ]


def _scale(header: Dataset, frame: int) -> tuple[float, float]:
    """Slope and intercept of a frame."""
    item: Any = header
    if "PerFrameFunctionalGroupsSequence" in header:
        item = group_item(header, frame, "PixelValueTransformationSequence") or header
    values = (item.get("RescaleSlope"), item.get("RescaleIntercept"))
    slope, intercept = numbers(
        [1.0 if values[0] is None else values[0], values[1] or 0.0], 2, what="Rescale Slope"
    )
    if slope == 0:
        raise ValueError("Rescale Slope is 0, which leaves no contrast")
    return float(slope), float(intercept)


def _stored_size(source: Series) -> int:
    """Bytes of the files of a series."""
    if source.place.is_dir():
        return sum((source.place / name).stat().st_size for name in source.files)
    size = source.place.stat().st_size
    return size if source.files == (".",) else size * DEFLATE_RATIO


def _grid(source: Series, frames: Sequence[Slice], header: Dataset) -> Geometry:
    affine = frames[0].plane.affine.copy()
    if len(frames) > 1:
        # Spacing as the positions have it, the tilt of a gantry included.
        last = frames[-1].plane.affine[:3, 3]
        affine[:3, 2] = (last - affine[:3, 3]) / (len(frames) - 1)
    else:
        affine[:3, 2] *= _thickness(header)
    shape = (*frames[0].plane.shape, len(frames))
    remedy = "export the series again"
    return checked_geometry(Path(str(source)), shape, affine, remedy=remedy)


def _thickness(header: Dataset) -> float:
    """Of a single slice in mm; 1 where nothing tells."""
    places = [header]
    if "SharedFunctionalGroupsSequence" in header:
        places.append(group_item(header, 0, "PixelMeasuresSequence") or header)
    for place in places:
        for keyword in ("SliceThickness", "SpacingBetweenSlices"):
            value = place.get(keyword)
            if value is not None and 1e-3 < float(value) < 1e3:
                return float(value)
    return 1.0


def _pixels(source: Series, frame: Slice, dataset: Dataset | None) -> np.ndarray:
    """`[I, J]` of one frame, rescaled."""
    assert dataset is not None
    stored = pixel_array(dataset, index=frame.index)
    if stored.shape != frame.plane.shape[::-1]:
        raise DataError(
            f"{source}: image {frame.instance} holds {_times(stored.shape[::-1])} pixels where its "
            f"header says {_times(frame.plane.shape)}; copy the series again"
        )
    slope, intercept = frame.scale
    if (slope, intercept) == (1.0, 0.0):
        return stored.T
    scaled: np.ndarray = stored.T.astype(np.float64) * slope + intercept
    return scaled


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
