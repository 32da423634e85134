"""`attnseg check`: what is wrong with a data set or with single scans, told, shown and mended."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console  # noqa: TID253
from rich.table import Table  # noqa: TID253
from rich.text import Text  # noqa: TID253

from attnseg.datasets import (
    Dataset,
    count_severities,
    find_dataset,
    find_layout,
    find_problems,
    inspect_dataset,
)
from attnseg.datasets.checks import find_scan_problems
from attnseg.datasets.facts import Look, inspect_files, unreadable_case
from attnseg.datasets.mend import Mended, mend_dataset
from attnseg.datasets.report import Check, save_json
from attnseg.datasets.tables import is_table
from attnseg.errors import DataError, UsageError, refuse_options
from attnseg.images import Image
from attnseg.inference import find_scans
from attnseg.inference.display import progress_bar
from attnseg.visualization.thumbnails import Thumbnail, thumbnail_of

_COLOURS = {"fatal": "bold red", "fixable": "yellow", "warning": "magenta", "harmless": "cyan"}


def check(
    data: Sequence[Path],
    *,
    layout: str | None = None,
    images: Sequence[str] = (),
    labels: str | None = None,
    series: str | None = None,
    fix: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
) -> Check:
    """Look into every file once, and tell all that is wrong with them.

    Args:
        data: a data set; or scans, folders or globs of scans.
        layout: of the data set; None goes by its looks.
        images, labels: as of `find_dataset`.
        series: which one of DICOM folders; None takes the largest.
        fix: folder for a corrected copy of the data set.
        json: file for findings and facts.
        html: file for a page with pictures.

    Raises:
        DataError: something stops training, cannot be used, or was not mended; after all was told
            and written.
        UsageError: several data sets, or scans that are to be mended.
    """
    console = Console(highlight=False, emoji=False)
    thumbnails: dict[str, Thumbnail] = {}

    def look(name: str, image: Image | None, mask: Image | None) -> None:
        if image is not None:
            thumbnails[name] = thumbnail_of(image, mask)

    watch = look if html is not None else None
    dataset = _dataset(data, layout=layout, images=images, labels=labels)
    if dataset is not None:
        refuse_options(
            {"--series": series}, "chooses among DICOM series, and this is a data set; leave it out"
        )
    if dataset is None and fix is not None:
        raise UsageError("--fix mends data sets; `attnseg convert --straighten` mends single scans")
    found = (
        _check_scans(data, console, watch, series=series)
        if dataset is None
        else _check(dataset, console, watch)
    )
    if json is not None:
        save_json(found, json)
    if html is not None:
        from attnseg.visualization.check_page import save_check_page

        save_check_page(found, thumbnails, html)
    if found.findings:
        console.print(_table(found))
    mended = None
    if fix is not None and dataset is not None:
        with progress_bar("mending", None) as advance:
            mended = mend_dataset(dataset, found.findings, fix, on_case=advance)
        _tell(mended, fix, console)
    console.print(found.counts(), markup=False)
    if dataset is None:
        _raise_if_unusable(found)
    else:
        _raise_if_stopped(found, mended)
    return found


def _dataset(
    data: Sequence[Path], *, layout: str | None, images: Sequence[str], labels: str | None
) -> Dataset | None:
    """The data set that is meant, if it is one."""
    chosen = bool(layout or images or labels)
    if files := [path for path in data if path.is_file() and not is_table(path)]:
        refuse_options(
            {"--layout": layout, "--images": images, "--labels": labels},
            f"{files[0]} is a scan and no data set; leave it out",
        )
    sets = [path for path in data if chosen or (path.exists() and find_layout(path))]
    if not sets:
        return None
    if len(data) > 1:
        raise UsageError(f"{sets[0]}: is a data set; check one data set at a time")
    return find_dataset(sets[0], layout=layout or "auto", images=images, labels=labels)


def _check(dataset: Dataset, console: Console, look: Look | None) -> Check:
    console.print(dataset.describe(), markup=False, soft_wrap=True)
    with progress_bar("checking", len(dataset.cases)) as advance:
        facts = inspect_dataset(dataset, on_progress=lambda done, total: advance(), look=look)
    return Check(
        str(dataset.root),
        dataset.describe(),
        tuple(facts),
        tuple(find_problems(dataset, facts)),
        dataset.label_names,
        dataset.pictures,
        (dataset.root,),
    )


def _check_scans(
    data: Sequence[Path], console: Console, look: Look | None, *, series: str | None
) -> Check:
    left_out: list[str] = []
    scans = find_scans(data, num_channels=0, series=series, say=left_out.append)
    count = f"{len(scans)} scan(s), no data set: readability, geometry, copies"
    understood = "\n".join([count, *left_out])
    console.print(understood, markup=False, soft_wrap=True)
    facts = []
    with progress_bar("checking", len(scans)) as advance:
        for scan in scans:
            each = (
                unreadable_case(scan.name, scan.reason)
                if scan.reason
                else inspect_files(scan.name, scan.paths, look=look)
            )
            facts.append(replace(each, notes=(*scan.notes, *each.notes)))
            advance()
    return Check(
        ", ".join(map(str, data)),
        understood,
        tuple(facts),
        tuple(find_scan_problems(facts)),
        places=tuple(data),
    )


def _table(found: Check) -> Table:
    from rich import box

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("severity", no_wrap=True)
    for column in ("case", "problem", "what to do"):
        table.add_column(column, overflow="fold")
    for each in found.by_severity:
        severity = Text(each.severity, style=_COLOURS[each.severity])
        table.add_row(severity, *map(Text, (each.case, each.problem, each.remedy)))
    return table


def _tell(mended: Mended, folder: Path, console: Console) -> None:
    lines = [
        f"{folder}: {len(mended.fixes)} fix(es), listed in fixes.json; {mended.copied} file(s) "
        "copied as they are"
    ]
    lines += [f"not mended: {name}: {reason}" for name, reason in mended.failed.items()]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _raise_if_unusable(found: Check) -> None:
    unusable = {finding.case for finding in found.findings if finding.stops}
    if unusable:
        raise DataError(
            f"{found.data}: {len(unusable)} of {len(found.facts)} scan(s) cannot be used as they "
            "are; see the table above"
        )


def _raise_if_stopped(found: Check, mended: Mended | None) -> None:
    counts = count_severities(found.findings)
    if mended is not None:
        left = counts["fatal"] + len(mended.failed)
        if left:
            raise DataError(
                f"{found.data}: {left} problem(s) that --fix cannot mend; see the table above"
            )
        return
    stopping = counts["fatal"] + counts["fixable"]
    if stopping:
        mendable = f"; --fix OUT mends {counts['fixable']} of them" if counts["fixable"] else ""
        raise DataError(f"{found.data}: {stopping} problem(s) stop training{mendable}")
