"""What a NIfTI-1 or NIfTI-2 header says, by nibabel: type, scaling, and where the voxels lie."""

import struct
import sys
from pathlib import Path

import numpy as np

from attnseg.errors import DataError
from attnseg.images.geometry import (
    SINGLE_STEP,
    Geometry,
    checked_geometry,
    shear_notes,
    with_single_steps,
)

# nibabel imports pydicom where it is installed, for a kind of header extension that nothing here
# reads: 0.13 s of 0.24 s.
_hidden = "pydicom" not in sys.modules
if _hidden:
    sys.modules["pydicom"] = None  # type: ignore[assignment]
try:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError
finally:
    if _hidden:
        del sys.modules["pydicom"]

Header = Nifti1Header | Nifti2Header
HEADER_BYTES = Nifti2Header.template_dtype.itemsize  # the longer of the two
_SINGLE, _PAIR = (b"n+1", b"n+2"), (b"ni1", b"ni2")
_UNITS = {1: "metres", 3: "micrometres"}


def parse(block: bytes) -> Header:
    """Header from its bytes, brought to little-endian order.

    Raises:
        ValueError: these are not the bytes of a NIfTI header.
    """
    for order in "<>":
        if len(block) >= 4:
            size = struct.unpack(order + "i", block[:4])[0]
            for kind in (Nifti1Header, Nifti2Header):
                length = kind.template_dtype.itemsize
                if size == kind.sizeof_hdr and len(block) >= length:
                    header = kind(block[:length], endianness=order, check=False)
                    return header.as_byteswapped("<")
    raise ValueError("no NIfTI header")


def to_bytes(header: Header) -> bytes:
    """The header as it is stored, little-endian."""
    block: bytes = header.binaryblock
    return block


def new_header(geometry: Geometry) -> Header:
    """A NIfTI-1 header of that grid."""
    header = Nifti1Header()
    header.set_data_shape(geometry.shape)
    header.set_sform(geometry.affine, code=1)
    header.set_qform(geometry.affine, code=1, strip_shears=True)
    header.set_xyzt_units("mm")
    return header


def voxel_offset(path: Path, header: Header, *, pair: bool) -> int:
    """Byte at which the voxels begin, in the file itself or in the `.img` of a pair.

    Raises:
        DataError: an impossible byte, or a magic string that is not NIfTI's.
    """
    start = float(header["vox_offset"])
    magic = bytes(header["magic"])[:3]
    if pair and magic not in _SINGLE + _PAIR and header.sizeof_hdr == Nifti1Header.sizeof_hdr:
        raise DataError(
            f"{path}: an Analyze 7.5 header, which does not say which side is left; convert it to "
            "NIfTI with the software that wrote it"
        )
    first = 0 if pair else header.template_dtype.itemsize
    if not first <= start < 2**53 or magic not in (_PAIR if pair else _SINGLE):
        raise DataError(f"{path}: damaged header (voxels start at byte {start}); re-export")
    return int(start)


def stored_shape(path: Path, header: Header) -> tuple[int, ...]:
    """Three axes or more.

    Raises:
        DataError: no axes, or one without voxels.
    """
    num_axes = int(header["dim"][0])
    try:
        shape = tuple(header.get_data_shape()) if 1 <= num_axes <= 7 else ()
    except HeaderDataError:  # nibabel's rule for surfaces of FreeSurfer, whose first axis is -1
        shape = ()
    if min(shape, default=0) < 1:
        dim = tuple(int(n) for n in header["dim"])
        raise DataError(
            f"{path}: its dim {dim}, the number of axes and their sizes, is not a volume; "
            "re-export the file"
        )
    return shape + (1,) * (3 - len(shape))


def stored_type(path: Path, header: Header) -> np.dtype:
    """Type of the voxels.

    Raises:
        DataError: none, or one that the standard does not know.
    """
    try:
        dtype: np.dtype = header.get_data_dtype()
    except KeyError as error:
        raise DataError(f"{path}: unknown type of voxels, code {error}; re-export") from None
    if dtype.itemsize == 0:
        raise DataError(f"{path}: the header names no type of voxels; re-export the file")
    return dtype


