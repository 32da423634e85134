"""`attnseg report`: a run or a folder of masks as one page, and as a sheet of pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnseg.errors import DataError, RunError, UsageError
from attnseg.evaluation import evaluate, find_label_scheme
from attnseg.images import Source
from attnseg.inference.identity import identity_of, is_made_of
from attnseg.inference.manifest import Manifest, labels_of
from attnseg.names import on_disk
from attnseg.spec import Region
from attnseg.visualization.page import save_page
from attnseg.visualization.prediction_page import PredictionReport, prediction_page
from attnseg.visualization.report_parts import Scores, Shot, case_caption, mean_caption, worst_cases
from attnseg.visualization.shots import MAX_TILES, save_sheet, scans_by_name, shot_of

_PAGE = "report.html"
_MAX_MASKS = 60


def report(
    folder: Path,
    *,
    output: Path | None = None,
    reference: Path | None = None,
    images: Path | None = None,
    sheet: Path | None = None,
    curves: Path | None = None,
) -> Path:
    """Write the page of a run or of a folder of masks.

    Args:
        folder: what `attnseg train -o` or `attnseg predict -o` wrote.
        output: the page; None: `report.html` in the folder.
        reference: masks to score a prediction against.
        images: folder of the scans; None: of a run those of its data set. A scan that is not the
            one that a mask was made of, as the manifest says, is not shown behind it.
        sheet: PNG or SVG file for one slice of every case, 120 at most.
        curves: PNG or SVG file for the learning curves of a run.

    Returns:
        Where the page is.

    Raises:
        RunError: a folder of neither kind.
        DataError: a plan, references or scans that cannot be used, nothing to draw.
        UsageError: `reference` of a run, or `curves` of a prediction.
    """
    is_run = (folder / "plan.json").is_file() and (folder / "config.yaml").is_file()
    lines = Manifest(folder).last_lines() if folder.is_dir() else {}
    if not is_run and not lines:
        raise RunError(
            f"{folder}: neither a run (plan.json, config.yaml) nor a prediction (manifest.jsonl); "
            "give a folder that `attnseg train -o` or `attnseg predict -o` has written"
        )
    if is_run and reference is not None:
        raise UsageError("--ref: a run is scored on its own held-out cases; leave --ref out")
    if not is_run and curves is not None:
        raise UsageError(f"--curves: {folder} is a prediction and has none; give a run folder")
    if is_run:
        from attnseg.training.run_report import report_run  # its imports take seconds

        html, tiles, names = report_run(folder, images, curves, with_tiles=sheet is not None)
    else:
        html, tiles, names = _of_prediction(
            folder, list(lines.values()), images, reference, with_tiles=sheet is not None
        )
    if sheet is not None:
        if not tiles:
            raise DataError(
                f"--sheet {sheet}: {folder} has no mask that can be shown; leave it out"
            )
        save_sheet(tiles, names, sheet, title=folder.resolve().name)
    given = [folder, *(each for each in (images, reference) if each is not None)]
    path = output or folder / _PAGE
    save_page(path, html, given)
    return path


def _of_prediction(
    folder: Path,
    lines: Sequence[Mapping[str, Any]],
    images: Path | None,
    reference: Path | None,
    *,
    with_tiles: bool,
) -> tuple[str, list[Shot], dict[int, str]]:
    names_of = [line["name"] for line in lines]
    scans = dict(scans_by_name(images, 0, names_of)) if images is not None else {}
    lines = [_with_own_scan(line, scans) for line in lines]
    scores: Scores | None = None
    names: dict[int, str] = {}
    regions: Sequence[Region] = ()
    ignored: int | None = None
    cases: dict[str, Mapping[str, Any]] = {}
    if reference is not None:
        scores = evaluate(folder, reference).to_json()
        names = {label["value"]: label["name"] for label in scores["labels"]}
        scheme = find_label_scheme(reference)
        regions, ignored = scheme.regions, scheme.ignore
        cases = {case["name"]: case for case in scores["cases"]}
    for line in lines:
        names |= labels_of(line)
    made = sorted((line for line in lines if line.get("mask")), key=lambda line: line["name"])
    shots = []
    for line in made[: MAX_TILES if with_tiles else _MAX_MASKS]:
        case = cases.get(line["name"])
        caption = mean_caption(case) if case else ""
        shots.append(
            shot_of(line["name"], on_disk(folder / line["mask"]), None, scans, (), caption=caption)
        )
    drawn = [shot for shot in shots if shot is not None]
    worst = [
        shot_of(
            case["name"], Path(case["prediction"]), Path(case["reference"]), scans, regions,
            caption=case_caption(case, names), ignored=ignored,
        )
        for case in worst_cases([scores] if scores else [])
    ]  # fmt: skip
    found = PredictionReport(
        folder=str(folder),
        lines=sorted(lines, key=lambda line: line["name"]),
        names=names,
        shots=drawn[:_MAX_MASKS],
        unseen=len(made) - min(len(drawn), _MAX_MASKS),
        scores=scores,
        worst=[shot for shot in worst if shot is not None],
    )
    return prediction_page(found), drawn, names


def _with_own_scan(line: Mapping[str, Any], scans: dict[str, tuple[Source, ...]]) -> dict[str, Any]:
    """The line; where the scan of its name is not the one that its mask was made of, that is said,
    and the scan is taken out of `scans`."""
    known, name = identity_of(line), line["name"]
    try:
        own = known is None or name not in scans or is_made_of(known, scans[name])
    except (DataError, OSError):
        own = True  # it cannot be read, and will not be shown
    if own:
        return dict(line)
    note = (
        f"shown on black: {scans.pop(name)[0]} is not the scan that its mask was made of, "
        f"{known}, or has changed since"
    )
    return {**line, "warnings": [*(line.get("warnings") or ()), note]}
