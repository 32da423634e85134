"""DICOM segmentation objects in: binary, fractional and label map (PS3.3 A.51, C.8.20)."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.pixels import iter_pixels

from attnseg.errors import DataError
from attnseg.images.dicom.attributes import group_item, open_dataset, reading
from attnseg.images.dicom.outside import Outside
from attnseg.images.dicom.planes import (
    Misplaced,
    Placement,
    Plane,
    frame_planes,
    grid_of,
    placement,
)
from attnseg.images.dicom.segments import Segment, Segments, label_values
from attnseg.images.geometry import Geometry

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
# A compressed frame never unpacks to more than this many times its bytes: an empty one of JPEG-LS
# comes close.
_COMPRESSION_RATIO = 1 << 16


def read_seg(path: Path, *, like: Geometry | None = None) -> Segments:
    """Read a DICOM segmentation.

    What is odd about a segment never stops the others: voxels outside the grid of `like` are cut
    off, a segment whose frames lie between the voxels of that grid is left out, and the notes say
    so.

    A voxel of a fractional one belongs to the segment where its value is above half of Maximum
    Fractional Value. Slices without a frame are background; in a label map they are its Pixel
    Padding Value, which is then a value of its own, not background, unless it is 0.

    Args:
        path: the file.
        like: the grid that the masks are to lie on, as of the image they belong to; by default
            the object's own: I along its columns, J along its rows, K along their normal.

    Raises:
        DataError: not a segmentation, of a whole slide, without places of its frames; frames that
            lie between the voxels of the grid, or labels outside it, and no other; damaged.
    """
    path = Path(path)
    dataset = open_dataset(path)
    with reading(path):
        _refuse_others(path, dataset)
        planes = frame_planes(dataset)
        _check_length(path, dataset, len(planes))
        try:
            geometry = like or grid_of(planes, _spacings(dataset))
            places, misplaced = _places(planes, geometry)
            if misplaced and (not places or dataset.SOPClassUID == LABEL_MAP or like is None):
                raise next(iter(misplaced.values()))
        except Misplaced as error:
            grid = "the grid of the image" if like else "one even grid"
            remedy = "give the image that it was drawn on" if like is None else "resample it"
            raise DataError(f"{path}: does not lie on {grid}: {error}; {remedy}") from error
        if math.prod(geometry.shape) > _COMPRESSION_RATIO * path.stat().st_size:
            raise DataError(
                f"{path}: its frames span a grid of {geometry.shape} voxels, more than a file of "
                "its size can mean; export it again"
            )
        if dataset.SOPClassUID == LABEL_MAP:
            return _label_map(path, dataset, geometry, list(places.values()))
        return _masks(path, dataset, geometry, places, misplaced)


def _places(
    planes: list[Plane], geometry: Geometry
) -> tuple[dict[int, Placement], dict[int, Misplaced]]:
    """Frame → where it lies on the grid, or why it does not."""
    places: dict[int, Placement] = {}
    misplaced: dict[int, Misplaced] = {}
    for frame, each in enumerate(planes):
        try:
            places[frame] = placement(each, geometry)
        except Misplaced as error:
            misplaced[frame] = error
    return places, misplaced


def _refuse_others(path: Path, dataset: Dataset) -> None:
    """Objects that are no segmentation of a volume."""
    if dataset.get("SOPClassUID") not in (SEGMENTATION, LABEL_MAP):
        kind = getattr(dataset.get("SOPClassUID"), "name", "an object without a class")
        kind = " ".join(kind.split())
        raise DataError(f"{path}: {kind}, not a DICOM segmentation; give the segmentation's file")
    if "TotalPixelMatrixRows" in dataset:
        raise DataError(
            f"{path}: a segmentation of a whole-slide image; attnseg reads those of volumes: tile "
            "the slide into pictures and masks"
        )
    if group_item(dataset, 0, "PlanePositionSequence") is None:
        raise DataError(
            f"{path}: its frames have no position in the patient (a projection image's); attnseg "
            "reads segmentations of volumes: export picture and mask as PNG"
        )


def _check_length(path: Path, dataset: Dataset, frames: int) -> None:
    """Refuse what promises more pixels than the file holds, before memory is touched."""
    groups = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    promised = int(dataset.NumberOfFrames) * int(dataset.Rows) * int(dataset.Columns)
    held = len(dataset.PixelData)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        enough = promised <= held * _COMPRESSION_RATIO
    else:
        enough = promised * int(dataset.BitsAllocated) <= 8 * held
    if not enough or groups != frames:
        raise DataError(
            f"{path}: promises {dataset.NumberOfFrames} frames of {dataset.Columns} × "
            f"{dataset.Rows} pixels, and holds {held} bytes and the places of {groups}; copy it "
            "again"
        )


def _spacings(dataset: Dataset) -> list[float]:
    """Distances between slices that the object names, in mm, most trusted first."""
    measures = group_item(dataset, 0, "PixelMeasuresSequence") or Dataset()
    named = (measures.get("SpacingBetweenSlices"), measures.get("SliceThickness"))
    between, thickness = (float(each) if each else 0.0 for each in named)
    several = len(dataset.PerFrameFunctionalGroupsSequence) > 1
    # Slices may be thinner than they are apart: of several, the positions know better.
    return [each for each in ((between,) if several else (between, thickness)) if each < 1e6]


def _masks(
    path: Path,
    dataset: Dataset,
    geometry: Geometry,
    places: dict[int, Placement],
    misplaced: dict[int, Misplaced],
) -> Segments:
    """A binary or fractional object: each frame of one segment."""
    frames: dict[int, list[int]] = defaultdict(list)
    off: dict[int, list[int]] = defaultdict(list)
    seen = set()
    for frame in range(len(places) + len(misplaced)):
        item = group_item(dataset, frame, "SegmentIdentificationSequence")
        if item is None:
            raise ValueError(f"frame {frame + 1} names no segment")
        number = int(item.ReferencedSegmentNumber)
        if frame in misplaced:
            off[number].append(frame)
            continue
        if (number, places[frame].slice) in seen:
            raise DataError(
                f"{path}: two frames of segment {number} lie in the same place, as of several "
                "times; split it into one object each"
            )
        seen.add((number, places[frame].slice))
        frames[number].append(frame)
    described = _segments(path, dataset)
    strangers = sorted({*frames, *off} - {segment.number for segment in described})
    if strangers and not described:
        raise ValueError(f"frames of segment {strangers[0]}, which is not described")
    notes = [
        f"frames of segment {number}, which the object does not describe, were left out"
        for number in strangers
    ]
    for segment in described:
        if mine := off.get(segment.number):
            count = f"{len(mine)} of {len(mine) + len(frames[segment.number])} frames"
            notes.append(
                f"segment {segment.name!r} does not lie on the grid of the image ({count}: "
                f"{misplaced[mine[0]]}), and was left out"
            )
    segments = tuple(each for each in described if each.number not in off)
    if off and not segments:
        raise DataError(f"{path}: does not lie on the grid of the image ({'; '.join(notes)})")
    threshold = 0.0
    if dataset.SegmentationType == "FRACTIONAL":
        most = int(dataset.MaximumFractionalValue)
        threshold = most / 2
        notes.append(f"fractions above half of {most} were taken for the segment, others not")

    def pixels_of(segment: Segment, chosen: Callable[[int], bool]) -> Iterator[tuple]:
        mine = [frame for frame in frames.get(segment.number, []) if chosen(frame)]
        for frame, pixels in zip(mine, _pixels(dataset, mine), strict=True):
            yield places[frame], threshold < pixels.T

    def reaches_out(frame: int) -> bool:
        return not places[frame].inside(geometry.shape)

    outside = Outside(geometry)
    for segment in segments:
        for place, pixels in pixels_of(segment, reaches_out):
            outside.add(segment.name, place, pixels)
    whole = any(not reaches_out(frame) for each in segments for frame in frames[each.number])
    notes += outside.tell(path, whole=whole)

    def mask(segment: Segment) -> np.ndarray:
        # Slice by slice in memory, as it is painted: slices without a frame take none.
        volume = np.zeros(geometry.shape, dtype=bool, order="F")
        with reading(path):
            for place, pixels in pixels_of(segment, lambda frame: True):
                place.paint(volume, pixels)
        return volume

    return Segments(path, geometry, segments, series_uid(dataset), mask, tuple(notes))


def _label_map(
    path: Path, dataset: Dataset, geometry: Geometry, places: list[Placement]
) -> Segments:
    """A label map: each voxel holds the number of its segment."""
    if dataset.BitsAllocated not in (8, 16):
        raise ValueError(f"{dataset.BitsAllocated} bits a voxel of a label map")
    padding = int(dataset.get("PixelPaddingValue") or 0)
    dtype = np.uint8 if dataset.BitsAllocated == 8 else np.uint16
    if not 0 <= padding <= np.iinfo(dtype).max:
        raise ValueError(f"Pixel Padding Value {padding}")
    if len({(place.axis, place.slice) for place in places}) < len(places):
        raise DataError(
            f"{path}: two frames lie in the same place, as of several times; split it into one "
            "object each"
        )
    volume = np.full(geometry.shape, padding, dtype=dtype, order="F")
    outside, whole = Outside(geometry), False
    for place, pixels in zip(places, _pixels(dataset, list(range(len(places)))), strict=True):
        place.paint(volume, pixels.T)
        if place.inside(geometry.shape):
            whole = True
        else:
            outside.add("", place, ~np.isin(pixels.T, (0, padding)))
    notes = tuple(outside.tell(path, whole=whole))
    found = set(np.unique(volume).tolist()) - {0}
    segments = _segments(path, dataset)
    described = {segment.number for segment in segments}
    more: tuple[Segment, ...] = ()
    for number in sorted(found - described):
        name = "not labelled" if number == padding else f"label {number}"
        more = (*more, Segment(number, name, number))
        what = "its padding: voxels that nobody labelled" if number == padding else "not described"
        notes = (*notes, f"value {number} is {what}")
    if more and {segment.value for segment in segments} & {segment.value for segment in more}:
        segments = tuple(Segment(each.number, each.name, each.number) for each in segments)
    mask = partial(_equals, volume)
    ordered = tuple(sorted((*segments, *more), key=lambda segment: segment.number))
    return Segments(path, geometry, ordered, series_uid(dataset), mask, notes)


def _equals(volume: np.ndarray, segment: Segment) -> np.ndarray:
    equal: np.ndarray = volume == segment.number
    return equal


def _segments(path: Path, dataset: Dataset) -> tuple[Segment, ...]:
    """The described segments but a label map's background, 0."""
    items = [item for item in dataset.SegmentSequence if int(item.SegmentNumber) != 0]
    numbers = [int(item.SegmentNumber) for item in items]
    if len(set(numbers) & set(range(1, 1 << 16))) < len(numbers):
        raise DataError(
            f"{path}: segment numbers {numbers}; each must be its own, from 1 to 65535: export it "
            "again"
        )
    values = label_values(numbers, [str(item.get("SegmentDescription", "")) for item in items])
    found = [
        Segment(number, _name(item) or f"segment {number}", value)
        for number, item, value in zip(numbers, items, values, strict=True)
    ]
    return tuple(sorted(found, key=lambda segment: segment.number))


def _name(item: Dataset) -> str:
    meaning = (item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()])[0].get("CodeMeaning")
    return str(item.get("SegmentLabel") or meaning or "").strip()


def series_uid(dataset: Dataset) -> str:
    referenced = dataset.get("ReferencedSeriesSequence") or [Dataset()]
    return str(referenced[0].get("SeriesInstanceUID") or "")


def _pixels(dataset: Dataset, frames: list[int]) -> Iterator[np.ndarray]:
    """Stored values `[rows, columns]` of some frames, one after the other."""
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if dataset.BitsAllocated == 1 and not encapsulated:
        # Frames of single bits follow each other without a gap (PS3.5 8.1.1); pydicom 3.0 cannot
        # take one out that begins within a byte.
        shape = (int(dataset.Rows), int(dataset.Columns))
        packed = np.frombuffer(dataset.PixelData, dtype=np.uint8)
        for frame in frames:
            start, end = frame * math.prod(shape), (frame + 1) * math.prod(shape)
            bits = np.unpackbits(packed[start // 8 : -(-end // 8)], bitorder="little")
            yield bits[start % 8 :][: end - start].reshape(shape)
    elif frames:
        yield from iter_pixels(dataset, indices=frames, raw=True)
