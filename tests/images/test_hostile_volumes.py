"""Damaged and malicious volumes of every format: read, or refused in one line, within bounds."""

import contextlib
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hostile import Edit, Sample, attack, beneath_gzip, damaged, drop_line, number_at, text_after
from nifti_files import OBLIQUE, nifti_bytes

from attnseg.errors import DataError
from attnseg.images import read_case, read_labels, read_outline

ARRAY = np.random.default_rng(0).integers(0, 200, (9, 8, 7)).astype("<i2")


def read(path: Path) -> None:
    """All ways to read a file; what is read must lie somewhere."""
    with contextlib.suppress(DataError):
        read_labels(path)
    read_outline((path,))
    case = read_case((path,))
    assert len(case.geometry.orientation) == 3
    assert np.isfinite(case.geometry.spacing_mm).all()


def fields(*runs: tuple[int, str, int]) -> tuple[Edit, ...]:
    """Edits of numbers that lie one behind the other: first offset, kind, how many."""
    return tuple(
        number_at(first + index * np.dtype(kind).itemsize, kind)
        for first, kind, count in runs
        for index in range(count)
    )


def nifti_samples() -> list[Sample]:
    first = fields(
        *((0, "<i", 1), (40, "<h", 8), (70, "<h", 2), (76, "<f", 4), (108, "<f", 3)),
        *((123, "<b", 1), (252, "<h", 2), (256, "<f", 6), (280, "<f", 12), (344, "<i", 1)),
    )
    second = fields(
        *((0, ">i", 1), (12, ">h", 2), (16, ">q", 8), (104, ">d", 4), (168, ">q", 1)),
        *((176, ">d", 2), (344, ">i", 2), (352, ">d", 6), (400, ">d", 12)),
    )
    plain = nifti_bytes(ARRAY)
    turned = nifti_bytes(ARRAY, codes=(0, 1))
    big = nifti_bytes(ARRAY.astype("f8"), version=2, endian=">", extension=b"text")
    pair = nifti_bytes(ARRAY, magic=b"ni1", vox_offset=0)
    packed = gzip.compress(plain, mtime=0)
    return [
        Sample("a.nii", {"a.nii": plain}, first),
        Sample("a.nii", {"a.nii": turned}, first),
        Sample("a.nii", {"a.nii": big}, second),
        Sample("a.nii.gz", {"a.nii.gz": packed}, tuple(beneath_gzip(edit) for edit in first)),
        Sample("a.hdr", {"a.hdr": pair[:348], "a.img": pair[352:]}, first),
    ]


def nrrd_samples() -> list[Sample]:
    head = (
        "NRRD0004\n# made here\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        "sizes: 9 8 7\nspace directions: (0.6,0.8,0) (-0.8,0.6,0) (0,0,3)\n"
        "kinds: domain domain domain\nendian: little\nencoding: {}\nspace origin: (1,2.5,-3)\n"
    )
    spaced = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 9 8 7\nspacings: 1 2 3\nendian: little\n"
        "encoding: raw\nbyte skip: 0\n\n"
    )
    names = "type dimension space sizes kinds endian encoding spacings"
    more = ["space directions", "space origin", "data file", "byte skip"]
    edits = (*(text_after(f"\n{name}: ") for name in [*names.split(), *more]), drop_line)
    raw = ARRAY.tobytes("F")
    packed = gzip.compress(raw, mtime=0)
    return [
        Sample("a.nrrd", {"a.nrrd": (head.format("raw") + "\n").encode() + raw}, edits),
        Sample("a.nrrd", {"a.nrrd": (head.format("gzip") + "\n").encode() + packed}, edits),
        Sample("a.nrrd", {"a.nrrd": spaced.encode() + raw}, edits),
        Sample(
            "a.nhdr",
            {"a.nhdr": (head.format("raw") + "data file: a.raw\n").encode(), "a.raw": raw},
            edits,
        ),
    ]


