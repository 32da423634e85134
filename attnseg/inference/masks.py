"""Where the mask of a scan goes and how it is written: one file, or a folder with one a label."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from attnseg.errors import DataError, UsageError
from attnseg.files import atomic_folder, remove_leftovers
from attnseg.images import (
    MASK_SUFFIXES,
    Geometry,
    Image,
    Series,
    is_picture,
    is_scan,
    location,
    read_outline,
    write_labels,
)
from attnseg.inference.sources import Scan
from attnseg.names import alike, composed, on_disk, windows_refuses

FORMATS = ("auto", *MASK_SUFFIXES)
# DICOM objects that refer to the slices of their series.
_OF_SERIES = ("dicom-seg", "rtstruct")
# Letters of a label's name in that of a file: file systems take 255 bytes, suffix included.
_LONGEST = 50


@dataclass(frozen=True)
class MaskFormat:
    """How masks are written.

    Args:
        name: "auto" (PNG for pictures, NIfTI for all else) or one of `MASK_SUFFIXES`.
        per_label: a folder `NAME` with a file for each label in place of one file; a file holds 0
            and its label's value.
        bids: names and folders of a BIDS derivative, for scans that are named after BIDS.

    Raises:
        UsageError: an unknown format; one that cannot be written here or so.
    """

    name: str = "auto"
    per_label: bool = False
    bids: bool = False

    def __post_init__(self) -> None:
        if self.name not in FORMATS:
            raise UsageError(f"--format {self.name}: unknown; use {', '.join(FORMATS)}")
        if self.name == "dicom-seg" and find_spec("highdicom") is None:
            raise UsageError(
                "--format dicom-seg: highdicom is not installed; pip install 'attnseg[dicom]'"
            )
        if self.per_label and self.name in _OF_SERIES:
            raise UsageError(
                f"--per-label: --format {self.name} keeps labels apart in one file; leave one out"
            )
        if self.bids and (self.per_label or self.name not in ("auto", "nifti")):
            raise UsageError("--bids: masks of BIDS are one NIfTI a scan; leave --format out")

    def target(self, scan: Scan) -> str:
        """Name of the file, or with `per_label` of the folder, that a scan's mask goes to."""
        if self.per_label:
            return scan.name
        placed = _of_bids(scan) if self.bids else None
        if placed is not None:
            return placed.as_posix()
        return scan.name + self._suffix(scan)

    def refusal(self, scan: Scan) -> str:
        """Why a scan's mask cannot be written so, in one line; "" where it can."""
        source = scan.paths[0]
        if self.bids and _of_bids(scan) is None:
            return f"{source}: not a name of BIDS, sub-01_T1w.nii.gz; predict it without --bids"
        if self.name in _OF_SERIES and not isinstance(source, Series):
            return (
                f"{source}: --format {self.name} refers to the DICOM series that a scan came from, "
                "and this is none; use --format nifti"
            )
        if self.name != "auto" and is_picture(source):
            return f"{source}: the mask of a picture is a PNG; use --format auto"
        return ""

    def misfit(self, folder: Path, scan: Scan, geometry: Geometry, names: Mapping[int, str]) -> str:
        """Why the mask that lies in `folder` is none of this scan, by headers alone; "" if it fits.

        Args:
            folder: that masks go to.
            scan: of which a mask is there.
            geometry: of the scan.
            names: label value → name, for `per_label`; none: whatever masks are there.
        """
        target = on_disk(folder / self.target(scan))
        if self.name in _OF_SERIES:
            return _of_another_series(target, scan)
        if not self.per_label:
            return off_grid(target, geometry)
        stems = file_stems(names).values()
        files = [on_disk(target / (stem + self._suffix(scan))) for stem in stems]
        if not files:  # other files in it are refused when it is to be replaced
            files = [path for path in sorted(target.glob("*")) if is_scan(path)]
        return next((why for file in files if (why := off_grid(file, geometry))), "")

    def write(
        self,
        folder: Path,
        scan: Scan,
        labels: np.ndarray,
        *,
        like: Image,
        dtype: np.dtype,
        names: Mapping[int, str],
    ) -> None:
        """Write a mask, whole or not at all.

        Args:
            folder: that masks go to.
            scan: gives the name.
            labels: `[I, J, K]` label values.
            like: the scan as read.
            dtype: integer type on disk.
            names: label value → name.

        Raises:
            DataError: what the format cannot hold.
        """
        target = on_disk(folder / self.target(scan))
        remove_leftovers(target)
        if not self.per_label:
            write_labels(target, labels, like=like, dtype=dtype, names=names)
            return
        files = {value: stem + self._suffix(scan) for value, stem in file_stems(names).items()}
        _refuse_others(target, files.values())
        with atomic_folder(target) as made:
            for value, name in files.items():
                only = np.where(labels == value, labels, 0)
                path = made / name
                write_labels(path, only, like=like, dtype=dtype, names={value: names[value]})

    def _suffix(self, scan: Scan) -> str:
        return scan.mask_suffix if self.name == "auto" else MASK_SUFFIXES[self.name]


