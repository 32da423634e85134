"""Masks of DICOM objects as label maps, a file and a table of names beside it; and masks put on the
grids of their images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attnseg.datasets.bids_names import label_table
from attnseg.datasets.copies import refuse_existing, write_checked_labels
from attnseg.errors import DataError, UsageError
from attnseg.files import write_text
from attnseg.images import (
    WRITTEN_SUFFIXES,
    Image,
    find_source,
    has_suffix,
    is_picture,
    location,
    mask_name,
    of_picture,
    on_grid,
    read_image,
    read_labels,
    read_outline,
    scan_suffix,
    strip_suffix,
    why_not_on_grid,
)


def convert_drawn(
    source: Path,
    target: Path,
    *,
    like: Path | None = None,
    series: str | None = None,
    suffix: str = ".nii.gz",
    overwrite: bool = False,
) -> tuple[list[Path], tuple[str, ...]]:
    """A DICOM segmentation or structure set as label maps with their names.

    Args:
        source: the object's file.
        target: a file of a mask, or a folder for one of the object's name.
        like: the scan it was drawn on, whose grid the maps take; a segmentation has a grid of its
            own, a structure set none.
        series: of `like`, where several are there.
        suffix: of the files in a folder.
        overwrite: replace files that are there.

    Returns:
        The files of the maps, and what the reader had to settle.

    Raises:
        UsageError: a structure set without its scan; files that are there.
        DataError: an object that cannot be read, or that does not lie on the scan's grid.
    """
    from attnseg.images import dicom

    scan, choice = None, ""
    if like is not None:
        place, choice = find_source(like, series=series)
        geometry = read_outline((place,)).geometry
        nothing = np.broadcast_to(np.float32(0), (1, *geometry.shape))
        scan = Image(nothing, geometry, path=place)
    if dicom.drawn_kind(source) == "rtstruct":
        if scan is None:
            raise UsageError(
                f"{source}: a structure set has no grid of its own; give the scan that it was "
                "drawn on with --like"
            )
        segments = dicom.read_rtstruct(source, like=scan)
    else:
        segments = dicom.read_seg(source, like=scan.geometry if scan else None)
    maps = dicom.label_maps(segments)
    if not has_suffix(target.name, WRITTEN_SUFFIXES):
        target = target / f"{source.name.split('.')[0]}{suffix}"
    masks = []
    for each in maps:
        held = set(np.unique(each.array).tolist()) if len(maps) > 1 else set(segments.names)
        names = {value: name for value, name in segments.names.items() if value in held}
        masks.append((each, names))
    paths = write_drawn(masks, target, sources=[source], overwrite=overwrite)
    notes = (*_chosen(like, choice), *segments.notes)
    if len(maps) > 1:
        notes += (f"segments overlap: {len(maps)} label maps hold them",)
    return paths, notes


def convert_mask(
    source: Path,
    target: Path,
    *,
    like: Path,
    series: str | None = None,
    suffix: str = ".nii.gz",
    overwrite: bool = False,
) -> tuple[Path, tuple[str, ...]]:
    """A mask on the grid of its image, with the image's own header where the formats agree.

    Args:
        source: a file of a mask whose voxels lie on that grid, be it a part of it or in another
            order of axes; what it does not hold becomes 0.
        target: a file of a mask, or a folder for one of the mask's name.
        like: the image.
        series: of `like`, where several are there.
        suffix: of the file in a folder.
        overwrite: replace a file that is there.

    Returns:
        The file, and what had to be settled.

    Raises:
        UsageError: a picture; a file that is there.
        DataError: files that cannot be read; voxels that do not lie on the grid of the image.
    """
    place, choice = find_source(like, series=series)
    for each in (source, place):
        if is_picture(each) or (isinstance(each, Path) and of_picture(each)):
            raise UsageError(f"--like {like}: pictures have no place; leave it out")
    labels = read_labels(source)
    whole = read_image(place, num_channels=0 if isinstance(place, Path) else None)
    placed = on_grid(labels, whole.geometry, asked=True)
    if not placed.geometry.matches(whole.geometry):
        raise DataError(
            f"{source}: does not lie on the grid of {like}: "
            f"{why_not_on_grid(labels, whole.geometry)}; give the image that it was drawn on"
        )
    if not has_suffix(target.name, WRITTEN_SUFFIXES):
        target = target / f"{mask_name(source.name)}{suffix}"
    refuse_existing([target], [source, location(place)], overwrite=overwrite)
    mask = Image(placed.array, whole.geometry, whole.header, source)
    write_checked_labels(target, mask, {})
    return target, (*_chosen(like, choice), *placed.notes)


def _chosen(like: Path | None, choice: str) -> tuple[str, ...]:
    """What is told of the series that stands for `like`."""
    return (f"{like}: {choice}",) if choice else ()


def write_drawn(
    masks: Sequence[tuple[Image, Mapping[int, str]]],
    target: Path,
    *,
    sources: Sequence[Path] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write label maps and their names; several, where segments overlap, as NAME-1, NAME-2 …

    The names go to `NAME.tsv`, with the columns `index` and `name` as dseg.tsv of BIDS.

    Args:
        masks: label map `[1, I, J, K]` and label value → name.
        target: `.nii.gz`, `.nii`, `.nrrd` or `.mha`.
        sources: what they were read from, which is never written over.
        overwrite: replace files that are there.

    Returns:
        The files of the masks.

    Raises:
        UsageError: files that are there, without `overwrite`, or that are the sources.
        DataError: no mask.
    """
    if not masks:
        raise DataError(f"{target}: no segment holds anything; nothing is written")
    paths = _numbered(target, len(masks))
    tables = [path.with_name(f"{strip_suffix(path.name)}.tsv") for path in paths]
    refuse_existing([*paths, *tables], sources, overwrite=overwrite)
    for (labels, names), path, table in zip(masks, paths, tables, strict=True):
        write_checked_labels(path, labels, names)
        write_text(table, label_table(names))
    return paths


def _numbered(target: Path, count: int) -> list[Path]:
    if count == 1:
        return [target]
    stem, suffix = strip_suffix(target.name), scan_suffix(target.name)
    return [target.with_name(f"{stem}-{number}{suffix}") for number in range(1, count + 1)]
