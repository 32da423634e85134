"""Cases as pictures: a slice of a mask, of its reference beside it, over the scan."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.evaluation.metrics import as_predicted
from attnseg.images import Image, Source, on_grid, read_case, read_labels
from attnseg.inference import find_scans
from attnseg.spec import Region
from attnseg.visualization.figures import save_figure
from attnseg.visualization.report_parts import Shot
from attnseg.visualization.thumbnails import same_slice

# More than so many slices make no sheet.
MAX_TILES = 120

Scans = Mapping[str, tuple[Source, ...]]


def shot_of(
    name: str,
    mask: Path,
    reference: Path | None,
    scans: Scans,
    regions: Sequence[Region],
    *,
    caption: str,
    ignored: int | None = None,
) -> Shot | None:
    """The case as a picture; None where its mask cannot be read or lies on another grid."""
    try:
        predicted = read_labels(mask)
        drawn = read_labels(reference) if reference is not None and reference.exists() else None
        image = read_case(scans[name]) if name in scans else None
    except DataError:
        return None
    if predicted.array.min() < 0 or (drawn is not None and drawn.array.min() < 0):
        return None  # pictures paint labels from 1 on
    geometry = predicted.geometry
    if drawn is not None:
        drawn = on_grid(drawn, geometry)
    if image is None or not image.geometry.matches(geometry):
        # The labels alone, on black.
        image = Image(np.zeros(predicted.array.shape, np.float32), geometry, path=predicted.path)
    masks = [predicted]
    if drawn is not None and drawn.geometry.matches(geometry):
        if ignored is not None:
            # Where nobody drew, nothing is right or wrong: neither mask shows anything there.
            unknown = drawn.array == ignored
            masks = [replace(predicted, array=np.where(unknown, 0, predicted.array))]
            drawn = replace(drawn, array=np.where(unknown, 0, drawn.array))
        masks.append(replace(drawn, array=as_predicted(drawn.array, regions)))
    slices = same_slice(image, masks)
    return Shot(name, slices[0], slices[1] if len(slices) > 1 else None, caption)


def scans_by_name(folder: Path, num_channels: int, wanted: Collection[str]) -> Scans:
    """Scans by name, of the cases that are to be drawn.

    Raises:
        DataError: none of them is there.
    """
    found = {scan.name: scan.paths for scan in find_scans([folder], num_channels=num_channels)}
    if wanted and not found.keys() & set(wanted):
        raise DataError(
            f"{folder}: holds no scan of the {len(wanted)} cases (such as {min(wanted)}); correct "
            "--images, or leave it out"
        )
    return found


def save_sheet(tiles: Iterable[Shot], names: dict[int, str], path: Path, *, title: str) -> None:
    """Write the slices as one picture."""
    from attnseg.visualization.sheets import Tile, contact_sheet

    # The mean of a case fits under its slice, that of each label does not.
    shown = [Tile(s.name, s.predicted, s.caption.partition(" (")[0]) for s in tiles]
    save_figure(contact_sheet(shown, names=names, title=title), path)
