"""What a file's name and its first bytes tell, before any format is opened."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from attnseg.errors import DataError

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
MGH_SUFFIXES = (".mgz", ".mgh")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES, *MGH_SUFFIXES)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Volumes that are written, scans and masks alike.
WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
SCAN_SUFFIXES = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES)
# How the files of masks end, by the name of their format. A writer is chosen by it.
MASK_SUFFIXES = {
    "nifti": ".nii.gz",
    "nrrd": ".nrrd",
    "mha": ".mha",
    "dicom-seg": ".seg.dcm",
    "rtstruct": ".rtstruct.dcm",
}


@dataclass(frozen=True)
class Series:
    """One DICOM series: some of the files of a folder or of a zip archive.

    Args:
        place: the folder, the archive, or the one file that holds the series.
        uid: its SeriesInstanceUID.
        files: names of its files, relative to a folder or inside an archive; (".",) where `place`
            is the file itself.
        label: what a user knows it by, as "MR, 40 images, HippoCrop".
    """

    place: Path
    uid: str
    files: tuple[str, ...]
    label: str = ""

    @property
    def name(self) -> str:
        """Name of the folder, or of the archive or file without its suffix."""
        return re.sub(r"\.(zip|dcm|dicom)$", "", self.place.name, flags=re.IGNORECASE)

    def __str__(self) -> str:
        return str(self.place)


# Where a scan, or one channel of it, is read from.
Source = Path | Series


def location(source: Source) -> Path:
    """The file, archive or folder on disk."""
    return source.place if isinstance(source, Series) else Path(source)


def absolute(source: Source) -> Source:
    """The same source by its absolute path, for processes elsewhere."""
    if isinstance(source, Series):
        return replace(source, place=source.place.absolute())
    return source.absolute()


def scan_suffix(name: str) -> str:
    """The part of a file name that says how to read it, as spelled there; empty for other names."""
    for suffix in SCAN_SUFFIXES:
        # Cameras and Windows write .PNG and .JPG.
        if (name if suffix in NIFTI_SUFFIXES else name.lower()).endswith(suffix):
            return name[len(name) - len(suffix) :]
    return ""


def strip_suffix(name: str) -> str:
    """`case_01.nii.gz` → `case_01`; names that are not of a scan stay."""
    return name.removesuffix(scan_suffix(name))


def mask_name(name: str) -> str:
    """The case that a mask belongs to by its file's name: without the suffix, and without the
    `.seg` that 3D Slicer puts before it (`case_01.seg.nrrd`)."""
    stem = strip_suffix(name)
    return stem.removesuffix(".seg") if name.lower().endswith((".nrrd", ".nhdr")) else stem


def split_channel(name: str) -> tuple[str, int] | None:
    """`case_0001` → (`case`, 1), as nnU-Net names the channels of a case; None for other names."""
    match = re.fullmatch(r"(.+)_(\d{4})", name)
    return (match[1], int(match[2])) if match else None


def is_scan(path: Path) -> bool:
    """Whether the file name says that it is an image attnseg reads; hidden files never are."""
    return bool(scan_suffix(path.name)) and not path.name.startswith(".")


def is_picture(source: Source) -> bool:
    """Whether the file name says that it is a 2D picture: PNG, JPEG or TIFF."""
    return isinstance(source, Path) and scan_suffix(source.name).lower() in PICTURE_SUFFIXES


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, or says so by its suffix."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    with path.open("rb") as stream:
        return starts_as_dicom(stream)


def starts_as_dicom(stream: BinaryIO) -> bool:
    """Whether DICOM's mark follows a preamble of 128 bytes (PS3.10, 7.1)."""
    return stream.read(132)[128:] == b"DICM"


def holds_dicom(folder: Path) -> bool:
    """Whether any file below a folder is DICOM, hidden files left aside."""
    return any(
        is_dicom(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    )


def first_bytes(path: Path) -> bytes:
    """The first 24 bytes of a file, by which its format is known.

    Raises:
        DataError: no such file, an empty one, or a git-LFS pointer in its place.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    with path.open("rb") as stream:
        start = stream.read(24)
    if not start:
        raise DataError(f"{path}: the file is empty; copy it again from its source")
    if start.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path}: this is a git-LFS pointer, not the image itself; fetch it with `git lfs pull`"
        )
    return start
