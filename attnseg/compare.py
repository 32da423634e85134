"""`attnseg compare`: two methods' masks against the same references, told, written and drawn."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnseg.errors import DataError, UsageError
from attnseg.evaluation import Evaluation, evaluate
from attnseg.evaluation.compare import compare as compare_evaluations
from attnseg.evaluation.compare_report import save_csv, save_json
from attnseg.evaluation.compare_table import print_comparison
from attnseg.evaluation.comparison import Comparison, find_metric
from attnseg.images import (
    Image,
    is_scan,
    of_picture,
    on_common_grid,
    on_grid,
    read_image,
    read_labels,
    strip_suffix,
)
from attnseg.inference.identity import ScanIdentity, identity_of, is_made_of
from attnseg.inference.manifest import lines_of
from attnseg.inference.written import is_one_mask
from attnseg.visualization.side_by_side import SideBySide, side_by_side

# Cases of one kind of note are counted, and so many are named.
_NAMED = 3


def compare(
    a: Path,
    b: Path,
    reference: Path,
    *,
    metric: str = "dice",
    images: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    html: Path | None = None,
) -> Comparison:
    """Score both methods' masks and compare the scores, case by case.

    Args:
        a, b: folders of masks, or a mask each.
        reference: folder of the references, or the one reference.
        metric: a field of `Score`.
        images: folder of the scans, for the pictures of the page.
        json: file for all numbers.
        csv: file for a line per case and label.
        html: file for a page with pictures.

    Raises:
        DataError: masks that do not pair with references, no case that both have.
        UsageError: an unknown metric; scans without a page.
    """
    from rich.console import Console

    find_metric(metric)
    if images is not None and html is None:
        raise UsageError("--images is for the pictures of a page; add --html FILE")
    evaluations = [_evaluate(masks, reference, full=metric != "dice") for masks in (a, b)]
    found = compare_evaluations(*evaluations, metric=metric)
    made_of = _made_of(evaluations)
    notes = _of_two_scans(made_of)
    if json is not None:
        save_json(found, json)
    if csv is not None:
        save_csv(found, csv)
    if html is not None:
        from attnseg.visualization.compare_page import save_compare_page

        scans = {} if images is None else _scans(images, evaluations[0])
        notes += _take_out_others(scans, made_of)
        pictures = _pictures(found, evaluations[0], evaluations[1], scans)
        sources = {"A": str(a), "B": str(b), "reference": str(reference)}
        save_compare_page(found, pictures, sources, html)
    console = Console(highlight=False, emoji=False)
    not_compared = (note for each in evaluations for note in each.not_compared)
    for note in dict.fromkeys((*notes, *not_compared)):
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    print_comparison(found, console)
    return found


def _pictures(
    found: Comparison, a: Evaluation, b: Evaluation, scans: Mapping[str, Path]
) -> dict[str, SideBySide]:
    """Of the worst and the most changed cases, one case in memory at a time."""
    ours, theirs = ({case.name: case for case in each.cases} for each in (a, b))
    values = [label.value for label in found.labels if label.value is not None]
    pictures = {}
    for name in dict.fromkeys((*found.most_changed(), *found.worst())):
        case, other = ours[name], theirs[name]
        scan = read_image(scans[name]) if name in scans else None
        paths = (case.reference, case.prediction, other.prediction)
        masks = on_common_grid([_mask(path, values) for path in paths])
        if scan is not None:
            masks = [on_grid(mask, scan.geometry) for mask in masks]
        pictures[name] = side_by_side(masks[0], masks[1], masks[2], scan)
    return pictures


def _mask(path: Path, values: Sequence[int]) -> Image:
    """Pictures of a single label may spell it 255."""
    white = of_picture(path) and list(values) == [1]
    try:
        return read_labels(path, label_values=(0, 1) if white else None)
    except DataError:
        return read_labels(path)  # voxels to be ignored have a value of their own


def _scans(folder: Path, compared: Evaluation) -> dict[str, Path]:
    """Scans by case name; of several channels the first.

    Raises:
        DataError: none of them is of a case that is compared.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of scans; check --images")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_scan(path):
            found.setdefault(strip_suffix(path.name).removesuffix("_0000"), path)
    if not found.keys() & {case.name for case in compared.cases}:
        raise DataError(
            f"{folder}: holds no scan of the {len(compared.cases)} cases compared (such as "
            f"{compared.cases[0].name}); correct --images, or leave it out"
        )
    return found


def _made_of(evaluations: Sequence[Evaluation]) -> dict[str, list[ScanIdentity]]:
    """Case → which scans its masks were made of, as far as manifests say."""
    lines = lines_of(case.prediction for each in evaluations for case in each.cases)
    found: dict[str, list[ScanIdentity]] = defaultdict(list)
    for case in (case for each in evaluations for case in each.cases):
        known = identity_of(lines.get(case.prediction, {}))
        if known is not None:
            found[case.name].append(known)
    return found


def _of_two_scans(made_of: Mapping[str, Sequence[ScanIdentity]]) -> list[str]:
    """What is to be said of cases whose two masks are of two scans."""
    differ = [
        f"{name} ({known[0]} and {known[1]})"
        for name, known in made_of.items()
        if len({each.content for each in known}) > 1
    ]
    if not differ:
        return []
    more = f"; and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
    return [
        f"the masks of {len(differ)} case(s) were made of two different scans: "
        f"{'; '.join(differ[:_NAMED])}{more}"
    ]


def _take_out_others(
    scans: dict[str, Path], made_of: Mapping[str, Sequence[ScanIdentity]]
) -> list[str]:
    """Take out scans that a mask was not made of, and say so: they are not shown behind it."""
    others = [
        f"{scans.pop(name)} is not shown: it is not the scan that a mask of {name} was made of, "
        f"{other}, or has changed since"
        for name, known in made_of.items()
        if name in scans
        and (other := next((each for each in known if not is_made_of(each, [scans[name]])), None))
    ]
    more = [f"{len(others) - _NAMED} more scans are not shown for the same reason"]
    return others[:_NAMED] + more * (len(others) > _NAMED)


def _evaluate(masks: Path, reference: Path, *, full: bool) -> Evaluation:
    """Single masks go by the name of their reference: the files may be called anything."""
    evaluation = evaluate(masks, reference, full=full)
    if len(evaluation.cases) != 1 or not is_one_mask(reference):
        return evaluation
    name = strip_suffix(reference.name)
    return replace(evaluation, cases=tuple(replace(case, name=name) for case in evaluation.cases))
