"""RT structure sets in: the contours of regions as masks (PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from attnseg.errors import DataError
from attnseg.images.dicom.attributes import frame_of_reference, open_dataset, reading
from attnseg.images.dicom.contours import filled
from attnseg.images.dicom.regions import (
    PatientGrid,
    Placed,
    axis_across,
    place_contours,
    sentence,
)
from attnseg.images.dicom.segments import Segment, Segments, label_values
from attnseg.images.image import Image
from attnseg.images.paths import Series

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
CONTOUR_DATA = Tag(0x3006, 0x0050)
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def read_rtstruct(path: Path, *, like: Image) -> Segments:
    """Read an RT structure set onto the grid of the series that it was drawn on.

    A voxel belongs to a region where its centre lies within its contours on that slice, by the
    even-odd rule: keyholes and contours within contours are holes. A centre that lies exactly on a
    contour belongs to the region on its left, back or head side, whatever the order in which the
    image is stored. A contour between two slices belongs to the nearer one, unless the region has
    contours that are nearer to it; nothing is put between slices.

    What is odd about a region never stops the others: its contours are cut at the image, or left
    out, and the notes say of which region how many, and by how much. A region of which nothing is
    left is left out.

    Args:
        path: the file.
        like: the image that it was drawn on.

    Raises:
        DataError: not a structure set; damaged; contours, and none of them can be read onto the
            image.
    """
    path = Path(path)
    dataset = open_dataset(path)
    with reading(path):
        if dataset.get("SOPClassUID") != STRUCTURE_SET:
            raise DataError(f"{path}: not an RT structure set; give the structure set's file")
        regions, left_out, notes = _regions(dataset, like)
        drawn, odd, unused = _contours(dataset, regions, left_out)
        notes += unused
        grid = PatientGrid.of(like.geometry)
        in_voxels = {
            number: [grid.voxels_of(points) for points in contours]
            for number, contours in drawn.items()
        }
        axis = axis_across([each for contours in in_voxels.values() for each in contours])
        placed: dict[int, Placed] = {}
        for number in sorted(regions):
            found = place_contours(in_voxels.get(number, []), grid, axis)
            placed[number] = found
            told = [*odd[number], *found.told]
            if not told and not found.slices:
                told = ["no contours, so its mask is empty"]
            notes += [f"region {_name(regions[number], number)!r}: {each}" for each in told]
        kept = [
            number
            for number, found in placed.items()
            if found.slices or not (odd[number] or found.told)
        ]
        lost = any(odd.values()) or any(found.told for found in placed.values())
        if (lost or left_out) and not any(found.slices for found in placed.values()):
            remedy = "give the image that it was drawn on" if lost else "export it again"
            raise DataError(
                f"{path}: nothing that it draws lies on the image ({'; '.join(notes[:3])}"
                f"{'; …' if len(notes) > 3 else ''}); {remedy}"
            )
        segments = _segments(regions, kept)
        uid = series_uid(dataset)
    if isinstance(like.path, Series) and uid and uid != like.path.uid:
        notes.append(f"it was drawn on series {uid}, another one than {like.path.uid}")

    def mask(segment: Segment) -> np.ndarray:
        volume = np.zeros(like.geometry.shape, dtype=bool, order="F")
        slices = np.moveaxis(grid.view(volume), axis, 0)
        for index, contours in placed[segment.number].slices.items():
            slices[index] = filled(contours, slices.shape[1:])
        return volume

    return Segments(path, like.geometry, segments, uid, mask, tuple(notes))


def _regions(dataset: Dataset, like: Image) -> tuple[dict[int, Dataset], set[int], list[str]]:
    """Number → description of the regions that can be read; numbers of those that are left out, and
    why."""
    described: dict[int, list[Dataset]] = defaultdict(list)
    notes = []
    for item in dataset.get("StructureSetROISequence") or ():
        if item.get("ROINumber") is None:
            name = str(item.get("ROIName") or "").strip()
            notes.append(f"region {name!r}: left out, for it has no number to find its contours by")
        else:
            described[int(item.ROINumber)].append(item)
    if any(abs(number) >= 2**31 for number in described):
        raise ValueError(f"regions are numbered {list(described)}")
    for number, items in described.items():
        if len(items) > 1:
            names = ", ".join(repr(_name(item, number)) for item in items)
            notes.append(
                f"regions {names}: left out, for they share the number {number}, and which "
                "contours are whose is unknown"
            )
    alone = {number: items[0] for number, items in described.items() if len(items) == 1}
    strange, told = _in_other_frames(alone, like)
    regions = {number: item for number, item in alone.items() if number not in strange}
    return regions, set(described) - set(regions), notes + told


def _in_other_frames(regions: dict[int, Dataset], like: Image) -> tuple[set[int], list[str]]:
    """Regions whose coordinates are of another frame of reference than the image, and what is told.

    Where all are, none is taken for odd: programs that remove names often give the two objects
    different identifiers.
    """
    own = frame_of_reference(like.path) if isinstance(like.path, Series) else ""
    frames = {
        number: str(item.get("ReferencedFrameOfReferenceUID") or "")
        for number, item in regions.items()
    }
    others = {number for number, uid in frames.items() if own and uid and uid != own}
    if others and len(others) == len(regions):
        return set(), [
            "its frame of reference is not the image's: see whether the masks lie where they should"
        ]
    return others, [
        f"region {_name(regions[number], number)!r}: left out, for its coordinates are of another "
        "frame of reference than the image's"
        for number in sorted(others)
    ]


def _contours(
    dataset: Dataset, regions: dict[int, Dataset], left_out: set[int]
) -> tuple[dict[int, list[np.ndarray]], dict[int, list[str]], list[str]]:
    """By region, its closed contours in mm (LPS) and what of it is left out; and what is left out
    of no region."""
    drawn: dict[int, list[np.ndarray]] = defaultdict(list)
    odd: dict[int, list[str]] = defaultdict(list)
    strangers: set[int] = set()
    nameless = 0
    for item in dataset.get("ROIContourSequence") or ():
        contours = item.get("ContourSequence") or ()
        if item.get("ReferencedROINumber") is None:
            nameless += len(contours)
            continue
        number = int(item.ReferencedROINumber)
        if number not in regions:
            strangers.update({number} if contours and number not in left_out else ())
            continue
        others = few = 0
        closed: list[np.ndarray] = []
        damage = ""
        for contour in contours:
            if contour.get("ContourGeometricType") not in _CLOSED:
                others += 1
                continue
            points = _points(contour)
            if isinstance(points, str):
                damage = points
            elif len(points) < 3:
                few += 1
            else:
                closed.append(points)
        if damage:  # a region that lacks some of its contours would be another region
            odd[number].append(f"left out, for one of its contours has {damage}")
            continue
        if drawn[number] and closed:
            odd[number].append("its contours stand in several lists, and were put together")
        drawn[number] += closed
        odd[number] += sentence(others, len(contours), "points or open lines", "left out")
        odd[number] += sentence(few, len(contours), "of fewer than three points", "left out")
    notes = [
        f"contours of region {number}, which the object does not describe, were left out"
        for number in sorted(strangers)
    ]
    if nameless:
        notes.append(f"{nameless} contour(s) that do not say of which region were left out")
    return drawn, odd, notes


def _segments(regions: dict[int, Dataset], kept: list[int]) -> tuple[Segment, ...]:
    texts = [str(regions[number].get("ROIDescription", "")) for number in kept]
    if min(kept, default=1) < 1:
        values = list(range(1, len(kept) + 1))
    else:
        values = label_values(kept, texts)
    return tuple(
        Segment(number, _name(regions[number], number), value)
        for number, value in zip(kept, values, strict=True)
    )


def _points(contour: Dataset) -> np.ndarray | str:
    """`[N, 3]` points of a contour in mm, LPS; or what is wrong with its numbers."""
    data = contour.get_item(CONTOUR_DATA)
    try:
        if isinstance(data, RawDataElement):
            words = (data.value or b"").strip(b" \0")
            values = np.array(words.split(b"\\") if words else []).astype(np.float64)
        else:
            held = [] if data is None or data.value is None else data.value
            values = np.atleast_1d(np.array(held, dtype=np.float64))
    except ValueError:
        return "coordinates that are no numbers"
    if len(values) % 3:
        return f"{len(values)} coordinates, not three a point"
    if not (np.abs(values) < 1e6).all():
        return "coordinates that are not finite, or beyond 1,000 m"
    return values.reshape(-1, 3)


def _name(item: Dataset, number: int) -> str:
    return str(item.get("ROIName") or "").strip() or f"region {number}"


def series_uid(dataset: Dataset) -> str:
    """SeriesInstanceUID of the images that contours were drawn on; empty where not named."""
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                return str(series.get("SeriesInstanceUID") or "")
    return ""
