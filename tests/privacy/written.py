"""What a written file holds: its bytes, and whatever is packed into them."""

import base64
import binascii
import contextlib
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{32,}={0,2}")


def layers(content: bytes, depth: int = 4) -> Iterator[bytes]:
    """The bytes, and those unpacked from gzip, zlib, zip, PNG's texts, JPEG and base64."""
    yield content
    if depth == 0:
        return
    inner: list[bytes] = []
    if content[:2] == b"\x1f\x8b":
        inner.append(gzip.decompress(content))
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner += [archive.read(name) for name in archive.namelist()]
    if content[:8] == _PNG:
        inner += _chunks(content)
    if content[:4] == b"NRRD":
        inner.append(_rest_of_nrrd(content))
    if b"base64," in content[: 1 << 26] or b'"' in content[:1]:
        for found in _BASE64.findall(content):
            try:
                inner.append(base64.b64decode(found, validate=True))
            except (binascii.Error, ValueError):
                continue
    for each in inner:
        yield from layers(each, depth - 1)


def _chunks(content: bytes) -> list[bytes]:
    """PNG's chunks but its pixels; those that hold zlib unpacked."""
    found, place = [], 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IDAT":
            continue
        found.append(data)
        for start in range(len(data)):
            if data[start : start + 1] == b"\x78":
                try:
                    found.append(zlib.decompress(data[start:]))
                    break
                except zlib.error:
                    continue
    return found


def _rest_of_nrrd(content: bytes) -> bytes:
    _, _, data = content.partition(b"\n\n")
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def found_in(path: Path, marks: Mapping[str, str]) -> set[str]:
    """Which of the marks (text → kind) a file holds, capitals or not; their kinds.

    As UTF-8, Latin-1, UTF-16 or JSON's escapes.
    """
    kinds = set()
    wanted = {text: kind for text, kind in marks.items() if text}
    for layer in layers(path.read_bytes()):
        small = layer.lower()
        for text, kind in wanted.items():
            if kind not in kinds and any(form in small for form in _forms(text)):
                kinds.add(kind)
    return kinds


def _forms(text: str) -> set[bytes]:
    low = text.lower()
    forms = {low.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")}
    forms |= {json.dumps(low)[1:-1].encode(), json.dumps(text)[1:-1].lower().encode()}
    with contextlib.suppress(UnicodeEncodeError):
        forms.add(low.encode("latin-1"))
    return forms
