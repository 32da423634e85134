"""A data set into another layout, a scan into another format: the same voxels in the same place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from attnseg.datasets.arrange import Target, arrange, texts
from attnseg.datasets.bids_names import kind_of_channel, unknown_suffixes
from attnseg.datasets.case_checks import completed
from attnseg.datasets.cases import Dataset
from attnseg.datasets.copies import (
    CONVERT,
    alone_with,
    copy_file,
    more_bytes,
    refuse_existing,
    write_checked_image,
    write_checked_labels,
)
from attnseg.datasets.found_labels import nnunet_notes, with_labels_found
from attnseg.datasets.labels import WHITE, white_is_one
from attnseg.datasets.measures import count_values
from attnseg.disk import require_room
from attnseg.errors import AttnsegError, DataError, DiskFullError, UsageError
from attnseg.files import write_text
from attnseg.images import (
    MAX_SHEAR_DEGREES,
    WRITTEN_SUFFIXES,
    Geometry,
    Image,
    Source,
    has_suffix,
    is_scan,
    location,
    read_case,
    read_labels,
    scan_suffix,
)
from attnseg.locks import alone_in
from attnseg.names import WINDOWS_REMEDY, resolved, windows_note
from attnseg.preprocessing.straighten import straighten as straightened


@dataclass
class Report:
    """What became of each case.

    Args:
        done: names of the cases that were written.
        failed: name → why not, in one line.
        notes: what the readers had to settle, in plain sentences.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def convert_dataset(
    dataset: Dataset,
    folder: Path,
    *,
    layout: str = "paired",
    suffix: str = ".nii.gz",
    straighten: bool = False,
    overwrite: bool = False,
    on_case: Callable[[], None] = lambda: None,
) -> Report:
    """Write a data set in another layout or format; a case that fails does not stop the others.

    Files that stay in their format are copied as they are; all others are written, read again and
    compared. Label names, and whatever else dataset.json said, are written too, with names for
    values that the masks hold and nobody declared. Masks with rounding are written as whole
    numbers.

    Args:
        dataset: what `find_dataset` found.
        folder: of the new data set.
        layout: one of `attnseg.datasets.arrange.WRITTEN_LAYOUTS`.
        suffix: ".nii.gz", ".nrrd" or ".mha"; pictures keep theirs.
        straighten: resample grids whose axes are not at right angles.
        overwrite: replace files that are there; never the sources.
        on_case: called after each case.

    Raises:
        DataError: what the layout has no place for.
        DiskFullError: there is no room; cases that were written stay.
        UsageError: files that are there, without `overwrite`, or that are the sources; files of
            something else where the cases go.
        RunError: another process converts a data set into the folder.
    """
    with alone_in(folder, "data set", command=CONVERT):
        return _convert_dataset(
            dataset, folder, layout=layout, suffix=suffix, straighten=straighten,
            overwrite=overwrite, on_case=on_case,
        )  # fmt: skip


