"""What a file's name and its first bytes tell, before any format is opened."""

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from attnseg.images.contents import dead_link, files_below, hollow
from attnseg.names import composed

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
MGH_SUFFIXES = (".mgz", ".mgh")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES, *MGH_SUFFIXES)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Images in formats that attnseg does not read, and what packs whole folders: known, so that they
# are named where they lie among scans.
UNREAD_SUFFIXES = (
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".nii.zip", ".nii.lz4", ".nrrd.gz", ".mha.gz", ".img.bz2"),
    *(".mnc", ".mnc.gz", ".brik", ".brik.gz", ".mif", ".mif.gz", ".par", ".rec", ".npy", ".npz"),
    *(".bmp", ".gif", ".webp", ".jp2", ".heic", ".svs", ".czi", ".dcm.gz", ".dcm.bz2", ".dcm.xz"),
    *(".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"),
)
# Files that lie among those of a series without a suffix and are none of them.
_NO_IMAGES = ("DICOMDIR", "README", "LICENSE", "VERSION", "LOCKFILE", "ICON\r")
# Value representations that the first element of a data set may have.
_FIRST_VR = (b"UL", b"CS", b"UI", b"DA", b"TM", b"SH", b"LO", b"OB")
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
        fault: why it must not be read: files that may belong to it and cannot be read; "" where
            all could be.
        notes: what the user should know of the files beside it.
    """

    place: Path
    uid: str
    files: tuple[str, ...]
    label: str = ""
    fault: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder, or of the archive or file without its suffix."""
        bare = re.sub(r"\.(zip|dcm|dicom|ima)$", "", self.place.name, flags=re.IGNORECASE)
        return composed(bare)

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


def has_suffix(name: str, suffixes: str | tuple[str, ...]) -> bool:
    """Whether a file name ends in one of these suffixes, in capitals or not."""
    return name.lower().endswith(suffixes)


def scan_suffix(name: str) -> str:
    """The part of a file name that says how to read it, as spelled there; empty for other names."""
    lower = name.lower()
    if not lower.endswith(SCAN_SUFFIXES):
        return ""
    suffix = next(each for each in SCAN_SUFFIXES if lower.endswith(each))
    return name[len(name) - len(suffix) :]


def strip_suffix(name: str) -> str:
    """`case_01.nii.gz` → `case_01`, in NFC as all names are compared; of other names all stays."""
    return composed(name.removesuffix(scan_suffix(name)))


def mask_name(name: str) -> str:
    """The case that a mask belongs to by its file's name: without the suffix, and without the
    `.seg` that 3D Slicer puts before it (`case_01.seg.nrrd`)."""
    stem = strip_suffix(name)
    return stem.removesuffix(".seg") if name.lower().endswith((".nrrd", ".nhdr")) else stem


def split_channel(name: str) -> tuple[str, int] | None:
    """`case_0001` → (`case`, 1), as nnU-Net names the channels of a case; None for other names."""
    match = re.fullmatch(r"(.+)_([0-9]{4})", name)
    return (match[1], int(match[2])) if match else None


def is_scan(path: Path) -> bool:
    """Whether the file name says that it is an image attnseg reads; hidden files never are."""
    return bool(scan_suffix(path.name)) and not path.name.startswith(".")


def half_of_a_pair(path: Path) -> str:
    """The error for the `.img` of a NIfTI pair, whose header says what it holds."""
    header = f"{path.name[: path.name.lower().rindex('.img')]}.hdr"
    return f"{path}: half of a pair; give the header beside it, {header}"


def is_picture(source: Source) -> bool:
    """Whether the file name says that it is a 2D picture: PNG, JPEG or TIFF."""
    return isinstance(source, Path) and scan_suffix(source.name).lower() in PICTURE_SUFFIXES


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, or says so by its suffix.

    A file that cannot be opened, or has no content of its own, is taken for DICOM if its name may
    be that of an image: reading it says what is wrong.
    """
    if has_suffix(path.name, DICOM_SUFFIXES):
        return True
    if dead_link(path):
        return names_dicom(path.name)
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return names_dicom(path.name)
    if start and hollow(start):
        return names_dicom(path.name)
    return start[128:] == b"DICM" or is_bare(start)


def names_dicom(name: str) -> bool:
    """Whether a file's name may be that of a DICOM image: by its suffix, or for want of one."""
    return plain_suffix(name) in ("", *DICOM_SUFFIXES) and name.upper() not in _NO_IMAGES


def plain_suffix(name: str) -> str:
    """The suffix in small letters; "" for none, and for numbers such as those of `MR.1.2.840`."""
    suffix = PurePosixPath(name).suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix


def starts_as_dicom(stream: BinaryIO) -> bool:
    """Whether DICOM's mark follows a preamble of 128 bytes (PS3.10, 7.1)."""
    return stream.read(132)[128:] == b"DICM"


def is_bare(start: bytes) -> bool:
    """Whether a file that starts so looks like DICOM that was stored without preamble and mark.

    Its first element is one of the meta information (group 2), or of what every object has first
    (group 8), in any of the encodings.
    """
    group, kind = start[:2], start[4:6]
    if group in (b"\2\0", b"\0\10"):
        return kind in _FIRST_VR
    # Implicit encoding has the length of the value in place of its kind.
    return group == b"\10\0" and (
        kind in _FIRST_VR or 0 < int.from_bytes(start[4:8], "little") < 1 << 10
    )


def holds_dicom(folder: Path) -> bool:
    """Whether any file below a folder is DICOM, hidden files left aside."""
    return any(is_dicom(path) for path in files_below(folder))
