"""NRRD headers: what they say, and those of masks.

After the definition of the format, teem.sourceforge.net/nrrd/format.html.
"""

import re
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.geometry import Geometry
from attnseg.images.slicer import segments_of
from attnseg.images.text_header import (
    LPS,
    Packing,
    Stored,
    damaged,
    data_beside,
    grid_affine,
    numbers,
    read_header,
    whole,
    wholes,
)

MAGIC = b"NRRD"
# Without spaces and "_t"; "short", "int" and so on as in the format's table.
_TYPES = {
    **dict.fromkeys(("signedchar", "int8"), "i1"),
    **dict.fromkeys(("uchar", "unsignedchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "shortint", "signedshort", "signedshortint", "int16"), "i2"),
    **dict.fromkeys(("ushort", "unsignedshort", "unsignedshortint", "uint16"), "u2"),
    **dict.fromkeys(("int", "signedint", "int32"), "i4"),
    **dict.fromkeys(("uint", "unsignedint", "uint32"), "u4"),
    **dict.fromkeys(("longlong", "longlongint", "signedlonglong", "signedlonglongint"), "i8"),
    **dict.fromkeys(("ulonglong", "unsignedlonglong", "unsignedlonglongint", "uint64"), "u8"),
    **{"int64": "i8", "float": "f4", "double": "f8"},
}
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), LPS),
}
# Spaces that name no side of the patient.
_NAMELESS = ("3d-right-handed", "scanner-xyz")
# All fields of the format's definition, without spaces: another one is a misspelling, and what it
# was to say of the place must not be missed.
_FIELDS = re.compile(
    "content|number|type|blocksize|dimension|space(dimension|directions|units|origin)?|sizes|"
    "spacings|thicknesses|axis(mins|maxs)|center(s|ings)|kinds|labels|units|(old)?(min|max)|"
    "endian|encoding|(line|byte)skip|sampleunits|measurementframe|datafile"
)
# Kinds of axes along which voxels lie; all others count numbers of a voxel.
_GRID_KINDS = ("domain", "space", "none", "???")


def parse(path: Path) -> Stored:
    """What the header of a `.nrrd` or `.nhdr` file says.

    Raises:
        DataError: not NRRD, damaged, or of a kind that is not read.
    """
    text, behind = read_header(path, end=r"\r?\n\r?\n")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if not re.fullmatch(r"NRRD000[1-5]", lines[0]):
        raise DataError(f"{path}: not an NRRD file; was it renamed, or never copied whole?")
    fields = _fields(path, lines[1:])
    words = fields.get("dimension", "")
    if words not in {"2", "3", "4"}:
        raise DataError(
            f"{path}: dimension {words[:60]!r} where a 2D or 3D image, or a 4D one with channels, "
            "is expected; split it into single files"
        )
    count = int(words)
    shape = wholes(path, "sizes", fields.get("sizes", "").split(), count=count)
    axes, channel_axis = _axes(path, fields, count)
    affine, place, notes = _place(path, fields, axes, count)
    data, offset = path, behind
    if "datafile" in fields:
        data, offset = data_beside(path, fields["datafile"]), 0
    if offset is None:
        raise DataError(f"{path}: cut short: no voxels follow its header; copy it again")
    packing, skip = _packing(path, fields)
    if skip == -1 and data == path:
        raise damaged(path, "byte skip", "-1")
    if packing == "none":
        offset, skip = (-1 if skip == -1 else offset + skip), 0
    return Stored(
        shape=shape,
        channel_axis=channel_axis,
        dtype=_type(path, fields),
        affine=affine,
        place=place,
        data=data,
        offset=offset,
        packing=packing,
        skip=skip,
        notes=notes,
        segments=segments_of(lines),
    )


