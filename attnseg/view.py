"""`attnseg view`: a scan, its masks and its attention as one page that opens in a browser."""

import webbrowser
from collections.abc import Callable
from pathlib import Path

from attnseg.datasets.bids import label_names_beside, read_label_table
from attnseg.datasets.labels import parse_labels, read_json
from attnseg.datasets.tables import TABLE_SUFFIXES, is_table
from attnseg.errors import DataError, UsageError, refuse_options
from attnseg.evaluation import find_label_names
from attnseg.files import write_text
from attnseg.images import (
    Image,
    Source,
    find_source,
    holds_labels,
    is_picture,
    names_of_files,
    on_grid,
    read_image,
    read_labels,
)
from attnseg.inference.identity import identity_of, is_made_of
from attnseg.inference.manifest import line_of, names_in_manifest
from attnseg.inference.written import is_one_mask, masks_in
from attnseg.visualization.view_page import view_page


def view(
    scan: Path,
    mask: Path | None = None,
    *,
    names: Path | None = None,
    attention: Path | None = None,
    compare: Path | None = None,
    output: Path | None = None,
    series: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the page of a scan.

    Args:
        scan: a file of any format that attnseg reads, or a DICOM folder.
        mask: on the scan's grid: a file, a folder with a file for each label, or a folder of masks
            with one of the scan's name.
        names: what its labels are called: a table of `index` and `name`, or a dataset.json. None:
            as the manifest of the prediction that wrote it, or a dataset.json or a table beside it,
            says of this mask or of the second.
        attention: α of the gates, one a volume of a 4D file, on the scan's grid.
        compare: a second mask, compared with the first.
        output: the page; None: NAME_view.html in the current folder. One that is there is replaced.
        series: which one of a DICOM folder.
        say: called with a line for a mask or α that was made of another scan than this, as its
            manifest says, and for a file of names beside a mask that cannot be used.

    Returns:
        Where the page is.

    Raises:
        UsageError: another suffix than .html; `compare` or `names` without `mask`; `series` of what
            is no DICOM.
        DataError: a file that cannot be read, or that lies on another grid.
    """
    if output is not None and output.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"-o {output}: the page is HTML; give a name that ends in .html")
    if compare is not None and mask is None:
        raise UsageError(f"--compare {compare}: nothing to compare it with; give a MASK too")
    if mask is None:
        refuse_options({"--names": names}, "names the labels of a mask; give a MASK too")
    image = _read_volumes(scan, series)
    mask, compare = _mask_of(mask, image), _mask_of(compare, image)
    for made in (mask, compare, attention):
        if made is not None and image.path is not None and (note := _of_another(made, image.path)):
            say(note)
    found = _read_names(names) if names else {}
    for each in (compare, mask):
        if each is not None and names is None:
            found |= _names_beside(each, say)
    page = view_page(
        image,
        _read_mask(mask, found, image),
        names=found,
        attention=_read_volumes(attention) if attention else None,
        compare=_read_mask(compare, found, image),
    )
    path = output or Path(f"{image.name}_view.html")
    write_text(path, page)  # it names the scan and its labels, and no path
    return path


def open_in_browser(page: Path) -> bool:
    """Show the page in a graphical browser, if there is one; says whether it was asked to."""
    try:
        # Text browsers, which are found where there is no display, are of the bare generic class.
        if type(webbrowser.get()) is webbrowser.GenericBrowser:
            return False
    except webbrowser.Error:
        return False
    return webbrowser.open(page.resolve().as_uri())


def _read_volumes(path: Path, series: str | None = None) -> Image:
    """A scan with all its channels, or all maps of a 4D file."""
    source, _ = find_source(path, series=series)
    file = isinstance(source, Path) and not is_picture(source)
    return read_image(source, num_channels=0 if file else None)


def _of_another(made: Path, scan: Source) -> str:
    """What is to be said of a mask that is of another scan; "" where it is of this one, or where no
    manifest says of which."""
    line = line_of(made)
    known = identity_of(line) if line else None
    if known is None or is_made_of(known, [scan]):
        return ""
    return f"{made}: was made of {known}, and {scan} is another scan, or has changed since"


def _names_beside(mask: Path, say: Callable[[str], None]) -> dict[int, str]:
    """What the files around a mask call its labels; one that cannot be used is not in the way."""
    for look in (names_in_manifest, find_label_names, label_names_beside, _names_of_files):
        try:
            if names := look(mask):
                return names
        except DataError as error:
            say(f"names not used: {error}")
    return {}


def _names_of_files(mask: Path) -> dict[int, str]:
    return names_of_files(mask) if mask.is_dir() else {}


def _mask_of(path: Path | None, image: Image) -> Path | None:
    """The mask that a path means: itself, or of a folder of masks the one of the scan's name.

    Raises:
        DataError: a folder without a mask of this scan.
    """
    if path is None or not path.is_dir() or is_one_mask(path):
        return path
    masks = masks_in(path)
    if image.name not in masks and not holds_labels(path):
        raise DataError(f"{path}: no mask of {image.name} in this folder; give the mask itself")
    return masks.get(image.name, path)


def _read_names(path: Path) -> dict[int, str]:
    """Label value → name of a table or a dataset.json.

    Raises:
        UsageError: a file of another kind.
        DataError: it cannot be used, or names nothing.
    """
    if is_table(path):
        return read_label_table(path)
    if path.suffix.lower() != ".json":
        raise UsageError(
            f"--names {path}: give a table ({', '.join(TABLE_SUFFIXES)}) with the columns index "
            "and name, or a dataset.json"
        )
    names = parse_labels(path, read_json(path)).names
    if not names:
        raise DataError(f'{path}: names no label; it needs "labels": {{"liver": 1}}')
    return names


def _read_mask(path: Path | None, names: dict[int, str], scan: Image) -> Image | None:
    if path is None:
        return None
    source = path if path.is_dir() else find_source(path)[0]
    return on_grid(read_labels(source, label_values=names or {1}), scan.geometry)
