"""Damaged segmentations and structure sets: one line of our own, or read; nothing else."""

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pydicom
import pytest
from hostile import Sample, attack
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.filewriter import dcmwrite
from source_series import ellipsoids, make_series

from attnseg.errors import DataError
from attnseg.images import Geometry, Image
from attnseg.images.dicom import label_maps, read_rtstruct, read_seg, write_rtstruct, write_seg

GRID = Geometry(
    (16, 14, 6), np.array([[-1, 0, 0, 9], [0, -1.5, 0, 8], [0, 0, 3, -7], [0, 0, 0, 1.0]])
)
_NUMBERS = (0, 1, -1, 2, 7, 255, 65535, 10**9, -(10**9))
_TEXTS = ("", "nan", "inf", "1e30", "-1e308", "1.5", "x", "99999999999999999999", "1.2.3\n4", "\0")


def read_segmentation(path: Path) -> None:
    label_maps(read_seg(path))


def read_structures(path: Path) -> None:
    like = Image(np.broadcast_to(np.float32(0), (1, *GRID.shape)), GRID)
    label_maps(read_rtstruct(path, like=like))


def change_element(content: bytes, chance: Random) -> bytes:
    """An element, however deep, dropped, emptied, doubled or given an awkward value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _changed(content, chance)


def _changed(content: bytes, chance: Random) -> bytes:
    try:
        dataset = pydicom.dcmread(BytesIO(content))
        home: Dataset = dataset
        while True:
            tag = chance.choice(list(home.keys()))
            element = home[tag]
            if element.VR != "SQ" or not element.value or chance.random() < 0.15:
                break
            home = chance.choice(element.value)
        action = chance.random()
        if action < 0.2:
            del home[tag]
        elif action < 0.3 and element.VR == "SQ":
            element.value = [*element.value, *element.value]
        elif element.VR in ("US", "UL", "SS", "SL", "FD", "FL"):
            home[tag] = DataElement(tag, "FD", float(chance.choice(_NUMBERS)))
            home[tag].VR = element.VR
            home[tag]._value = chance.choice(_NUMBERS) & 0xFFFF
        elif element.VR in ("OB", "OW", "SQ"):
            home[tag] = DataElement(tag, element.VR, [] if element.VR == "SQ" else b"\1\2")
        else:
            words = [chance.choice((*_TEXTS, *map(str, _NUMBERS))) for _ in range(3)]
            text = "\\".join(words[: chance.choice((1, 1, 2, 3))])
            home[tag] = DataElement(tag, "LO", text)
        stream = BytesIO()
        dcmwrite(stream, dataset)
        return stream.getvalue()
    except Exception:  # no longer a file that can be changed so
        return content


def test_damaged_segmentations(tmp_path: Path, full: Callable[[int], int]) -> None:
    like = make_series(tmp_path / "ct", GRID)
    labels = ellipsoids(GRID.shape)
    write_seg(tmp_path / "binary.dcm", labels, like=like, names={1: "liver", 205: "Größe"})
    samples = [Sample("m.dcm", {"m.dcm": (tmp_path / "binary.dcm").read_bytes()}, _EDITS)]
    for kind in ("FRACTIONAL", "LABELMAP"):
        content = _other_kind(tmp_path / "binary.dcm", kind)
        samples.append(Sample("m.dcm", {"m.dcm": content}, _EDITS))
    (tmp_path / "hostile").mkdir()
    tally = attack(
        read_segmentation, samples, count=full(300), seed=21, folder=tmp_path / "hostile"
    )
    assert not tally.failures, tally.failures
    assert tally.total == full(300)
    assert min(tally.read, tally.refused) > 0


def test_damaged_structure_sets(tmp_path: Path, full: Callable[[int], int]) -> None:
    like = make_series(tmp_path / "ct", GRID)
    write_rtstruct(tmp_path / "s.dcm", ellipsoids(GRID.shape), like=like, names={1: "liver"})
    samples = [Sample("s.dcm", {"s.dcm": (tmp_path / "s.dcm").read_bytes()}, _EDITS)]
    (tmp_path / "hostile").mkdir()
    tally = attack(read_structures, samples, count=full(300), seed=22, folder=tmp_path / "hostile")
    assert not tally.failures, tally.failures
    assert tally.total == full(300)
    assert min(tally.read, tally.refused) > 0


_EDITS = (change_element,)


def _other_kind(path: Path, kind: str) -> bytes:
    """The same object as another type of segmentation, for the reader's sake alone."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    groups = dataset.PerFrameFunctionalGroupsSequence
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue, dataset.SegmentationFractionalType = 200, "PROBABILITY"
        pixels = pixels * 180
    else:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
        first = {}  # one frame a slice
        for frame, group in enumerate(groups):
            place = tuple(group.PlanePositionSequence[0].ImagePositionPatient)
            first.setdefault(place, frame)
        kept = sorted(first.values())
        dataset.PerFrameFunctionalGroupsSequence = [groups[frame] for frame in kept]
        dataset.NumberOfFrames, pixels = len(kept), pixels[kept]
    dataset.SegmentationType = kind
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = pixels.astype(np.uint8).tobytes()
    stream = BytesIO()
    dcmwrite(stream, dataset)
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"x" * 10, b"\0" * 128 + b"DICM", b"\0" * 400])
def test_what_is_no_dicom_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.dcm").write_bytes(content)
    for read in (read_segmentation, read_structures):
        with pytest.raises(DataError, match=r"m\.dcm: "):
            read(tmp_path / "m.dcm")
