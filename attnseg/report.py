"""`attnseg report`: a run or a folder of masks as one page, and as a sheet of pictures."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253

from attnseg.datasets import find_dataset, load_splits
from attnseg.errors import AttnsegError, DataError, RunError, UsageError
from attnseg.evaluation import evaluate, find_label_scheme
from attnseg.evaluation.metrics import as_predicted
from attnseg.evaluation.scores_file import read_scores
from attnseg.files import load_json
from attnseg.images import Image, Source, on_grid, read_case, read_labels
from attnseg.inference import find_scans
from attnseg.inference.identity import identity_of, is_made_of
from attnseg.inference.manifest import Manifest, labels_of
from attnseg.json_lines import read_lines
from attnseg.models import describe_model
from attnseg.names import composed, on_disk
from attnseg.spec import Region
from attnseg.training import Run
from attnseg.training.plan import load_plan
from attnseg.training.run import run_config
from attnseg.visualization.page import save_page
from attnseg.visualization.prediction_page import PredictionReport, prediction_page
from attnseg.visualization.report_page import FoldReport, RunReport, learning_curves, run_page
from attnseg.visualization.report_parts import Scores, Shot, case_caption, mean_caption, worst_cases
from attnseg.visualization.thumbnails import same_slice

_PAGE = "report.html"
_MAX_MASKS = 60
_MAX_TILES = 120

Scans = Mapping[str, tuple[Source, ...]]


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
        html, tiles, names = _of_run(folder, images, curves, with_tiles=sheet is not None)
    else:
        html, tiles, names = _of_prediction(
            folder, list(lines.values()), images, reference, with_tiles=sheet is not None
        )
    if sheet is not None:
        if not tiles:
            raise DataError(
                f"--sheet {sheet}: {folder} has no mask that can be shown; leave it out"
            )
        _save_sheet(tiles, names, sheet, title=folder.resolve().name)
    given = [folder, *(each for each in (images, reference) if each is not None)]
    path = output or folder / _PAGE
    save_page(path, html, given)
    return path


def _of_run(
    folder: Path, images: Path | None, curves: Path | None, *, with_tiles: bool
) -> tuple[str, list[Shot], dict[int, str]]:
    shared = Run(folder, "0")
    plan, config = load_plan(shared.plan), run_config(shared)
    folds = [
        _fold(Run(folder, name.removeprefix("fold").removeprefix("_"))) for name in shared.all_folds
    ]
    splits = load_splits(shared.splits) if shared.splits.exists() else ()
    found = RunReport(
        folder=str(folder),
        spec=plan.spec,
        plan=plan.model_dump(mode="json"),
        config=config,
        folds=folds,
        held_out=splits,
        cross_validation=read_scores(shared.cross_validation),
    )
    data, unseen, ignored = config.data, "", None
    if images is not None:
        cases = [case["name"] for scores in found.scores.values() for case in scores["cases"]]
        scans = _scans(images, len(plan.spec.channel_names), cases)
    else:
        try:
            if data.root is None:
                raise DataError("data.root is not set")
            dataset = find_dataset(
                data.root, layout=data.layout, images=data.images, labels=data.labels
            )
            scans = {case.name: case.images for case in dataset.cases}
            ignored = dataset.ignore_label
        except AttnsegError as error:
            # Moved, or on another machine: masks are shown on black, and the page says why.
            scans, unseen = {}, f"no scans behind the masks: {error}; give them with --images"
    scored = list(found.scores.values())
    names = plan.spec.output_names
    # Masks are where the run is now, whatever it was called when they were scored.
    masks = {composed(path.name): path for path in sorted(folder.glob("fold*/validation/*"))}
    chosen = worst_cases(scored, most=_MAX_TILES if with_tiles else 8)
    shots = {}
    for case in chosen:
        mask = masks.get(composed(Path(case["prediction"]).name))
        if mask is not None:
            shots[case["name"]] = _shot(
                case["name"], mask, Path(case["reference"]), scans, plan.spec.regions,
                caption=case_caption(case, names), ignored=ignored,
            )  # fmt: skip
    drawn = {name: shot for name, shot in shots.items() if shot is not None}
    worst = [drawn[case["name"]] for case in chosen[:8] if case["name"] in drawn]
    page = replace(found, worst=worst, unseen=unseen)
    if curves is not None:
        from attnseg.visualization import save_figure
        from attnseg.visualization.sheets import learning_curves_figure

        title = folder.resolve().name
        save_figure(learning_curves_figure(learning_curves(page), title=title), curves)
    tiles = [drawn[name] for name in sorted(drawn)]
    return run_page(page), tiles, names


def _of_prediction(
    folder: Path,
    lines: Sequence[Mapping[str, Any]],
    images: Path | None,
    reference: Path | None,
    *,
    with_tiles: bool,
) -> tuple[str, list[Shot], dict[int, str]]:
    names_of = [line["name"] for line in lines]
    scans = dict(_scans(images, 0, names_of)) if images is not None else {}
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
    for line in made[: _MAX_TILES if with_tiles else _MAX_MASKS]:
        case = cases.get(line["name"])
        caption = mean_caption(case) if case else ""
        shots.append(
            _shot(line["name"], on_disk(folder / line["mask"]), None, scans, (), caption=caption)
        )
    drawn = [shot for shot in shots if shot is not None]
    worst = [
        _shot(
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


def _fold(run: Run) -> FoldReport:
    model = None
    if run.model.is_file():
        try:
            model = describe_model(run.model)
        except AttnsegError:
            model = None  # an unreadable model is told by `attnseg model verify`
    return FoldReport(
        name=run.fold_folder.name.replace("fold", "fold ").replace("_", ""),
        metrics=_metrics(run.metrics),
        scores=read_scores(run.validation),
        model=model,
        attention=_json(run.fold_folder / "attention.json"),
    )


def _shot(
    name: str,
    mask: Path,
    reference: Path | None,
    scans: Scans,
    regions: Sequence[Region],
    *,
    caption: str,
    ignored: int | None = None,
) -> Shot | None:
    """The case as a picture; None where its mask cannot be read or lies on another grid."""
    try:
        predicted = read_labels(mask)
        drawn = read_labels(reference) if reference is not None and reference.exists() else None
        image = read_case(scans[name]) if name in scans else None
    except DataError:
        return None
    if predicted.array.min() < 0 or (drawn is not None and drawn.array.min() < 0):
        return None  # pictures paint labels from 1 on
    geometry = predicted.geometry
    if drawn is not None:
        drawn = on_grid(drawn, geometry)
    if image is None or not image.geometry.matches(geometry):
        # The labels alone, on black.
        image = Image(np.zeros(predicted.array.shape, np.float32), geometry, path=predicted.path)
    masks = [predicted]
    if drawn is not None and drawn.geometry.matches(geometry):
        if ignored is not None:
            # Where nobody drew, nothing is right or wrong: neither mask shows anything there.
            unknown = drawn.array == ignored
            masks = [replace(predicted, array=np.where(unknown, 0, predicted.array))]
            drawn = replace(drawn, array=np.where(unknown, 0, drawn.array))
        masks.append(replace(drawn, array=as_predicted(drawn.array, regions)))
    slices = same_slice(image, masks)
    return Shot(name, slices[0], slices[1] if len(slices) > 1 else None, caption)


def _scans(folder: Path, num_channels: int, wanted: Collection[str]) -> Scans:
    """Scans by name, of the cases that are to be drawn.

    Raises:
        DataError: none of them is there.
    """
    found = {scan.name: scan.paths for scan in find_scans([folder], num_channels=num_channels)}
    if wanted and not found.keys() & set(wanted):
        raise DataError(
            f"{folder}: holds no scan of the {len(wanted)} cases (such as {min(wanted)}); correct "
            "--images, or leave it out"
        )
    return found


def _save_sheet(tiles: Iterable[Shot], names: dict[int, str], path: Path, *, title: str) -> None:
    from attnseg.visualization import save_figure
    from attnseg.visualization.sheets import Tile, contact_sheet

    # The mean of a case fits under its slice, that of each label does not.
    shown = [Tile(s.name, s.predicted, s.caption.partition(" (")[0]) for s in tiles]
    save_figure(contact_sheet(shown, names=names, title=title), path)


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics; one that was cut short or damaged is left out."""
    return [line for line in read_lines(path) if "step" in line]


def _json(path: Path) -> dict[str, Any] | None:
    """What a file of the run holds; None where it is not there yet.

    Raises:
        DataError: it is there and is no JSON.
    """
    if not path.is_file():
        return None
    try:
        found = load_json(path)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); make it again or remove it") from None
    return found if isinstance(found, dict) else None
