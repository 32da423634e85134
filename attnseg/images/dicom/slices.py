"""The slices of a series, and what keeps them from making one even stack, in a line each."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from attnseg.errors import DataError
from attnseg.images.contents import shown
from attnseg.images.dicom.attributes import file_of, reading
from attnseg.images.dicom.planes import TOLERANCE, Plane
from attnseg.images.paths import Series

# Two slices nearer than this lie in the same place.
_SAME_MM = 1e-3
_REMEDY = "move away what is no part of it, or split it (dcm2niix does) and give one volume"
# How a file of a series is read: its name, and whether with its pixels.
Read = Callable[..., Dataset]


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice: the file that holds it, which frame of it, where it lies, how it is scaled.

    Args:
        name: of the file, within the series.
        index: of the frame within the file.
        plane: its place in mm.
        scale: slope and intercept.
        instance: what the user knows it by.
        uid: SOPInstanceUID of the file.
    """

    name: str
    index: int
    plane: Plane
    scale: tuple[float, float]
    instance: str
    uid: str


def in_order(source: Series, slices: Sequence[Slice], read: Read) -> list[Slice]:
    """Slices along their normal, once it is sure that they make one even stack.

    Raises:
        DataError: they do not.
    """
    first = slices[0].plane
    names = [each.name for each in slices]
    normals = np.array([each.plane.affine[:3, 2] for each in slices])
    tilted = np.degrees(np.arccos(np.clip(normals @ first.affine[:3, 2], -1, 1)))
    if tilted.max() > 0.5:
        looks = [tuple(np.round(normal, 2)) for normal in normals]
        raise DataError(
            f"{source}: its images look in {max(2, len(set(looks)))} directions, up to "
            f"{tilted.max():.0f}° apart: localisers or several views "
            f"({unlike_most(names, looks)}); {_REMEDY}"
        )
    steps = np.array([each.plane.affine[:3, :2] for each in slices])
    turned = np.abs(steps - first.affine[:3, :2]).max() * max(first.shape)
    if turned > TOLERANCE * min(first.spacing_mm):
        turns = [tuple(np.round(step, 2).ravel()) for step in steps]
        raise DataError(
            f"{source}: its images differ in pixel spacing or are turned in their plane "
            f"({unlike_most(names, turns)}); {_REMEDY}"
        )
    origins = np.array([each.plane.affine[:3, 3] for each in slices])
    heights = (origins - origins[0]) @ first.affine[:3, 2]
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    gaps = np.diff(heights[order])
    if (gaps < _SAME_MM).any():
        raise DataError(_crowded(source, ordered, gaps, read))
    if len(slices) > 1:
        _refuse_uneven(source, ordered, gaps, origins[order])
    return ordered


def unlike_most(names: Sequence[str], values: Sequence[Hashable]) -> str:
    """Which files have another value than most, in words."""
    (usual, count), *_ = Counter(values).most_common()
    odd = [name for name, value in zip(names, values, strict=True) if value != usual]
    return f"unlike {count} others: {shown(odd)}"


def several_sizes(source: Series, sizes: Sequence[tuple[int, int, int]]) -> str:
    """The error for images of several sizes, or of several numbers of bits a pixel.

    Args:
        source: the series.
        sizes: columns, rows and bits of each of its files.
    """
    kinds = sorted(set(sizes))
    depths = {bits for *_, bits in kinds}
    listed = ", ".join(
        f"{columns} × {rows}" + (f" of {bits} bits" if len(depths) > 1 else "")
        for columns, rows, bits in kinds
    )
    what = "sizes" if len({size[:2] for size in kinds}) > 1 else "numbers of bits a pixel"
    return (
        f"{source}: its images are of several {what} ({listed}); "
        f"{unlike_most(source.files, sizes)}; {_REMEDY}"
    )


def placeless(header: Dataset) -> str:
    """What an image is that does not say where it lies."""
    kind = UID(str(header.get("SOPClassUID", ""))).name
    if "Secondary Capture" in kind:
        what = "a screen capture or a page of a report (Secondary Capture)"
    elif any(word in kind for word in ("X-Ray", "Radiography", "Ultrasound", "VL ", "Photo")):
        what = f"a projection or a picture ({kind.removesuffix(' Storage')})"
    else:
        return (
            "no Image Position (Patient), so nobody knows where this slice lies; export the series "
            "again with its positions"
        )
    return (
        f"{what}, and no slice of a scan: it has no Image Position (Patient); give the series of "
        "the slices, or move this file away; models of pictures take it as PNG"
    )


def _crowded(source: Series, ordered: Sequence[Slice], gaps: np.ndarray, read: Read) -> str:
    """The error for several slices in one place: copies, slices sent twice, or time points."""
    places: list[list[Slice]] = [[ordered[0]]]
    for gap, each in zip(gaps, ordered[1:], strict=True):
        if gap < _SAME_MM:
            places[-1].append(each)
        else:
            places.append([each])
    crowded = [place for place in places if len(place) > 1]
    total, surplus = len(ordered), len(ordered) - len(places)
    pairs = [" and ".join(sorted(each.name for each in place)) for place in crowded]
    if all(len({(each.uid, each.index) for each in place}) == 1 for place in crowded):
        return (
            f"{source}: {surplus} of its {total} images are copies of others; remove them, one of "
            f"{shown(pairs)}"
        )
    # Pixels are read of the places where slices meet, until two differ.
    if all(_same_pixels(source, place, read) for place in crowded):
        return (
            f"{source}: {surplus} of its {total} images were sent twice: they have the place and "
            f"the pixels of others; remove them, one of {shown(pairs)}"
        )
    return (
        f"{source}: {total} images in {len(places)} places: time points, echoes or "
        f"reconstructions in one series, such as {pairs[0]}; {_REMEDY}"
    )


def _same_pixels(source: Series, place: Sequence[Slice], read: Read) -> bool:
    first, *others = (_stored(source, each, read) for each in place)
    scales = {each.scale for each in place}
    return len(scales) == 1 and all(np.array_equal(first, other) for other in others)


def _stored(source: Series, each: Slice, read: Read) -> np.ndarray:
    with reading(file_of(source, each.name)):
        return pixel_array(read(each.name, pixels=True), index=each.index)


def _refuse_uneven(
    source: Series, slices: Sequence[Slice], gaps: np.ndarray, origins: np.ndarray
) -> None:
    # The median; of two distances the smaller, for what is missing widens one.
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    widest = int(gaps.argmax())
    between = f"between images {slices[widest].instance} and {slices[widest + 1].instance}"
    missing = round(gaps[widest] / usual) - 1
    if missing >= 1 and abs(gaps[widest] / usual - missing - 1) < 0.2:
        total = int((np.round(gaps / usual) - 1).sum())
        raise DataError(
            f"{source}: {total} slice(s) missing, {missing} of them {between} "
            f"({gaps[widest]:.4g} mm where others are {usual:.4g} mm apart); copy the series again"
        )
    steps = np.linspace(0, 1, len(origins))[:, None]
    off = np.linalg.norm(origins - origins[0] - steps * (origins[-1] - origins[0]), axis=1)
    if off.max() > TOLERANCE * usual:
        raise DataError(
            f"{source}: slices {gaps.min():.4g} to {gaps.max():.4g} mm apart, the widest {between}"
            f"; an even stack is needed, within {TOLERANCE:.0%} of a slice: resample it in a tool "
            "that knows how it was scanned"
        )
