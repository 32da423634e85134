"""What each file of a folder or a zip archive is: DICOM, unreadable, or something else."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pydicom import Dataset, dcmread
from pydicom.uid import UID

from attnseg.errors import AttnsegError, DataError
from attnseg.images.contents import (
    EMPTY,
    FORBIDDEN,
    Fault,
    absence,
    dead_link,
    files_below,
    hollow,
)
from attnseg.images.dicom.attributes import first_line, reading, refuse_bomb
from attnseg.images.paths import DICOM_SUFFIXES, has_suffix, is_bare, is_dicom
from attnseg.images.streams import DEFLATE_RATIO

_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality",
    "ImageType", "NumberOfFrames", "Rows",
]  # fmt: skip
_STANDARD = "1.2.840.10008."
_DIRECTORY = "1.2.840.10008.1.3.10"
_START_BYTES = 132
# Bytes of one file of an archive.
_MAX_MEMBER = 1 << 31

CUT_SHORT = Fault("cut short", "copy {it} again from its source")
NOT_DICOM = Fault("not DICOM, or cut short", "copy {it} again from its source")
_PACKED = Fault("packed on its own", "unpack {it}")
# First bytes of gzip, bzip2, xz and zstd.
_PACKING = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_ENCRYPTED = Fault("encrypted", "unpack the archive first")
_PACKED_LINK = Fault("a link packed into an archive", "pack what {it} leads to")


@dataclass(frozen=True)
class File:
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


@dataclass(frozen=True)
class Unread:
    """A file that could not be read.

    Args:
        name: within its place.
        fault: why.
        uid: of the series it says it belongs to; "" where it does not say so.
    """

    name: str
    fault: Fault
    uid: str = ""


@dataclass(frozen=True)
class Other:
    """A file that is plainly no DICOM image and does not say that it is."""

    name: str


@dataclass(frozen=True)
class _Member:
    """A file, or why it cannot be opened."""

    name: str
    size: int
    open: Callable[[], BinaryIO]
    fault: Fault | None = None
    packed: bool = False


def look(place: Path) -> Iterator[File | Unread | Other]:
    """What each file of a folder, an archive, or the one file is; each is opened once.

    Raises:
        DataError: no such place, a damaged archive, a file that would unpack without end.
    """
    with reading(place), _members(place) as members:
        for member in members:
            if member.fault is not None:
                yield Unread(member.name, member.fault)
                continue
            path = place if member.name == "." else place / member.name
            try:
                with member.open() as stream:
                    yield _look(path, member, stream)
            except AttnsegError:
                raise
            except (PermissionError, IsADirectoryError):  # a folder stands for what is in it
                yield Unread(member.name, FORBIDDEN)
            except Exception as error:  # pydicom raises whatever it meets in a damaged file
                damaged = Fault(f"damaged ({first_line(error)})", CUT_SHORT.remedy)
                yield Unread(member.name, damaged)


def _look(path: Path, member: _Member, stream: BinaryIO) -> File | Unread | Other:
    start = stream.read(_START_BYTES)
    marked = start[128:] == b"DICM"
    fault = hollow(start) or (_PACKED if start.startswith(_PACKING) else None)
    if fault is not None:
        return Unread(member.name, fault)
    if not marked and not is_bare(start):
        named = has_suffix(path.name, DICOM_SUFFIXES)
        other = not named and (member.name == "." or _is_text(start))
        return Other(member.name) if other else Unread(member.name, NOT_DICOM)
    stream.seek(0)
    refuse_bomb(path, stream)
    tags = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS, force=not marked)
    # A directory of media has its class in the file's meta information alone.
    kind = UID(str(tags.get("SOPClassUID") or tags.file_meta.get("MediaStorageSOPClassUID", "")))
    uid = str(tags.get("SeriesInstanceUID", ""))
    if not kind or not (marked or kind.startswith(_STANDARD)):
        return Unread(member.name, CUT_SHORT if marked else NOT_DICOM, uid)
    # Spectra have rows of voxels and no pixels.
    rows = "Rows" in tags and "Spectroscopy" not in kind.name
    image = rows or kind.name.endswith("Image Storage")
    # What is no image names its series all the same, but for a directory of media.
    cut = _ends_early(stream, member, tags) if image else not uid and kind != _DIRECTORY
    if cut:
        return Unread(member.name, CUT_SHORT, uid)
    return File(
        name=member.name,
        kind=kind,
        uid=uid,
        number=str(tags.get("SeriesNumber") or ""),
        modality=str(tags.get("Modality") or "?"),
        description=" ".join(str(tags.get("SeriesDescription") or "").split()),
        localizer="LOCALIZER" in [str(part).upper() for part in tags.get("ImageType") or ()],
        frames=int(tags.get("NumberOfFrames") or 1),
        image=rows,
    )


def _is_text(start: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in start)


def _ends_early(stream: BinaryIO, member: _Member, tags: Dataset) -> bool:
    """Whether an image ends before its pixels do; `stream` stands where they should begin."""
    syntax = tags.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_deflated:
        return False  # unpacked whole, with its checksum
    implicit, little = tags.original_encoding
    head = stream.read(8 if implicit else 12)
    if head[:2] not in (b"\xe0\x7f", b"\x7f\xe0"):
        return True
    length = int.from_bytes(head[-4:], "little" if little else "big")
    if length < 0xFFFFFFFF:
        return stream.tell() + length > member.size
    # Fragments, each with its length, up to a delimiter. What is packed is not unpacked for that.
    while not member.packed:
        head = stream.read(8)
        if len(head) < 8 or head[:4] != b"\xfe\xff\x00\xe0":
            return head[:4] != b"\xfe\xff\xdd\xe0"
        stream.seek(int.from_bytes(head[4:], "little"), os.SEEK_CUR)
    return False


@contextmanager
def _members(place: Path) -> Iterator[Iterator[_Member]]:
    """Every file, in order of the names, hidden ones left out."""
    with ExitStack() as stack:
        if place.is_dir():
            yield (
                _on_disk(path, path.relative_to(place).as_posix()) for path in files_below(place)
            )
        elif not place.is_file():
            raise DataError(absence(place))
        elif zipfile.is_zipfile(place) and not is_dicom(place):
            archive = stack.enter_context(zipfile.ZipFile(place))
            infos = [info for info in archive.infolist() if not info.is_dir()]
            yield (
                _in_archive(place, archive, info)
                for info in sorted(infos, key=lambda info: info.filename)
                if not any(
                    part.startswith(".") and part != ".."
                    for part in PurePosixPath(info.filename).parts
                )
            )
        elif has_suffix(place.name, ".zip") and not is_dicom(place):
            raise DataError(f"{place}: no zip archive, or cut short; copy it again")
        else:
            yield iter([_on_disk(place, ".")])


def _on_disk(path: Path, name: str) -> _Member:
    try:
        size = path.stat().st_size
    except OSError:
        return _Member(name, 0, partial(_opened, path), dead_link(path) or FORBIDDEN)
    return _Member(name, size, partial(_opened, path))


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _in_archive(place: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    # Unpacked as far as it is read: of most members that is their header.
    opened = cast(Callable[[], BinaryIO], partial(archive.open, info.filename))
    fault = None
    if info.flag_bits & 1:
        fault = _ENCRYPTED
    elif not info.file_size:
        fault = EMPTY
    elif stat.S_ISLNK(info.external_attr >> 16):
        fault = _PACKED_LINK
    elif info.file_size > max(1 << 20, min(_MAX_MEMBER, DEFLATE_RATIO * info.compress_size)):
        raise DataError(
            f"{place}: {info.filename} is to unpack to {info.file_size} bytes from "
            f"{info.compress_size}; no scan packs so well: check the archive"
        )
    return _Member(info.filename, info.file_size, opened, fault, packed=True)
