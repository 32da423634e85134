"""NIfTI files written byte by byte, so that tests choose what a library's writer would choose."""

from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from nibabel import Nifti1Header, Nifti2Header

# Oblique and anisotropic: 30° about z, then 20° about x; spacing 0.7 × 1.5 × 4 mm.
_Z = np.array([[0.8660254, -0.5, 0], [0.5, 0.8660254, 0], [0, 0, 1]])
_X = np.array([[1, 0, 0], [0, 0.9396926, -0.3420201], [0, 0.3420201, 0.9396926]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = _X @ _Z @ np.diag([0.7, 1.5, 4.0])
OBLIQUE[:3, 3] = -31.4, 27.1, 8.2


def nifti_bytes(
    array: np.ndarray,
    *,
    version: int = 1,
    endian: str = "<",
    affine: np.ndarray = OBLIQUE,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    extension: bytes = b"",
    **fields: Any,
) -> bytes:
    """The plain file.

    Args:
        array: `[I, J]` to `[I, J, K, …]`, stored as it is.
        version: NIfTI-1 or NIfTI-2.
        endian: "<" or ">".
        affine: the sform.
        qform: the qform; default: equal to the sform.
        codes: sform_code and qform_code; 0 leaves one out.
        extension: content of a header extension of code 6 (comment).
        fields: header fields set last, as they are.
    """
    header = (Nifti1Header if version == 1 else Nifti2Header)(endianness=endian)
    header.set_data_dtype(array.dtype.newbyteorder(endian))
    header.set_data_shape(array.shape)
    header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), 1, 1, 1, 1)[: array.ndim])
    header.set_xyzt_units("mm", "sec")
    if codes[0]:
        header.set_sform(affine, codes[0])
    if codes[1]:
        header.set_qform(affine if qform is None else qform, codes[1])
    tail = b"\0\0\0\0"
    if extension:
        size = -(-(8 + len(extension)) // 16) * 16
        sizes = np.array([size, 6], dtype=endian + "i4").tobytes()
        tail = b"\1\0\0\0" + (sizes + extension).ljust(size, b"\0")
    header["vox_offset"] = header.sizeof_hdr + len(tail)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = header.single_magic
    for name, value in fields.items():
        header[name] = value
    voxels = array.astype(array.dtype.newbyteorder(endian)).tobytes(order="F")
    block: bytes = header.binaryblock
    return block + tail + voxels


def save_nifti(path: Path, array: np.ndarray, **options: Any) -> Path:
    """Write `nifti_bytes` to `path`, packed if its name says so."""
    content = nifti_bytes(array, **options)
    path.write_bytes(igzip.compress(content) if path.suffix == ".gz" else content)
    return path
