"""MetaImage headers (MHA, MHD): what they say, and those of masks.

After MetaIO's documentation, itk.org/Wiki/ITK/MetaIO/Documentation, and what ITK makes of it.
"""

import re
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.geometry import Geometry
from attnseg.images.text_header import (
    LPS,
    Stored,
    damaged,
    data_beside,
    grid_affine,
    numbers,
    read_header,
    whole,
    wholes,
)

MAGIC = b"MetaImage"
_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"},
    **{"MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_CODES = {
    **{"i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT"},
    **{"i4": "MET_INT", "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG"},
    **{"f4": "MET_FLOAT", "f8": "MET_DOUBLE"},
}
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
_ORIGINS = ("Offset", "Position", "Origin")
_SPACINGS = ("ElementSpacing", "ElementSize")


def parse(path: Path) -> Stored:
    """What the header of a `.mha` or `.mhd` file says.

    Raises:
        DataError: not MetaImage, damaged, or of a kind that is not read.
    """
    text, behind = read_header(path, end=r"(?m)^ElementDataFile *[=:][^\n]*(?:\n|\Z)")
    if behind is None:
        raise DataError(f"{path}: not a MetaImage file; was it renamed, or never copied whole?")
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        name, *value = (part.strip() for part in re.split("[=:]", line, maxsplit=1))
        if not value or name in fields:
            raise damaged(path, "line", line.strip())
        fields[name] = value[0]
    if fields.get("ObjectType", "Image") != "Image":
        raise damaged(path, "ObjectType", fields["ObjectType"])
    if fields.get("NDims") not in {"2", "3", "4"}:
        raise DataError(
            f"{path}: NDims {fields.get('NDims', '')[:60]!r} where a 2D or 3D image, or a 4D one "
            "with channels, is expected; split it into single files"
        )
    count = int(fields["NDims"])
    shape = wholes(path, "DimSize", fields.get("DimSize", "").split(), count=count)
    dtype, channels = _type(path, fields)
    affine, place, notes = _place(path, fields, count)
    channel_axis = 3 if count == 4 else None
    if channels > 1:
        if count == 4:
            raise DataError(f"{path}: channels in 4D; split time points into single files")
        shape, channel_axis = (channels, *shape), 0
    packed = _flag(path, fields, "CompressedData")
    length = whole(path, "CompressedDataSize", fields.get("CompressedDataSize", "0"))
    data, offset = _data(path, fields, behind)
    if packed and offset == -1:
        raise damaged(path, "HeaderSize", fields["HeaderSize"])
    return Stored(
        shape=shape,
        channel_axis=channel_axis,
        dtype=dtype,
        affine=affine,
        place=place,
        data=data,
        offset=offset,
        packing="zlib" if packed else "none",
        packed_bytes=length if packed and length > 0 else None,
        notes=notes,
    )


def header(
    labels: np.ndarray, dtype: np.dtype, *, place: bytes | None, geometry: Geometry
) -> bytes:
    """Header of a mask or a scan whose voxels follow as a zlib stream, its length still to be set.

    Args:
        labels: `[I, J, K]` voxels.
        dtype: type on disk, little-endian.
        place: `Stored.place` of the scan where it is MetaImage too.
        geometry: of the scan; used without `place`.
    """
    if place is None:
        steps = geometry.affine[:3] * np.array(LPS)[:, None]
        spacing = np.array(geometry.spacing_mm)
        place = (
            f"MetaImage 3\nTransformMatrix = {_words((steps[:, :3] / spacing).T)}\n"
            f"Offset = {_words(steps[:, 3])}\nElementSpacing = {_words(spacing)}\n"
        ).encode()
    first, _, kept = place.decode().partition("\n")
    count = int(first.split()[1])
    return (
        f"ObjectType = Image\nNDims = {count}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = True\nCompressedDataSize = {0:020d}\n{kept}"
        f"DimSize = {' '.join(str(n) for n in labels.shape[:count])}\n"
        f"ElementType = {_CODES[dtype.str[1:]]}\nElementDataFile = LOCAL\n"
    ).encode()