def _convert_dataset(
    dataset: Dataset,
    folder: Path,
    *,
    layout: str,
    suffix: str,
    straighten: bool,
    overwrite: bool,
    on_case: Callable[[], None],
) -> Report:
    targets = arrange(dataset, layout=layout, suffix=suffix)
    beside = texts(dataset, targets, layout=layout, version=version("attnseg"))
    new = [path for each in targets for path in (*each.images, each.label)]
    sources = [file for case in dataset.cases for file in (*case.images, case.label) if file]
    refuse_existing([folder / path for path in [*new, *beside]], sources, overwrite=overwrite)
    strangers = _strangers([folder / path for path in new], sources)
    if strangers and not overwrite:
        raise UsageError(
            f"{strangers[0]}: lies where the new data set goes, and would become part of it "
            f"({len(strangers)} such file(s)); give an empty folder"
        )
    if not straighten:
        _ask_for_room(dataset, targets, folder)
    report = Report(notes=_name_notes(new))
    if strangers:
        report.notes.append(
            f"{len(strangers)} file(s) of something else lie among those of the data set "
            f"({', '.join(map(str, strangers[:3]))}); remove them, or they become part of it"
        )
    for problem in dataset.problems:
        if problem.stops:
            report.failed[problem.case] = f"{problem.problem}; {problem.remedy}"
    written: list[Target] = []
    masks: dict[str, set[int]] = {}
    for target in targets:
        name = target.case.name
        if name not in report.failed:
            try:
                masks[name], notes = _convert_case(dataset, target, folder, straighten=straighten)
                report.notes += notes
                written.append(target)
                report.done.append(name)
            except DiskFullError:  # the others would fail in the same way
                raise
            except (AttnsegError, OSError) as error:
                report.failed[name] = str(error)
        on_case()
    for target in targets:
        old = [path for each in (*target.images, target.label) if (path := folder / each).exists()]
        if target.case.name in report.failed and old:
            report.notes.append(f"{target.case.name}: {old[0]} is left of an earlier conversion")
    report.notes += _spell_one(dataset, written, masks, folder)
    found, told = with_labels_found(dataset, masks)
    report.notes += told
    if written:
        for path, text in texts(found, written, layout=layout, version=version("attnseg")).items():
            write_text(folder / path, text)
        if layout == "nnunet":
            report.notes += nnunet_notes(found, written)
    kinds = [kind_of_channel(name) for name in dataset.channel_names]
    if layout == "bids" and (odd := unknown_suffixes(kinds)):
        report.notes.append(
            f"BIDS has no suffix {', '.join(odd)}: these scans are listed in .bidsignore; name the "
            "channels T1w, T2w, FLAIR and so on in the source to make them part of BIDS"
        )
    several = len(set(dataset.patients.values())) < len(dataset.patients)
    if several and layout != "bids":
        report.notes.append(
            "which scans are of one patient is not kept; set data.patient_pattern to train"
        )
    return report


def _ask_for_room(dataset: Dataset, targets: Sequence[Target], folder: Path) -> None:
    """For the images that are copied as they are; what is written anew may be smaller.

    Raises:
        DiskFullError: there is none.
    """
    needed = 0
    for target in targets:
        if len(target.images) == len(target.case.images):
            pairs = zip(target.case.images, (folder / each for each in target.images), strict=True)
            needed += sum(more_bytes(*pair) for pair in pairs if _same_format(*pair))
    require_room(folder, needed, what=f"the images of {len(targets)} cases")


def _strangers(targets: Sequence[Path], sources: Sequence[Path]) -> list[Path]:
    """Scans and masks that lie in the folders of the targets and are none of them."""
    known = {resolved(path) for path in (*targets, *sources)}
    folders = dict.fromkeys(path.parent for path in targets)
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if is_scan(path) and resolved(path) not in known
    ]


def convert_scans(
    scans: Mapping[Path, tuple[Source, ...]],
    *,
    straighten: bool = False,
    overwrite: bool = False,
    on_case: Callable[[], None] = lambda: None,
) -> Report:
    """Write scans in the format of their targets; one that fails does not stop the others.

    Whole numbers are stored as integers of 16 or 32 bits, all else as float32.

    Args:
        scans: target → files or series of one scan.
        straighten: resample grids whose axes are not at right angles.
        overwrite: replace files that are there; never the sources.
        on_case: called after each scan.

    Raises:
        UsageError: files that are there, without `overwrite`, or that are the sources.
        RunError: another process writes one of the targets.
    """
    with alone_with(scans):
        return _convert_scans(scans, straighten=straighten, overwrite=overwrite, on_case=on_case)


def _convert_scans(
    scans: Mapping[Path, tuple[Source, ...]],
    *,
    straighten: bool,
    overwrite: bool,
    on_case: Callable[[], None],
) -> Report:
    sources = [location(source) for each in scans.values() for source in each]
    refuse_existing(list(scans), sources, overwrite=overwrite)
    report = Report(notes=_name_notes(target.name for target in scans))
    for target, each in scans.items():
        try:
            image, _ = _read(each, None, straighten=straighten)
            write_checked_image(target, image)
            report.done.append(target.name)
            report.notes += [f"{target.name}: {note}" for note in image.notes]
        except DiskFullError:  # the others would fail in the same way
            raise
        except (AttnsegError, OSError) as error:
            report.failed[target.name] = str(error)
        on_case()
    return report


