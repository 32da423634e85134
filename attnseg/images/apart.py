"""A mask as a folder with a file for each label, as `attnseg predict --per-label` writes it: one
label map again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.contents import absence
from attnseg.images.image import Image
from attnseg.images.left_out import is_result
from attnseg.images.paths import is_picture, is_scan, strip_suffix

Read = Callable[[Path], Image]


def holds_labels(path: Path) -> bool:
    """Whether a folder may be a mask with a file for each label: images lie in it, and no manifest.

    Its files alone tell whether it is one; reading them does.
    """
    return bool(label_files(path)) and not is_result(path)


def label_files(folder: Path) -> list[Path]:
    """The files of the labels, in order of their names; none where there is no such folder."""
    return sorted(filter(is_scan, folder.iterdir())) if folder.is_dir() else []


def of_picture(mask: Path) -> bool:
    """Whether a mask is one of a picture: its file, or the files of its labels."""
    return is_picture(mask) or any(map(is_picture, label_files(mask)[:1]))


def read_apart(folder: Path, read: Read) -> Image:
    """The labels of all files as one label map, one file in memory at a time.

    Args:
        folder: whose files hold 0 and a label's value each.
        read: reads one file, `[1, I, J, K]`.

    Raises:
        DataError: no file, one with several labels, one label in two files, grids that differ,
            labels that overlap.
    """
    whole: Image | None = None
    array = np.zeros(0)
    names: dict[int, str] = {}
    notes: dict[str, None] = {}
    for path, labels, value in _read_each(folder, read):
        notes |= dict.fromkeys(labels.notes)
        if whole is None:
            whole, array = labels, labels.array.copy()
        elif not (labels.array.shape == array.shape and labels.geometry.matches(whole.geometry)):
            raise DataError(
                f"{path}: lies on another grid than {label_files(folder)[0].name} beside it, and "
                f"a folder in place of a mask holds the labels of one scan; give one mask, or a "
                "folder of them"
            )
        if value is None:
            continue
        if value in names:
            raise DataError(
                f"{folder}: {names[value]} and {path.name} both hold label {value}, and a folder "
                "in place of a mask holds a file for each label, with a value of its own; make one "
                "mask of them, or give a folder of masks"
            )
        there = labels.array != 0
        if shared := int(np.count_nonzero(array[there])) if names else 0:
            known = ", ".join(sorted(names.values()))
            raise DataError(
                f"{path}: overlaps in {shared} voxel(s) with {known} beside it, and a mask holds "
                "one label a voxel; score each file by its own, or make one mask of them"
            )
        names[value] = path.name
        array = array.astype(np.promote_types(array.dtype, labels.array.dtype), copy=False)
        array[there] = value
    if whole is None:
        raise DataError(
            f"{absence(folder)}, or a folder with a file for each label, as `attnseg predict "
            "--per-label` writes it"
        )
    return replace(whole, array=array, path=folder, notes=tuple(notes))


def names_apart(folder: Path, read: Read) -> dict[int, str]:
    """Label value → name of its file, without the suffix, of the labels that the files hold.

    Raises:
        DataError: a file that cannot be read, or holds several labels.
    """
    found = ((value, path) for path, _, value in _read_each(folder, read))
    return {value: strip_suffix(path.name) for value, path in found if value is not None}


def _read_each(folder: Path, read: Read) -> Iterator[tuple[Path, Image, int | None]]:
    """Each file, its labels, and the one value that it holds beside 0; None where it is blank."""
    for path in label_files(folder):
        labels = read(path)
        values = np.unique(labels.array)
        values = values[values != 0]
        if len(values) > 1:
            raise DataError(
                f"{path}: holds the labels {', '.join(map(str, values[:3].tolist()))}"
                f"{', …' if len(values) > 3 else ''}, and in a folder in place of a mask a file "
                "holds one; give the file itself, or a folder of masks"
            )
        yield path, labels, int(values[0]) if len(values) else None
