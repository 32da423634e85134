"""Data sets of pictures: PNG, JPEG and TIFF in place of volumes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from attnseg.datasets.cases import Case
from attnseg.datasets.findings import Finding
from attnseg.errors import DataError
from attnseg.images import (
    Image,
    as_shown,
    is_picture,
    palette_colours,
    picture_channels,
    picture_orientation,
)

_COLOURS = ("red", "green", "blue")
# A mask is said to be turned where, turned otherwise, it explains this much of the variance of the
# pixels or more, and so many times what it explains as it is: wide, for the eye decides.
_EXPLAINED, _TIMES = 0.1, 4.0
# The orientation that undoes another; all others undo themselves.
_UNDONE = {6: 8, 8: 6}


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


def check_turn(name: str, image: Image, labels: Image) -> list[Finding]:
    """A mask that was not turned together with its picture, where either has an EXIF orientation.

    A quarter turn shows in the sizes unless the picture is square. Otherwise the pixels are asked:
    a mask that lies right explains more of their variance than one that lies wrong.

    Args:
        name: of the case.
        image: as read, upright.
        labels: as read, upright.
    """
    of_image, of_labels = _orientation(image), _orientation(labels)
    undone = _UNDONE.get(of_labels, of_labels)
    reset = "`exiftool -n -Orientation=1 FILE`"
    drawn = labels.array[0]
    for orientation, how, remedy in (
        (
            undone,
            f"drawn on the picture as shown, and then turned by its own EXIF orientation "
            f"{of_labels}",
            f"remove the label's orientation ({reset})",
        ),
        (
            of_image,
            f"drawn on the picture as stored, before its EXIF orientation {of_image} turned it",
            f"turn the label as the picture is shown, or reset the picture's orientation ({reset})",
        ),
    ):
        turned = as_shown(drawn, orientation)
        if orientation == 1 or turned.shape != image.geometry.shape:
            continue
        if drawn.shape != turned.shape:
            (width, height, _), (wide, high, _) = drawn.shape, turned.shape
            problem = (
                f"label has {width} × {height} pixels, the image {wide} × {high}: it was {how}"
            )
            return [Finding(name, "fatal", problem, remedy)]
        here, there = _explained(image, drawn), _explained(image, turned)
        if there >= max(_EXPLAINED, _TIMES * here):
            problem = (
                f"label explains {here:.0%} of the variance of the pixels, but {there:.0%} if it "
                f"was {how}"
            )
            return [Finding(name, "warning", problem, f"look at the two: {remedy}")]
    return []


def colours_of_labels(labels: Image, values: Iterable[int]) -> dict[int, str]:
    """Label value → colour in the palette of a mask; none where it has no palette to speak of."""
    if not _noted(labels):
        return {}
    colours = palette_colours(_path(labels))
    return {value: colours[value] for value in values if value in colours}


def check_palettes(colours: Mapping[str, Mapping[int, str]]) -> list[Finding]:
    """Masks in which a label has another colour than in most, as where each has its own palette.

    Args:
        colours: case → `colours_of_labels`.
    """
    findings = []
    for value in sorted({value for each in colours.values() for value in each}):
        of_case = {name: each[value] for name, each in colours.items() if value in each}
        usual, count = Counter(of_case.values()).most_common(1)[0]
        for name, colour in of_case.items():
            if colour != usual:
                problem = (
                    f"label {value} is {colour} in the palette of its mask, and {usual} in {count} "
                    f"of {len(of_case)}"
                )
                remedy = (
                    "a palette's indices are the labels: save all masks with one palette, or as "
                    "grey PNG that hold the label values"
                )
                findings.append(Finding(name, "warning", problem, remedy))
    return findings


def _orientation(image: Image) -> int:
    """EXIF orientation of its file."""
    return picture_orientation(_path(image)) if _noted(image) else 1


def _noted(image: Image) -> bool:
    """Whether it is a picture of which the reader noted something: no other is opened again."""
    return bool(image.notes) and isinstance(image.path, Path) and is_picture(image.path)


def _path(image: Image) -> Path:
    assert isinstance(image.path, Path)
    return image.path


def _explained(image: Image, drawn: np.ndarray) -> float:
    """Of the variance of the pixels the share between labels, 0 to 1; of the channel with most."""
    _, labels = np.unique(drawn, return_inverse=True)
    labels = labels.ravel()
    sizes = np.bincount(labels)
    shares = [0.0]
    for channel in image.array:
        pixels = channel.ravel().astype(np.float64)
        pixels -= pixels.mean()
        total = float((pixels**2).sum())
        if total > 0:
            between = np.bincount(labels, pixels) ** 2 / sizes
            shares.append(float(between.sum()) / total)
    return max(shares)


def _has_colours(images: tuple[Path, ...]) -> bool:
    if len(images) != 1 or not is_picture(images[0]):
        return False
    try:
        return picture_channels(images[0]) == len(_COLOURS)
    except DataError:
        return False  # a file that cannot be read is named when its case is inspected
