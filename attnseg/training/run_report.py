"""The page of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from attnseg.datasets import find_dataset, load_splits
from attnseg.errors import AttnsegError, DataError
from attnseg.evaluation.scores_file import read_scores
from attnseg.files import load_json
from attnseg.json_lines import read_lines
from attnseg.models import describe_model
from attnseg.names import composed
from attnseg.training.plan import load_plan
from attnseg.training.run import Run, run_config
from attnseg.visualization.report_page import FoldReport, RunReport, learning_curves, run_page
from attnseg.visualization.report_parts import Shot, case_caption, worst_cases
from attnseg.visualization.shots import MAX_TILES, scans_by_name, shot_of


def report_run(
    folder: Path, images: Path | None, curves: Path | None, *, with_tiles: bool
) -> tuple[str, list[Shot], dict[int, str]]:
    """The page, pictures of cases for a sheet, and the names of labels.

    Args:
        folder: of the run.
        images: folder of the scans; None: those of its data set.
        curves: file for the learning curves.
        with_tiles: whether the sheet is wanted: of every case, and not of the worst alone.

    Raises:
        DataError: a plan, scores or scans that cannot be used.
        ConfigError: a configuration that cannot.
    """
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
        scans = scans_by_name(images, len(plan.spec.channel_names), cases)
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
    chosen = worst_cases(scored, most=MAX_TILES if with_tiles else 8)
    shots = {}
    for case in chosen:
        mask = masks.get(composed(Path(case["prediction"]).name))
        if mask is not None:
            shots[case["name"]] = shot_of(
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