def _convert_case(
    dataset: Dataset, target: Target, folder: Path, *, straighten: bool
) -> tuple[set[int], list[str]]:
    """Write image and mask, or neither; returns the mask's values, and what is worth telling."""
    case = target.case
    if case.label is None:
        raise DataError("it has no label; add its mask or leave the case out")
    image, askew = _read(case.images, dataset.num_channels, straighten=straighten)
    drawn = read_labels(case.label)
    labels = _on_scan(drawn, askew or image.geometry, askew=askew is not None)
    made: list[Path] = []
    try:
        same = askew is None and len(target.images) == len(case.images)
        for number, path in enumerate(folder / each for each in target.images):
            made.append(path)
            if same and _same_format(case.images[number], path):
                copy_file(case.images[number], path)
            else:
                channels = image.array if len(target.images) == 1 else image.array[number, None]
                write_checked_image(path, replace(image, array=channels))
        made.append(folder / target.label)
        rewrite = labels.rounded and _writable(made[-1])  # other software would refuse it
        if labels is drawn and _same_format(case.label, made[-1]) and not rewrite:
            copy_file(case.label, made[-1])
        else:
            write_checked_labels(made[-1], labels, dataset.label_names)
    except (AttnsegError, OSError):
        for path in made:
            path.unlink(missing_ok=True)
        raise
    notes = dict.fromkeys((*image.notes, *labels.notes))
    return set(count_values(labels.array[0])), [f"{case.name}: {note}" for note in notes]


def _spell_one(
    dataset: Dataset, written: Sequence[Target], masks: dict[str, set[int]], folder: Path
) -> list[str]:
    """Write 1 in masks of pictures that hold 255 where the data set means 1; returns notes."""
    declared = [
        *dataset.label_names,
        *([] if dataset.ignore_label is None else [dataset.ignore_label]),
    ]
    if not dataset.pictures or not white_is_one(masks.values(), declared):
        return []
    white = [each for each in written if WHITE in masks[each.case.name]]
    left = 0
    for target in white:
        masks[target.case.name] = {min(value, 1) for value in masks[target.case.name]}
        assert target.case.label is not None
        if _writable(path := folder / target.label):
            labels = read_labels(target.case.label, label_values=(0, 1))
            write_checked_labels(path, labels, dataset.label_names)
        else:
            left += 1
    notes = [f"{len(white)} mask(s) hold 255 where the data set means 1; written as 1"]
    if left:
        notes = [
            f"{left} mask(s) hold 255 where the data set means 1, and are copied so; attnseg reads "
            "them as 1, other software does not: save them as PNG"
        ]
    return notes


def _writable(path: Path) -> bool:
    return has_suffix(path.name, (*WRITTEN_SUFFIXES, ".png"))


def _read(
    sources: Sequence[Source], num_channels: int | None, *, straighten: bool
) -> tuple[Image, Geometry | None]:
    """One scan; where it was made straight, the grid it had before too."""
    image = read_case(tuple(sources), num_channels=num_channels, sheared=straighten)
    grid = image.geometry
    if grid.shear_degrees <= MAX_SHEAR_DEGREES:
        return image, None
    return straightened(image, labels=False), grid


def _on_scan(mask: Image, grid: Geometry, *, askew: bool) -> Image:
    """A mask on the whole of its scan's grid; made straight as its scan was, where that is askew.

    Raises:
        DataError: another grid than that of a scan that is askew.
    """
    mask = completed(mask, grid)
    if not askew:
        return mask
    if not mask.geometry.matches(grid):
        raise DataError(
            f"{mask.path}: its grid is not that of its scan, which is askew; resample it"
        )
    return straightened(Image(mask.array, grid, None, mask.path), labels=True)


def _same_format(source: Source, target: Path) -> bool:
    return isinstance(source, Path) and (
        scan_suffix(source.name).lower() == scan_suffix(target.name).lower()
    )


def _name_notes(targets: Iterable[str | Path]) -> list[str]:
    note = windows_note(targets)
    return [f"{note}; {WINDOWS_REMEDY}"] if note else []
