"""Data sets of pictures: PNG, JPEG and TIFF in place of volumes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from attnseg.datasets.cases import Case
from attnseg.errors import DataError
from attnseg.images import is_picture, picture_channels

_COLOURS = ("red", "green", "blue")


def refuse_mixture(where: Path, files: Iterable[Path]) -> None:
    """Stop where some files are volumes and others pictures.

    Raises:
        DataError: both kinds are there.
    """
    names: dict[bool, list[str]] = {True: [], False: []}
    for file in files:
        names[is_picture(file)].append(file.name)
    pictures, volumes = names[True], names[False]
    if volumes and pictures:
        raise DataError(
            f"{where}: {len(volumes)} volume(s) such as {volumes[0]} beside {len(pictures)} "
            f"picture(s) such as {pictures[0]}; a data set holds one kind: move the others out"
        )


def channels_of(cases: Sequence[Case], names: tuple[str, ...]) -> tuple[str, ...]:
    """Red, green and blue where one channel is named and pictures have colours; `names` otherwise.

    Grey pictures among them count as colour ones with three equal channels.
    """
    if len(names) == 1 and any(_has_colours(case.images) for case in cases):
        return _COLOURS
    return names


def _has_colours(images: tuple[Path, ...]) -> bool:
    if len(images) != 1 or not is_picture(images[0]):
        return False
    try:
        return picture_channels(images[0]) == len(_COLOURS)
    except DataError:
        return False  # a file that cannot be read is named when its case is inspected