def meta_samples() -> list[Sample]:
    raw = ARRAY.tobytes("F")
    packed = zlib.compress(raw)
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{}"
        "TransformMatrix = 0.6 0.8 0 -0.8 0.6 0 0 0 1\nOffset = 1 2.5 -3\n"
        "CenterOfRotation = 0 0 0\nElementSpacing = 1 2 3\nDimSize = 9 8 7\n"
        "ElementType = MET_SHORT\nElementDataFile = "
    )
    compressed = f"CompressedData = True\nCompressedDataSize = {len(packed)}\n"
    names = (
        "NDims BinaryData BinaryDataByteOrderMSB CompressedData CompressedDataSize TransformMatrix "
        "Offset ElementSpacing DimSize ElementType ElementDataFile HeaderSize"
    )
    edits = (*(text_after(f"{name} = ") for name in names.split()), drop_line)
    return [
        Sample("a.mha", {"a.mha": (head.format("") + "LOCAL\n").encode() + raw}, edits),
        Sample("a.mha", {"a.mha": (head.format(compressed) + "LOCAL\n").encode() + packed}, edits),
        Sample(
            "a.mhd",
            {"a.mhd": (head.format("HeaderSize = 0\n") + "a.raw\n").encode(), "a.raw": raw},
            edits,
        ),
    ]


def mgh_samples(folder: Path) -> list[Sample]:
    edits = fields((0, ">i", 7), (28, ">h", 1), (30, ">f", 15))
    for name in ("a.mgh", "a.mgz"):
        nib.save(nib.MGHImage(ARRAY.astype("f4"), OBLIQUE), folder / name)
    return [
        Sample("a.mgh", {"a.mgh": (folder / "a.mgh").read_bytes()}, edits),
        Sample(
            "a.mgz",
            {"a.mgz": (folder / "a.mgz").read_bytes()},
            tuple(beneath_gzip(edit) for edit in edits),
        ),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("nifti", 700), ("nrrd", 500), ("meta", 400)])
def test_hostile(tmp_path: Path, full: Callable[[int], int], kind: str, count: int) -> None:
    samples = {"nifti": nifti_samples, "nrrd": nrrd_samples, "meta": meta_samples}[kind]()
    hold_out(samples, tmp_path, full(count))


@pytest.mark.slow
def test_hostile_mgh(tmp_path: Path, full: Callable[[int], int]) -> None:
    hold_out(mgh_samples(tmp_path), tmp_path / "work", full(400))


def hold_out(samples: list[Sample], folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    tally = attack(read, samples, count=count, seed=0, folder=folder)
    assert tally.failures == []
    assert tally.total == count
    assert min(tally.read, tally.refused) > count // 20


def abort(path: Path) -> None:
    os.abort()


def fill_memory(path: Path) -> None:
    np.empty(1100 << 20, dtype="u1")[::4096] = 1  # a byte a page is enough to take it


def speak(path: Path) -> None:
    os.write(2, b"warning")  # as C++ does, past Python's streams


def litter(path: Path) -> None:
    path.with_name("litter").write_bytes(b"x")


def raise_another(path: Path) -> None:
    int("x")


def raise_two_lines(path: Path) -> None:
    raise DataError(f"{path}: two\nlines")


def refuse(path: Path) -> None:
    raise DataError(f"{path}: not a scan")


def accept(path: Path) -> None:
    pass


DEEDS: list[tuple[Callable[[Path], None], str]] = [
    (abort, "crash"),
    (fill_memory, "of memory"),
    (speak, "said on the screen: b'warning'"),
    (litter, "wrote files"),
    (raise_another, "ValueError"),
    (raise_two_lines, "not one line"),
    (refuse, "refused"),
    (accept, "read"),
]


def act(path: Path) -> None:
    """What the name of the file says; good files are always read."""
    if path.parent.name == "scan":
        DEEDS[int(path.name)][0](path)


@pytest.mark.slow
def test_the_runner_sees_what_it_is_to_see(tmp_path: Path) -> None:
    """One deed after the other, and each goes on after the last."""
    samples = [Sample(str(index), {str(index): b"x" * 100}) for index in range(len(DEEDS))]
    tally = attack(act, samples, count=len(DEEDS), seed=0, folder=tmp_path)
    assert (tally.read, tally.refused, tally.total) == (1, 1, len(DEEDS))
    for failure, (_, sign) in zip(tally.failures, DEEDS, strict=False):
        assert sign in failure


def test_a_mutation_is_a_function_of_its_number() -> None:
    samples = [*nrrd_samples(), *meta_samples()]
    for number in range(50):
        assert damaged(samples, number) == damaged(samples, number)
    changed = [damaged(samples, number) for number in range(200)]
    assert sum(files != sample.files for sample, files in changed) > 180
