"""One scan or one mask of any format, and how a case of several files becomes one image.

The name of a file chooses the reader and the writer. Readers of formats that few scans have are
imported when the first such file comes.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from attnseg.errors import DataError, refuse_options
from attnseg.images import apart, nifti, pictures
from attnseg.images.geometry import MAX_SHEAR_DEGREES, Geometry
from attnseg.images.image import Image, Outline
from attnseg.images.paths import (
    ITK_SUFFIXES,
    MASK_SUFFIXES,
    MGH_SUFFIXES,
    Series,
    Source,
    has_suffix,
    is_dicom,
    is_picture,
    is_scan,
    scan_suffix,
)

NO_SERIES = "is no DICOM, and holds no series to choose from; leave it out"


def find_source(path: Path, *, series: str | None = None) -> tuple[Source, str]:
    """What a path stands for: a folder, an archive or a DICOM file for its largest series.

    Args:
        path: as the user gave it.
        series: of several; see `dicom.choose_series`.

    Returns:
        The source, and what the user should know of the choice; "" where there was none.

    Raises:
        UsageError: `series` of what is no DICOM.
        DataError: no scan in a folder or an archive, or `series` means none of them.
    """
    packed = has_suffix(path.name, ".zip")
    single = (path.is_file() or path.is_symlink()) and not is_scan(path)
    if path.is_dir() or packed or (single and is_dicom(path)):
        from attnseg.images import dicom

        return dicom.choose_series(dicom.find_series(path), series)
    if series is not None and path.exists():
        refuse_options({"--series": series}, f"{path} {NO_SERIES}")
    return path, ""


def read_image(source: Source, *, num_channels: int | None = None) -> Image:
    """Read a scan as float32 `[C, I, J, K]`.

    Args:
        source: a DICOM series, or a file that goes by its suffix; without a known one it is taken
            for NIfTI.
        num_channels: what the layout or the model expects; see the reader of the format.

    Raises:
        DataError: a file that cannot be read as it is.
    """
    image: Image = _reader(source).read_image(source, num_channels=num_channels)
    return image


def read_outline(sources: tuple[Source, ...], *, num_channels: int | None = None) -> Outline:
    """What the headers of a case say: its grid, channels and size, no voxel read.

    Args: as of `read_case`, whose memory can be told from it.

    Raises:
        DataError: a file that cannot be read as far as its header tells.
    """
    expected = num_channels if len(sources) == 1 else 1
    outlines = [_reader(each).read_outline(each, num_channels=expected) for each in sources]
    _refuse_shear(sources[0], outlines[0].geometry)
    return Outline(
        outlines[0].geometry,
        sum(outline.channels for outline in outlines),
        sum(outline.stored_bytes for outline in outlines),
    )


def read_labels(source: Source, *, label_values: Collection[int] | None = None) -> Image:
    """Read a mask as integers `[1, I, J, K]`.

    Args:
        source: a file of any format but JPEG, or a folder with a file for each label, as
            `attnseg predict --per-label` writes it; DICOM-SEG and RTSTRUCT come in by `attnseg
            convert`.
        label_values: the values that masks are to hold, where they are known: a picture of 0 and
            255 alone is then read as 0 and 1 if 1 is among them and 255 is not.

    Raises:
        DataError: a file that cannot be read as a mask; a folder whose files are no labels of one.
    """
    if isinstance(source, Path) and source.is_dir():
        return apart.read_apart(source, lambda file: read_labels(file, label_values=label_values))
    if is_picture(source):
        return pictures.read_labels(Path(str(source)), label_values=label_values)
    labels: Image = _reader(source).read_labels(source)
    return labels


def names_of_files(folder: Path) -> dict[int, str]:
    """Label value → name of its file, of a folder with a file for each label.

    Raises:
        DataError: files that are no masks of one label.
    """
    return apart.names_apart(folder, read_labels)


def files_of(path: Path) -> tuple[Path, ...]:
    """The file itself and, where its header names or implies one, the file of its voxels.

    Raises:
        DataError: a header that cannot be read, or whose voxels are not there.
    """
    reader = _reader(path)
    return reader.files_of(path) if hasattr(reader, "files_of") else (path,)


def write_labels(
    path: Path,
    labels: np.ndarray,
    *,
    like: Image,
    dtype: np.dtype,
    names: Mapping[int, str] | None = None,
) -> None:
    """Write a mask on the grid of the scan it belongs to, under a temporary name first.

    Args:
        path: its suffix is the format: one of `MASK_SUFFIXES`, `.nii`, or `.png` for a picture.
        labels: `[I, J, K]` label values, the scan's own shape.
        like: the scan; a NIfTI mask takes its header fields for geometry unchanged, a DICOM object
            refers to its series.
        dtype: integer type on disk; PNG knows uint8 and uint16.
        names: label value → name, for formats that keep them.

    Raises:
        DataError: labels or a scan that the format cannot hold.
    """
    path = Path(path)
    assert labels.shape == like.geometry.shape, (labels.shape, like.geometry.shape)
    if has_suffix(path.name, (MASK_SUFFIXES["dicom-seg"], MASK_SUFFIXES["rtstruct"])):
        from attnseg.images import dicom

        seg = has_suffix(path.name, MASK_SUFFIXES["dicom-seg"])
        write = dicom.write_seg if seg else dicom.write_rtstruct
        write(path, labels, like=like, names=names or {})
    elif is_picture(path):
        pictures.write_labels(path, labels, dtype=dtype)
    elif has_suffix(path.name, ITK_SUFFIXES):
        from attnseg.images import itk

        itk.write_labels(path, labels, like=like, dtype=dtype)
    else:
        nifti.write_labels(path, labels, like=like, dtype=dtype)


def write_image(path: Path, image: Image) -> None:
    """Write a scan, its numbers in the type of `image.array`, under a temporary name first.

    Where the scan was read from the same format, the lines or fields of its header that place it
    are written as they are; a NIfTI scan keeps all other fields of its header too.

    Args:
        path: its suffix is the format: `.nii.gz`, `.nii`, `.nrrd` or `.mha`.
        image: `[C, I, J, K]`; NIfTI has channels along the 4th axis, the others have one.

    Raises:
        DataError: another suffix, or channels that the format cannot hold.
    """
    path = Path(path)
    if has_suffix(path.name, ITK_SUFFIXES):
        from attnseg.images import itk

        itk.write_image(path, image)
    elif has_suffix(path.name, (".nii", ".nii.gz")):
        nifti.write_image(path, image)
    else:
        raise DataError(f"{path}: scans are written as .nii.gz, .nii, .nrrd or .mha; choose one")


def read_case(
    sources: tuple[Source, ...], *, num_channels: int | None = None, sheared: bool = False
) -> Image:
    """Read one case: a single file or series, or one per channel on a common grid.

    Args:
        sources: in channel order.
        num_channels: channels that the layout or model expects; None takes what is there. A single
            picture becomes grey or colour where 1 or 3 are expected.
        sheared: let axes through that are not at right angles.

    Raises:
        DataError: unreadable, grids that differ, another number of channels, axes that are not
            at right angles.
    """
    single = len(sources) == 1
    images = [read_image(each, num_channels=num_channels if single else 1) for each in sources]
    first = images[0]
    if not sheared:
        _refuse_shear(sources[0], first.geometry)
    for image in images[1:]:
        if not image.geometry.matches(first.geometry):
            raise DataError(
                f"{image.path}: its grid differs from that of {first.path}; the channels of one "
                "case must share shape and affine: resample it"
            )
    array = first.array if single else np.concatenate([image.array for image in images])
    if num_channels is not None and array.shape[0] != num_channels:
        raise DataError(
            f"{first.path}: {array.shape[0]} channel(s) where {num_channels} are expected; give "
            "the files of all channels, named CASE_0000, CASE_0001, …"
        )
    notes = tuple(dict.fromkeys(note for image in images for note in image.notes))
    own = () if single else tuple(sources)
    return Image(array, first.geometry, first.header, first.path, notes, sources=own)


def _reader(source: Source) -> ModuleType:
    """The module that reads a source."""
    suffix = scan_suffix(source.name).lower() if isinstance(source, Path) else ""
    if isinstance(source, Series):
        from attnseg.images import dicom

        return dicom
    if is_picture(source):
        return pictures
    if suffix in ITK_SUFFIXES:
        from attnseg.images import itk

        return itk
    if suffix in MGH_SUFFIXES:
        from attnseg.images import mgh

        return mgh
    return nifti


def _refuse_shear(source: Source, geometry: Geometry) -> None:
    """Networks see a scan's axes at right angles."""
    if geometry.shear_degrees > MAX_SHEAR_DEGREES:
        raise DataError(
            f"{source}: its axes are {geometry.shear_degrees:.1f}° off right angles, and more than "
            f"{MAX_SHEAR_DEGREES:g}° is not taken for rounding; `attnseg convert --straighten` "
            "resamples it onto a straight grid"
        )