def _of_bids(scan: Scan) -> Path | None:
    from attnseg.datasets.bids_names import mask_path

    return mask_path(location(scan.paths[0]))


def _refuse_others(folder: Path, expected: Iterable[str]) -> None:
    """The folder of a scan's masks is replaced as a whole: nothing else may be in it.

    Raises:
        DataError: something is.
    """
    others = {path.name for path in folder.glob("*")} - set(expected)
    if folder.exists() and (others or not folder.is_dir()):
        raise DataError(
            f"{folder}: is to be replaced by the masks of its scan, and holds other files "
            f"({', '.join(sorted(others)[:3]) or 'it is one'}); give another folder with -o"
        )


def off_grid(path: Path, geometry: Geometry) -> str:
    """Why a file does not lie on a grid, by its header alone; "" where it does."""
    if not path.is_file():
        return f"{path.name} is not there"
    try:
        found = read_outline((path,), num_channels=1 if is_picture(path) else 0).geometry
    except (DataError, OSError) as error:
        return f"{path.name} cannot be read ({error})"
    if found.shape != geometry.shape:
        ours, its = (" × ".join(map(str, each.shape)) for each in (found, geometry))
        return f"{path.name} has {ours} voxels where the scan has {its}"
    if not found.matches(geometry):
        away = geometry.distance_mm(found)
        return f"{path.name} lies up to {away:.3g} mm away from the scan"
    return ""


def _of_another_series(path: Path, scan: Scan) -> str:
    """Why a DICOM object does not refer to the series of its scan; "" where it does."""
    from attnseg.images.dicom import referenced_series

    source = scan.paths[0]
    if not path.is_file():
        return f"{path.name} is not there"
    try:
        uid = referenced_series(path)
    except (DataError, OSError) as error:
        return f"{path.name} cannot be read ({error})"
    if isinstance(source, Series) and uid != source.uid:
        return (
            f"{path.name} refers to series {uid or '(none)'}, and the scan is series {source.uid}"
        )
    return ""


def file_stems(names: Mapping[int, str]) -> dict[int, str]:
    """Label value → its name as a file's, on every system.

    What is no letter or digit becomes `_`; a name that is reserved on Windows begins with `label_`;
    one that another label has as well, capitals or not, gets its value.

    Example:
        >>> file_stems({1: "left lung", 2: "Tumour/core", 5: "left_lung"})
        {1: 'left_lung', 2: 'Tumour_core', 5: 'left_lung_5'}
    """
    stems: dict[int, str] = {}
    for value, name in sorted(names.items()):
        stem = re.sub(r"[^\w.-]+", "_", composed(name))[:_LONGEST].strip("._") or f"label_{value}"
        if windows_refuses(stem):
            stem = f"label_{stem}"
        known = {alike(each) for each in stems.values()}
        while alike(stem) in known:
            stem = f"{stem}_{value}"
        stems[value] = stem
    return stems
