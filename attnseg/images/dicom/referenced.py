"""Which series a segmentation or a structure set was drawn on, by its first elements alone."""

from pathlib import Path

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from attnseg.images.dicom import rtstruct, segmentation
from attnseg.images.dicom.attributes import reading, refuse_bomb

# ReferencedFrameOfReferenceSequence; a segmentation's reference stands before it, frames and
# contours behind.
_LAST = 0x30060010


def referenced_series(path: Path) -> str:
    """SeriesInstanceUID that a DICOM-SEG or an RTSTRUCT refers to; "" where it names none.

    Raises:
        DataError: not DICOM, damaged.
        OSError: it cannot be opened.
    """
    with path.open("rb") as stream, reading(path):
        refuse_bomb(path, stream)
        found = read_partial(stream, stop_when=_behind)
        return segmentation.series_uid(found) or rtstruct.series_uid(found)


def _behind(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag > _LAST