def header(
    labels: np.ndarray, dtype: np.dtype, *, place: bytes | None, geometry: Geometry
) -> bytes:
    """Header of a mask or a scan whose voxels follow, gzipped.

    Args:
        labels: `[I, J, K]` voxels.
        dtype: type on disk, little-endian.
        place: `Stored.place` of the scan where it is NRRD too.
        geometry: of the scan; used without `place`.
    """
    if place is None:
        steps = geometry.affine[:3] * np.array(LPS)[:, None]
        vectors = ["(" + ",".join(repr(float(x)) for x in step) + ")" for step in steps.T]
        place = (
            f"NRRD 3\nspace: left-posterior-superior\nspace directions: {' '.join(vectors[:3])}\n"
            f"space origin: {vectors[3]}\n"
        ).encode()
    first, _, kept = place.decode().partition("\n")
    count = int(first.split()[1])
    whole = ("uint" if dtype.kind == "u" else "int") + str(8 * dtype.itemsize)
    kind = {"f4": "float", "f8": "double"}.get(dtype.str[1:], whole)
    return (
        f"NRRD0004\n# attnseg\ntype: {kind}\ndimension: {count}\n{kept}"
        f"sizes: {' '.join(str(n) for n in labels.shape[:count])}\n"
        f"kinds: {' '.join(['domain'] * count)}\nendian: little\nencoding: gzip\n\n"
    ).encode()