def scaling(path: Path, header: Header) -> tuple[float, float] | None:
    """Slope and intercept, where the header has them and they change anything.

    Raises:
        DataError: they are not numbers.
    """
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise DataError(f"{path}: unusable intensity scaling ({error}); re-export") from error
    return None if slope is None or (slope, inter) == (1.0, 0.0) else (slope, inter)


def geometry_of(
    path: Path, header: Header, shape: tuple[int, int, int]
) -> tuple[Geometry, tuple[str, ...]]:
    """The grid, and what had to be settled about it.

    The sform holds where its code is positive and it is not all zeros, else the qform where its own
    is, else the spacings alone: methods 3, 2 and 1 of the standard, in nibabel's order. An axis
    that the file has not, or of one voxel, needs no spacing.

    Raises:
        DataError: no usable place.
    """
    header = _completed(header, shape)
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(_affine(header), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        raise DataError(f"{path}: unusable qform ({error}); correct the header") from error
    placed = with_single_steps(affine, shape)
    geometry = checked_geometry(path, shape, placed, remedy="correct the header (sform)")
    notes = _place_notes(header, geometry)
    if placed is not affine and int(header["dim"][0]) > 2:
        notes.append(SINGLE_STEP)
    return geometry, (*notes, *shear_notes(geometry))


def _completed(header: Header, shape: tuple[int, int, int]) -> Header:
    """A copy with what the standard, nibabel and ITK make of sloppy spacings."""
    header = header.copy()
    pixdim = header["pixdim"]
    pixdim[0] = -1 if pixdim[0] == -1 else 1
    pixdim[1:4] = np.abs(pixdim[1:4])
    for axis in range(3):
        if shape[axis] == 1 and not 0 < pixdim[axis + 1] < np.inf:
            # Of an axis that the file has not, 1 mm; of another of one voxel `with_single_steps`
            # takes 1 mm, and that is noted.
            pixdim[axis + 1] = float(axis >= int(header["dim"][0]))
    return header


def _sform_says_nothing(header: Header) -> bool:
    """Whether the qform is taken although the sform has a code: software that sets the code alone
    leaves zeros."""
    return int(header["qform_code"]) > 0 and not header.get_sform()[:3, :3].any()


def _affine(header: Header) -> np.ndarray:
    affine: np.ndarray
    if int(header["sform_code"]) > 0 and not _sform_says_nothing(header):
        affine = header.get_sform()
    elif int(header["qform_code"]) > 0:
        affine = header.get_qform()
    else:
        affine = header.get_base_affine()
    return affine


def _place_notes(header: Header, geometry: Geometry) -> list[str]:
    notes = []
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if sform and _sform_says_nothing(header):
        notes.append("its sform is all zeros; the qform is taken")
    elif sform and qform:
        distance = _distance_to_qform(header, geometry)
        if not distance <= 0.1 * min(geometry.spacing_mm):
            notes.append(
                f"sform and qform place a corner {distance:.3g} mm apart; the sform is taken, as "
                "always where its code is positive"
            )
    elif not sform and not qform:
        notes.append(
            "neither sform nor qform has a code; placed by its spacings alone, the first axis "
            "running to the left: check the sides"
        )
    units = int(header["xyzt_units"]) & 7
    if units in _UNITS:
        notes.append(f"its header gives lengths in {_UNITS[units]}; taken as mm")
    return notes


def _distance_to_qform(header: Header, geometry: Geometry) -> float:
    """In mm between corners; infinite for a qform that is no place at all."""
    try:
        with np.errstate(all="ignore"):
            qform = np.asarray(header.get_qform(), dtype=np.float64)
            distance = geometry.distance_mm(Geometry(geometry.shape, qform))
    except (ValueError, HeaderDataError):
        return np.inf
    return distance if np.isfinite(distance) else np.inf
