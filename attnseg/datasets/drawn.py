"""Masks that were drawn in DICOM objects, as label maps: a file, and a table of names beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attnseg.datasets.bids_names import label_table
from attnseg.datasets.convert import refuse_existing, write_checked_labels
from attnseg.errors import DataError
from attnseg.files import write_text
from attnseg.images import Image, scan_suffix, strip_suffix


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


def layers(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Label maps that hold all masks: one, or as many as overlaps ask for.

    A mask goes to the first map where nothing lies yet in its voxels.

    Args:
        masks: `[I, J, K]` bool, of labels 1, 2, …

    Returns:
        `[I, J, K]` label maps of the smallest integer type.
    """
    kind = np.min_scalar_type(len(masks))
    maps: list[np.ndarray] = []
    for value, mask in enumerate(masks, start=1):
        free = next((each for each in maps if not each[mask].any()), None)
        if free is None:
            free = np.zeros(mask.shape, dtype=kind)
            maps.append(free)
        free[mask] = value
    return maps


def _numbered(target: Path, count: int) -> list[Path]:
    if count == 1:
        return [target]
    stem, suffix = strip_suffix(target.name), scan_suffix(target.name)
    return [target.with_name(f"{stem}-{number}{suffix}") for number in range(1, count + 1)]
