"""Which DICOM series lie in a folder, a zip archive or a file: a few tags of each file tell."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pydicom import dcmread
from pydicom.uid import UID

from attnseg.errors import DataError
from attnseg.images.dicom.attributes import reading, refuse_bomb
from attnseg.images.paths import DICOM_SUFFIXES, Series, is_dicom, starts_as_dicom

_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality",
    "ImageType", "NumberOfFrames", "Rows",
]  # fmt: skip
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
# Of one file of an archive, and how far it may have been packed: what zlib can do at its best.
_MAX_MEMBER = 1 << 31
_MAX_RATIO = 1032


@dataclass(frozen=True)
class _File:
    """What the tags of one file say."""

    name: str
    kind: UID
    uid: str
    number: str
    modality: str
    description: str
    localizer: bool
    frames: int
    image: bool


def find_series(place: Path) -> list[Series]:
    """The image series of a folder and all below it, of a zip archive, or of one file.

    A classic series is all files of one SeriesInstanceUID; a multi-frame image is a series of its
    own. Localisers are left out, and so are hidden files.

    Returns:
        The one of most images first.

    Raises:
        DataError: nothing there is a DICOM image, or localisers only; a damaged or encrypted file
            or archive.
    """
    place = Path(place)
    files = [file for file in _files(place) if file is not None]
    images = [file for file in files if file.image and str(file.kind) not in _NO_SCANS]
    if not images:
        raise DataError(_no_image(place, files))
    scans = [file for file in images if not file.localizer]
    if not scans:
        raise DataError(
            f"{place}: localisers only ({len(images)} images on which a scan was planned); give "
            "the series of the scan itself"
        )
    groups: dict[tuple[str, str], list[_File]] = {}
    for file in scans:
        own = file.name if file.frames > 1 else ""
        groups.setdefault((file.uid, own), []).append(file)
    by_size = sorted(groups.values(), key=lambda group: (-_count(group), group[0].name))
    return [
        Series(place, group[0].uid, tuple(sorted(file.name for file in group)), _label(group))
        for group in by_size
    ]


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
        DataError: none or several are meant.
    """
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


def _files(place: Path) -> Iterator[_File | None]:
    with reading(place), _members(place) as members:
        for name, open_member in members:
            with open_member() as stream:
                marked = starts_as_dicom(stream)
                if not marked and not name.lower().endswith(DICOM_SUFFIXES) and name != ".":
                    continue
                stream.seek(0)
                path = place if name == "." else place / name
                with reading(path):
                    refuse_bomb(path, stream)
                    yield _read(name, stream, marked=marked)


@contextmanager
def _members(place: Path) -> Iterator[list[tuple[str, Callable[[], BinaryIO]]]]:
    """Name and opener of every file that may be DICOM."""
    with ExitStack() as stack:
        if place.is_dir():
            yield [
                (path.relative_to(place).as_posix(), partial(_opened, path))
                for path in sorted(place.rglob("*"))
                if path.is_file() and not path.name.startswith(".")
            ]
        elif not place.is_file():
            raise DataError(f"{place}: no such file or folder; check the path")
        elif zipfile.is_zipfile(place) and not is_dicom(place):
            archive = stack.enter_context(zipfile.ZipFile(place))
            infos = [info for info in archive.infolist() if not info.is_dir()]
            for info in infos:
                _refuse_member(place, info)
            yield [
                (info.filename, partial(_packed, archive, info.filename))
                for info in sorted(infos, key=lambda info: info.filename)
                if not Path(info.filename).name.startswith(".")
            ]
        elif place.suffix.lower() == ".zip" and not is_dicom(place):
            raise DataError(f"{place}: no zip archive, or cut short; copy it again")
        else:
            yield [(".", partial(_opened, place))]


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _packed(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    # Unpacked as far as it is read: of most members that is their header.
    return cast(BinaryIO, archive.open(name))


def _refuse_member(place: Path, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise DataError(f"{place}: {info.filename} is encrypted; unpack the archive first")
    if info.file_size > max(1 << 20, min(_MAX_MEMBER, _MAX_RATIO * info.compress_size)):
        raise DataError(
            f"{place}: {info.filename} is to unpack to {info.file_size} bytes from "
            f"{info.compress_size}; no scan packs so well: check the archive"
        )


def _read(name: str, stream: BinaryIO, *, marked: bool) -> _File | None:
    """What one file says; None for one that is not DICOM after all."""
    tags = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS, force=not marked)
    kind = UID(str(tags.get("SOPClassUID", "")))
    if not kind:
        # A directory of media has its class in the file's meta information alone.
        kind = UID(str(tags.file_meta.get("MediaStorageSOPClassUID", "")))
    if not kind:
        return None
    frames = int(tags.get("NumberOfFrames") or 1)
    return _File(
        name=name,
        kind=kind,
        uid=str(tags.get("SeriesInstanceUID", "")),
        number=str(tags.get("SeriesNumber") or ""),
        modality=str(tags.get("Modality") or "?"),
        description=" ".join(str(tags.get("SeriesDescription") or "").split()),
        localizer="LOCALIZER" in [str(part).upper() for part in tags.get("ImageType") or ()],
        frames=frames,
        image="Rows" in tags,
    )


def _count(group: Sequence[_File]) -> int:
    return sum(file.frames for file in group)


def _label(group: Sequence[_File]) -> str:
    first = group[0]
    parts = [first.modality]
    if first.number:
        parts.append(f"series {first.number}")
    count = _count(group)
    parts.append(f"{count} image{'s' * (count != 1)}")
    if first.description:
        parts.append(first.description)
    return ", ".join(parts)


def _no_image(place: Path, files: Sequence[_File]) -> str:
    if not files:
        return f"{place}: holds no DICOM file; check the path"
    kinds = {
        _NO_SCANS.get(str(file.kind), file.kind.name.removesuffix(" Storage")) for file in files
    }
    return (
        f"{place}: no DICOM scan but {', '.join(sorted(kinds))}; give the series of images "
        "(`attnseg convert` turns segmentations and structure sets into label maps)"
    )
