"""`attnseg convert`: data sets into other layouts, scans into other formats, DICOM's masks into
label maps, masks onto the grids of their images.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attnseg.datasets import Report, convert_dataset, convert_scans, find_dataset, find_layout
from attnseg.datasets.arrange import WRITTEN_LAYOUTS
from attnseg.datasets.copies import alone_with, refuse_existing
from attnseg.datasets.drawn import convert_drawn, convert_mask, files_of_drawn, write_drawn
from attnseg.datasets.findings import alike
from attnseg.datasets.tables import is_table
from attnseg.errors import AttnsegError, DataError, DiskFullError, UsageError, refuse_options
from attnseg.files import why_no_file, why_no_folder
from attnseg.images import (
    MASK_SUFFIXES,
    WRITTEN_SUFFIXES,
    has_suffix,
    holds_labels,
    is_dicom,
    is_picture,
    is_result,
    is_scan,
    label_files,
    mask_name,
    of_picture,
    read_labels,
)
from attnseg.inference import find_scans
from attnseg.inference.written import is_one_mask, masks_in, names_of_masks

FORMATS = ("nifti", "nrrd", "mha")
# Cases more than these with the same note are told of in one line.
_FEW = 5


def convert(
    source: Path,
    target: Path,
    *,
    layout: str | None = None,
    format: str | None = None,
    images: Sequence[str] = (),
    labels: str | None = None,
    series: str | None = None,
    like: Path | None = None,
    straighten: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Write what `source` is in another layout or format; voxels stay in place.

    An option that means nothing for a source of this kind is refused.

    Args:
        source: a data set, a table of cases, a scan, a folder of scans, a DICOM object that holds
            masks, a mask with a file for each label or a folder of such masks, or with `like` a
            mask.
        target: a folder, or the file of a single scan or object.
        layout: of a new data set; None: "paired".
        format: one of `FORMATS`, for the files in a folder; None: "nifti".
        images, labels: as of `find_dataset`.
        series: which one of DICOM folders; None takes the largest.
        like: the scan on whose grid a mask is put: the one that a DICOM object was drawn on, or
            the image of a mask.
        straighten: resample grids whose axes are askew.
        overwrite: replace files that are there.
        say: told how a data set was understood.

    Raises:
        UsageError: options that do not fit the source; files that are there.
        RunError: another process writes one of the files.
        DataError: nothing there can be read.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"--format {format}: unknown; use {', '.join(FORMATS)}")
    if layout is not None and layout not in WRITTEN_LAYOUTS:
        raise UsageError(f"--layout {layout}: unknown; use {', '.join(WRITTEN_LAYOUTS)}")
    suffix = MASK_SUFFIXES[format or "nifti"]
    one_file = has_suffix(target.name, WRITTEN_SUFFIXES)
    if format is not None and one_file and not has_suffix(target.name, (suffix,)):
        raise UsageError(
            f"--format {format}: the name {target.name} says another format; leave one of them out"
        )
    if why := why_no_file(target) if one_file else why_no_folder(target):
        raise UsageError(f"{target}: {why}")
    of_dataset: dict[str, object] = {"--layout": layout, "--images": images, "--labels": labels}
    drawn = _holds_masks(source)
    if like is None and (masks := _label_folders(source, one_file=one_file)):
        refuse_options(
            {**of_dataset, "--series": series, "--straighten": straighten},
            f"{source} holds masks with a file for each label, for which it means nothing; leave "
            "it out",
        )
        return _convert_label_folders(masks, target, suffix, one_file=one_file, overwrite=overwrite)
    if drawn or like is not None:
        if not drawn and not _may_be_mask(source):
            refuse_options(
                {"--like": like},
                f"{source} is no single mask, and only a mask is put on the grid of a scan; give "
                "one mask, or leave it out",
            )
        of_dataset["--straighten"] = straighten
        refuse_options(of_dataset, f"{source} is a mask, for which it means nothing; leave it out")
        if like is None:
            refuse_options(
                {"--series": series},
                "chooses among the series of --like; give that, or leave it out",
            )
        return _convert_mask(source, target, like, series, suffix, overwrite=overwrite, drawn=drawn)
    if layout or images or labels or find_layout(source) is not None:
        if source.is_file() and not is_table(source):
            refuse_options(of_dataset, f"{source} is a single file and no data set; leave it out")
        if one_file:
            raise UsageError(f"{target}: a data set is written to a folder; give one")
        refuse_options(
            {"--series": series}, "chooses among DICOM series, and this is a data set; leave it out"
        )
        dataset = find_dataset(source, images=images, labels=labels)
        if dataset.pictures:
            refuse_options(
                {"--format": format, "--straighten": straighten},
                "pictures keep their format and have no axes in space; leave it out",
            )
        say(dataset.describe())
        return convert_dataset(
            dataset,
            target,
            layout=layout or "paired",
            suffix=suffix,
            straighten=straighten,
            overwrite=overwrite,
        )
    left_out: list[str] = []
    scans = find_scans([source], num_channels=0, series=series, say=left_out.append)
    if all(is_picture(path) for scan in scans for path in scan.paths):
        refuse_options({"--straighten": straighten}, "pictures have no axes in space; leave it out")
    if one_file and len(scans) > 1:
        raise UsageError(f"{target}: {len(scans)} scans do not fit one file; give a folder")
    targets = {
        target if one_file else target / f"{scan.name}{suffix}": scan.paths
        for scan in scans
        if not scan.reason
    }
    report = convert_scans(targets, straighten=straighten, overwrite=overwrite)
    report.failed |= {scan.name: scan.reason for scan in scans if scan.reason}
    report.notes += left_out
    report.notes += [f"{scan.name}: {note}" for scan in scans for note in scan.notes]
    return report


def _convert_mask(
    source: Path,
    target: Path,
    like: Path | None,
    series: str | None,
    suffix: str,
    *,
    overwrite: bool,
    drawn: bool,
) -> Report:
    """The masks of a DICOM object, or one mask on the grid of its image."""
    if drawn:
        paths, notes = convert_drawn(
            source, target, like=like, series=series, suffix=suffix, overwrite=overwrite
        )
    else:
        assert like is not None
        path, notes = convert_mask(
            source, target, like=like, series=series, suffix=suffix, overwrite=overwrite
        )
        paths = [path]
    return Report(done=[path.name for path in paths], notes=list(notes))


def _may_be_mask(source: Path) -> bool:
    return (source.is_file() and is_scan(source)) or _is_label_folder(source)


def _is_label_folder(source: Path) -> bool:
    """Whether a folder is one mask: a manifest says so, or its files are labels that fit."""
    if not source.is_dir() or is_one_mask(source):
        return source.is_dir()
    try:
        return holds_labels(source) and bool(read_labels(source).array.any())
    except DataError:
        return False


def _label_folders(source: Path, *, one_file: bool) -> dict[str, Path]:
    """Name → mask, where a folder is a mask with a file for each label, or holds such masks."""
    if source.is_dir() and (_is_label_folder(source) if one_file else is_one_mask(source)):
        return {mask_name(source.resolve().name): source}
    masks = masks_in(source) if is_result(source) and any(source.glob("*/")) else {}
    return masks if any(map(Path.is_dir, masks.values())) else {}


def _convert_label_folders(
    masks: Mapping[str, Path], target: Path, suffix: str, *, one_file: bool, overwrite: bool
) -> Report:
    """Label maps of masks with a file for each label, each with a table of its names."""
    if one_file and len(masks) > 1:
        raise UsageError(f"{target}: {len(masks)} masks do not fit one file; give a folder")
    report = Report()
    targets = {
        name: target if one_file else target / f"{name}{'.png' if of_picture(mask) else suffix}"
        for name, mask in masks.items()
    }
    sources = [file for mask in masks.values() for file in (label_files(mask) or [mask])]
    with alone_with(file for each in targets.values() for file in files_of_drawn(each, 1)):
        refuse_existing(list(targets.values()), sources, overwrite=overwrite)
        for name, mask in masks.items():
            try:
                labels, names = read_labels(mask), names_of_masks([mask])
                paths = write_drawn([(labels, names)], targets[name], overwrite=overwrite)
            except DiskFullError:
                raise
            except (AttnsegError, OSError) as error:
                report.failed[name] = str(error)
                continue
            report.done += [path.name for path in paths]
            report.notes += [f"{name}: {note}" for note in labels.notes]
    return report


def notes_once(notes: Sequence[str]) -> list[str]:
    """Notes as they are; of more than five that differ in name and numbers alone, one.

    Args:
        notes: "NAME: what was settled", or without a name.
    """
    found: list[str] = []
    for kind in alike((note, note.partition(": ")[2] or note) for note in notes):
        few = len(kind) <= _FEW
        found += kind if few else [f"{len(kind)} cases, such as {kind[0]}"]
    return found


def _holds_masks(source: Path) -> bool:
    if not source.is_file() or not is_dicom(source):
        return False
    from attnseg.images.dicom import drawn_kind

    return drawn_kind(source) is not None