def with_length(begun: bytes, length: int) -> bytes:
    """The header from `header`, with the length of the packed voxels."""
    return begun.replace(
        b"CompressedDataSize = " + b"0" * 20, f"CompressedDataSize = {length:020d}".encode(), 1
    )


def _words(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values.ravel())


def _type(path: Path, fields: dict[str, str]) -> tuple[np.dtype, int]:
    """Type of a number, and how many of them a voxel has."""
    words = fields.get("ElementType", "")
    code = _TYPES.get(words.removesuffix("_ARRAY"))
    if code is None:
        raise DataError(f"{path}: voxels of type {words[:60]!r}; scans hold plain numbers")
    if not _flag(path, fields, "BinaryData", default=True):
        raise DataError(f"{path}: voxels written as text are not read; save it with BinaryData")
    for key, plain in (
        ("ElementToIntensityFunctionSlope", "1"),
        ("ElementToIntensityFunctionOffset", "0"),
    ):
        if numbers(path, key, [fields.get(key, plain)], count=1) != [float(plain)]:
            raise DataError(
                f"{path}: {key} {fields[key][:60]!r}, which readers take differently; save it "
                "with its intensities as they are meant"
            )
    big = _flag(path, fields, "BinaryDataByteOrderMSB") or _flag(
        path, fields, "ElementByteOrderMSB"
    )
    key = "ElementNumberOfChannels"
    channels = wholes(path, key, [fields.get(key, "1")], count=1)[0]
    return np.dtype(code).newbyteorder(">" if big else "<"), channels


def _flag(path: Path, fields: dict[str, str], key: str, *, default: bool = False) -> bool:
    words = fields.get(key, str(default)).lower()
    if words not in {"true", "false", "1", "0"}:
        raise damaged(path, key, fields[key])
    return words in {"true", "1"}


def _data(path: Path, fields: dict[str, str], behind: int) -> tuple[Path, int]:
    """File of the voxels, and the byte at which they begin there."""
    skip = whole(path, "HeaderSize", fields.get("HeaderSize", "0"))
    if fields["ElementDataFile"].lower() != "local":
        return data_beside(path, fields["ElementDataFile"]), skip
    if skip > 0:
        raise damaged(path, "HeaderSize", fields["HeaderSize"])
    return path, behind


def _place(
    path: Path, fields: dict[str, str], count: int
) -> tuple[np.ndarray, bytes, tuple[str, ...]]:
    """Affine, the lines that say it, what they leave open; of a 4D file without its last axis."""
    axes = min(count, 3)
    size = {"directions": count * count, "origin": count, "spacing": count}
    plain = {
        "directions": " ".join(str(int(x)) for x in np.eye(count).ravel()),
        "origin": " ".join(["0"] * count),
        "spacing": " ".join(["1"] * count),
    }
    lines, values = [f"MetaImage {axes}"], {}
    for what, keys in (("directions", _DIRECTIONS), ("origin", _ORIGINS), ("spacing", _SPACINGS)):
        key = next((key for key in keys if key in fields), keys[0])
        words = np.array(fields.get(key, plain[what]).split())
        found = np.array(numbers(path, key, list(words), count=size[what]))
        if what == "directions":
            found, words = found.reshape(count, count), words.reshape(count, count)
            if count == 4 and (found[3, :3].any() or found[:3, 3].any()):
                raise damaged(path, key, fields[key])
            values[what], words = found[:axes, :axes], words[:axes, :axes]
        else:
            values[what], words = found[:axes], words[:axes]
        lines.append(f"{keys[0]} = {' '.join(words.ravel())}")
    # A row of the matrix is the direction of an axis.
    columns = (values["directions"] * values["spacing"][:, None]).tolist()
    affine = grid_affine(columns, values["origin"].tolist())
    text = "".join(f"{line}\n" for line in lines).encode()
    missing = [
        keys[0] for keys in (_DIRECTIONS, _ORIGINS, _SPACINGS) if not fields.keys() & set(keys)
    ]
    if not missing:
        return affine, text, ()
    note = (
        f"its header gives no {' and no '.join(missing)}; ITK's default is taken: check the place"
    )
    return affine, text, (note,)
