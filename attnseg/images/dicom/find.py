"""Which DICOM series lie in a folder, a zip archive or a file: a few tags of each file tell."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from pydicom import dcmread

from attnseg.errors import DataError
from attnseg.images.contents import shown
from attnseg.images.dicom.attributes import reading, refuse_bomb
from attnseg.images.dicom.members import NOT_DICOM, File, Other, Unread, look
from attnseg.images.paths import (
    Series,
    has_suffix,
    is_dicom,
    is_scan,
    names_dicom,
    plain_suffix,
)

# Objects with pixels that are no scan.
_NO_SCANS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose",
}
_DRAWN: dict[str, Literal["seg", "rtstruct"]] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "1.2.840.10008.5.1.4.1.1.66.7": "seg",
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
}


def find_series(place: Path) -> list[Series]:
    """The image series of a folder and all below it, of a zip archive, or of one file.

    A classic series is all files of one SeriesInstanceUID; a multi-frame image is a series of its
    own. Localisers are left out, and so are hidden files. A series with files beside it that may
    belong to it and cannot be read has a `fault`, for its volume would lack slices.

    Returns:
        The one of most images first.

    Raises:
        DataError: nothing there is a DICOM image that can be read, or localisers only; a damaged
            archive.
    """
    place = Path(place)
    found = list(look(place))
    files = [each for each in found if isinstance(each, File)]
    images = [file for file in files if file.image and str(file.kind) not in _NO_SCANS]
    suffixes = {plain_suffix(PurePosixPath(file.name).name) for file in images}
    unread = [
        each for each in found if isinstance(each, Unread) and _names_image(each.name, suffixes)
    ]
    # A text in the place of a slice, as the page that a server sent instead of it.
    numbered = {_without_numbers(file.name) for file in images}
    unread += [
        Unread(each.name, NOT_DICOM)
        for each in found
        if isinstance(each, Other) and "#" in (name := _without_numbers(each.name))
        if name in numbered
    ]
    others = [each.name for each in found if not isinstance(each, File)]
    if not images:
        raise DataError(_unread(place, unread) if unread else _no_image(place, files, others))
    scans = [file for file in images if not file.localizer]
    if not scans:
        raise DataError(
            f"{place}: localisers only ({len(images)} images on which a scan was planned); give "
            "the series of the scan itself"
        )
    groups: dict[tuple[str, str], list[File]] = {}
    for file in scans:
        own = file.name if file.frames > 1 else ""
        groups.setdefault((file.uid, own), []).append(file)
    by_size = sorted(groups.values(), key=lambda group: (-_count(group), group[0].name))
    return [_series(place, group, images, unread, _beside(place, others)) for group in by_size]


def _series(
    place: Path,
    group: Sequence[File],
    images: Sequence[File],
    unread: Sequence[Unread],
    beside: tuple[str, ...],
) -> Series:
    names = tuple(sorted(file.name for file in group))
    lacking = _may_belong(unread, group[0].uid, images)
    elsewhere = [each for each in unread if each not in lacking]
    notes = beside
    if elsewhere:
        notes += (f"of other series {_unread(place, elsewhere).removeprefix(f'{place}: ')}",)
    fault = _unread(place, lacking, read=len(names)) if lacking else ""
    return Series(place, group[0].uid, names, _label(group), fault, notes)


def _names_image(name: str, suffixes: Iterable[str]) -> bool:
    """Whether a file that cannot be read may be an image of a series, by its name: one that says
    DICOM, or is without a suffix, or ends as images of the place do, packed or not."""
    base = re.sub(r"\.(gz|bz2|xz|zst)$", "", PurePosixPath(name).name, flags=re.IGNORECASE)
    of_images = plain_suffix(base) in {*suffixes} - {""} and not is_scan(Path(base))
    return names_dicom(base) or of_images


def _without_numbers(name: str) -> str:
    """`a/IM0019` → `IM#`: what the names of a series' files have in common."""
    return re.sub(r"\d+", "#", PurePosixPath(name).name)


def _may_belong(unread: Sequence[Unread], uid: str, images: Sequence[File]) -> list[Unread]:
    """Those that say so, lie in a folder with images of the series, or in one without any."""
    folders: dict[PurePosixPath, set[str]] = {}
    for image in images:
        folders.setdefault(PurePosixPath(image.name).parent, set()).add(image.uid)
    return [
        each
        for each in unread
        if (
            uid.startswith(each.uid)  # which may itself be cut short
            if each.uid
            else uid in folders.get(PurePosixPath(each.name).parent, {uid})
        )
    ]


