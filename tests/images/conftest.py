"""Files written byte by byte, so that tests choose what a library's writer would choose."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from nifti_files import save_nifti


@pytest.fixture
def nifti() -> Any:
    """The function `save_nifti`."""
    return save_nifti


def save_png(
    path: Path, rows: list[bytes], *, size: tuple[int, int], bits: int = 8, colour: int = 0
) -> Path:
    """Write a PNG of packed rows, neither filtered nor compressed.

    Args:
        path: of the file.
        rows: as many as there are; the header promises `size`.
        size: width and height.
        bits: of one number.
        colour: 0 grey, 2 RGB.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows), level=0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", content), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.fixture
def png() -> Any:
    """The function `save_png`."""
    return save_png