def _fields(path: Path, lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition(": ")
        if not line.strip() or line.startswith("#") or ":=" in name:
            continue
        key = name.lower().replace(" ", "")
        if not separator or not _FIELDS.fullmatch(key) or key in fields:
            raise damaged(path, "line", line)
        fields[key] = value.strip()
    return fields


def _type(path: Path, fields: dict[str, str]) -> np.dtype:
    words = fields.get("type", "")
    code = _TYPES.get(re.sub(r"\s|_t$", "", words.lower()))
    if code is None:
        raise DataError(f"{path}: voxels of type {words[:60]!r}; scans hold plain numbers")
    order = fields.get("endian", "").lower()
    if np.dtype(code).itemsize > 1 and order not in {"little", "big"}:
        raise damaged(path, "endian", order)
    return np.dtype(code).newbyteorder(">" if order == "big" else "<")


def _packing(path: Path, fields: dict[str, str]) -> tuple[Packing, int]:
    encoding = fields.get("encoding", "").lower()
    skip = whole(path, "byte skip", fields.get("byteskip", "0"))
    if fields.get("lineskip", "0") != "0":
        raise damaged(path, "line skip", fields["lineskip"])
    if encoding == "raw":
        return "none", skip
    if encoding in {"gzip", "gz"} and skip >= 0:
        return "gzip", skip
    raise DataError(
        f"{path}: encoding {encoding[:60]!r} is not read; save it with encoding raw or gzip"
    )


def _vectors(path: Path, fields: dict[str, str]) -> list[str]:
    """Words of the space directions, one an axis."""
    words = fields["spacedirections"]
    vectors = re.findall(r"none|\([^()]*\)", words)
    if re.sub(r"\s", "", "".join(vectors)) != re.sub(r"\s", "", words):
        raise damaged(path, "space directions", words)
    return vectors


def _axes(path: Path, fields: dict[str, str], count: int) -> tuple[list[int], int | None]:
    """Axes along which voxels lie, and the one that counts channels."""
    kinds = fields.get("kinds", " ".join(["???"] * count)).lower().split()
    directions = _vectors(path, fields) if "spacedirections" in fields else ["()"] * count
    if len(kinds) != count or len(directions) != count:
        raise damaged(path, "kinds and space directions", " ".join(kinds))
    axes = [
        axis for axis in range(count) if kinds[axis] in _GRID_KINDS and directions[axis] != "none"
    ]
    if len(axes) == 4:
        axes.pop()  # neither kinds nor directions tell: channels are last, as in NIfTI
    others = [axis for axis in range(count) if axis not in axes]
    if len(axes) not in {2, 3} or len(others) > 1:
        raise DataError(
            f"{path}: axes of the kinds {' '.join(kinds)[:60]!r} where two or three of space and "
            "at most one of channels are expected; split it into single files"
        )
    return axes, (others[0] if others else None)


def _place(
    path: Path, fields: dict[str, str], axes: list[int], count: int
) -> tuple[np.ndarray, bytes, tuple[str, ...]]:
    """Affine, the lines that say it, and what had to be settled."""
    place = _directed if "spacedirections" in fields else _spaced
    affine, lines, notes = place(path, fields, axes, count)
    text = "".join(f"{line}\n" for line in (f"NRRD {len(axes)}", *lines))
    return affine, text.encode(), tuple(notes)


def _directed(
    path: Path, fields: dict[str, str], axes: list[int], count: int
) -> tuple[np.ndarray, list[str], list[str]]:
    """The place by space directions; a fourth axis of time is left out where it stands apart."""
    named = fields.get("space", "").lower()
    space = re.sub(r"-time$|(?<=^[a-z]{3})t$", "", named)
    dimension = fields.get("spacedimension") if not named else ("3" if space == named else "4")
    if dimension not in {"2", "3", "4"} or (space and space not in (*_SPACES, *_NAMELESS)):
        raise damaged(path, "space", named or fields.get("spacedimension", ""))
    size = int(dimension)
    words = [word.strip("() ").split(",") for word in _vectors(path, fields)]
    key = "space directions"
    steps = [numbers(path, key, words[axis], count=size) for axis in axes]
    others = [
        numbers(path, key, word, count=size)
        for axis, word in enumerate(words)
        if axis not in axes and word != ["none"]
    ]
    if any(step[3] for step in steps if size == 4) or any(any(other[:3]) for other in others):
        raise damaged(path, key, fields["spacedirections"])
    start = fields.get("spaceorigin", f"({','.join('0' * size)})").strip("() ").split(",")
    origin = numbers(path, "space origin", start, count=size)
    lines = [
        f"space: {space}" if space else f"space dimension: {min(size, 3)}",
        f"space directions: {' '.join(_vector(words[axis]) for axis in axes)}",
        f"space origin: {_vector(start)}",
    ]
    notes = []
    if "spaceorigin" not in fields:
        notes.append("its header gives no space origin; its first voxel is taken to lie at 0, 0, 0")
    if space not in _SPACES:
        notes.append("its space names no sides; taken as left-posterior-superior, as ITK does")
    if set(re.findall(r'[^\s"]+', fields.get("spaceunits", ""))) - {"mm"}:
        notes.append(f"its header gives lengths in {fields['spaceunits'][:40]}; taken as mm")
    columns = [step[:3] for step in steps]
    affine = grid_affine(columns, origin[:3], signs=_SPACES.get(space, LPS))
    return affine, lines, notes


def _spaced(
    path: Path, fields: dict[str, str], axes: list[int], count: int
) -> tuple[np.ndarray, list[str], list[str]]:
    """The place by spacings alone."""
    if fields.keys() & {"axismins", "axismaxs", "spaceorigin"}:
        raise DataError(
            f"{path}: placed by axis mins, axis maxs or a space origin, which tell no directions; "
            "save it with space directions"
        )
    words = fields.get("spacings", " ".join(["1"] * count)).split()
    if len(words) != count:
        raise damaged(path, "spacings", fields["spacings"])
    words = [words[axis] for axis in axes]
    columns = np.diag(numbers(path, "spacings", words, count=len(axes))).tolist()
    given = "no directions" if "spacings" in fields else "neither spacings nor directions; 1 mm"
    note = (
        f"its header gives {given}; axes taken to run left, back and up, as ITK does: check the "
        "sides"
    )
    return grid_affine(columns, [0.0] * len(axes)), [f"spacings: {' '.join(words)}"], [note]


def _vector(words: list[str]) -> str:
    """Up to three numbers as the header has them."""
    return f"({','.join(words[:3])})"