def _unread(place: Path, unread: Sequence[Unread], *, read: int = 0) -> str:
    """The error for files that cannot be read: how many, which, why, and what helps."""
    if unread[0].name == ".":
        return unread[0].fault.told(place)
    by_fault: dict[str, list[Unread]] = {}
    for each in unread:
        by_fault.setdefault(each.fault.what, []).append(each)
    reasons = [
        f"{what} ({len(those)}: {shown([each.name for each in those])})"
        for what, those in by_fault.items()
    ]
    remedies = dict.fromkeys(each.fault.remedy.format(it="each") for each in unread)
    total = f" of {len(unread) + read}" if read else ""
    lacking = ", and without them slices would be missing" if read else ""
    return (
        f"{place}: {len(unread)}{total} files cannot be read{lacking}: {', '.join(reasons)}; "
        f"{', '.join(remedies)}, or move away what is no part of the scan"
    )


def _beside(place: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Files of a series' place that may be meant as scans of their own."""
    scans = _scans_among(names)
    if not scans:
        return ()
    return (
        f"not read: {len(scans)} file(s) beside the DICOM images ({shown(scans)}); give them by "
        "their own names where they are scans too",
    )


def _scans_among(names: Sequence[str]) -> list[str]:
    return [name for name in names if is_scan(Path(name)) or has_suffix(name, ".zip")]


def drawn_kind(path: Path) -> Literal["seg", "rtstruct"] | None:
    """Which object with masks a file is; None for all else.

    Raises:
        DataError: DICOM, and damaged.
    """
    if not path.is_file() or not is_dicom(path):
        return None
    with reading(path), path.open("rb") as stream:
        refuse_bomb(path, stream)
        kind = str(dcmread(path, specific_tags=["SOPClassUID"], force=True).get("SOPClassUID", ""))
    return _DRAWN.get(kind)


def choose_series(found: Sequence[Series], wanted: str | None = None) -> tuple[Series, str]:
    """One of the series of a place.

    Args:
        found: by `find_series`.
        wanted: a SeriesInstanceUID or its end, a series number, or part of a description in any
            case; None takes the one of most images.

    Returns:
        The series, and what the user should know of the choice; "" where there was none.

    Raises:
        DataError: none or several are meant; the one that is meant lacks files.
    """
    meant, note = _chosen(found, wanted)
    if meant.fault:
        raise DataError(meant.fault)
    return meant, note


def _chosen(found: Sequence[Series], wanted: str | None) -> tuple[Series, str]:
    listed = "; ".join(series.label for series in found)
    if wanted is None:
        if len(found) == 1:
            return found[0], ""
        return found[0], (
            f"{len(found)} series: {listed}; took the largest, {found[0].label}: --series chooses"
        )
    exact = [each for each in found if each.uid == wanted or f"series {wanted}," in each.label]
    meant = exact or [
        each
        for each in found
        if each.uid.endswith(f".{wanted}") or wanted.lower() in each.label.lower()
    ]
    if len(meant) != 1:
        raise DataError(
            f"{found[0].place}: --series {wanted} means {len(meant)} of its {len(found)} series "
            f"({listed}); give the end of a UID, such as {found[0].uid[-12:]}"
        )
    return meant[0], ""


def _count(group: Sequence[File]) -> int:
    return sum(file.frames for file in group)


def _label(group: Sequence[File]) -> str:
    first = group[0]
    parts = [first.modality]
    if first.number:
        parts.append(f"series {first.number}")
    count = _count(group)
    parts.append(f"{count} image{'s' * (count != 1)}")
    if first.description:
        parts.append(first.description)
    return ", ".join(parts)


def _no_image(place: Path, files: Sequence[File], others: Sequence[str]) -> str:
    if not files:
        scans = _scans_among(others)
        if not scans or scans == ["."]:
            return f"{place}: holds no DICOM file; check the path"
        return (
            f"{place}: holds no DICOM file but {len(scans)} other scan(s) or archive(s) "
            f"({shown(scans)}); give each by its own name"
        )
    kinds = {
        _NO_SCANS.get(str(file.kind), file.kind.name.removesuffix(" Storage")) for file in files
    }
    return (
        f"{place}: no DICOM scan but {', '.join(sorted(kinds))}; give the series of images "
        "(`attnseg convert` turns segmentations and structure sets into label maps)"
    )
