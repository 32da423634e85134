"""`attnseg attention`: α of every gate as images, judged by figures, verdicts and a page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np  # noqa: TID253
from rich.console import Console  # noqa: TID253

from attnseg.disk import require_room
from attnseg.errors import AttnsegError, DataError, refuse_options
from attnseg.evaluation import Judgement, judge_gates, save_judgements
from attnseg.evaluation.faithfulness import num_passes
from attnseg.evaluation.matching import find_label_scheme, match_reference
from attnseg.evaluation.metrics import as_predicted
from attnseg.files import write_bytes
from attnseg.images import Image, Outline, is_picture, on_grid, read_labels
from attnseg.inference import Outcome, Predictor, Scan, find_models, find_scans
from attnseg.inference.attention import attention_file, attention_names
from attnseg.inference.display import progress_bar
from attnseg.inference.identity import ScanIdentity, identify_scan, outsides
from attnseg.inference.manifest import ATTENTION, append_outcome
from attnseg.inference.predict import models_id
from attnseg.inference.predictor import Settings
from attnseg.inference.probabilities import row_bytes
from attnseg.inference.taken import find_written, refuse_taken
from attnseg.inference.written import without_results
from attnseg.locks import alone_in
from attnseg.preprocessing import preprocess
from attnseg.spec import ModelSpec
from attnseg.visualization import figure_to_array, overlay_figure
from attnseg.visualization.attention_page import attention_page
from attnseg.visualization.page import save_page

JSON, CSV, PAGE = "attention.json", "attention.csv", "attention.html"
_PICTURES = 1  # scans whose pictures stand in the page; all have theirs beside it


def attend(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    model: Path | Sequence[Path] | None = None,
    reference: Path | None = None,
    replaced_scans: int = 3,
    seed: int = 0,
    **settings: Unpack[Settings],
) -> tuple[list[Judgement], dict[str, str]]:
    """Write every gate's α of each scan into `output`, and judge them.

    Which scan each map is of stands in `attention.jsonl`. Maps of the same scan are replaced, those
    of another one of the same name never.

    Args:
        inputs: files, folders and globs, as of `predict`.
        output: folder for `NAME_attention.nii.gz` (PNG for pictures), `NAME_attention_overlay.png`,
            `attention.json`, `attention.csv` and `attention.html`.
        model: as of `predict`.
        reference: a mask, or a folder with one for each scan, that Dice and figures are taken with;
            None: the model's own prediction.
        replaced_scans: on how many scans, from the first on, gates are replaced one by one; that
            takes some twenty predictions a gate.
        seed: of what is random in that.
        settings: of the `Predictor`.

    Returns:
        What was found in each scan, and why scans failed, by name.

    Raises:
        UsageError: maps of another scan of the same name lie in `output`; nothing is written then.
        RunError: another process writes maps to `output`.
        AttnsegError: no scan or model; a network without gates; every scan failed; a seed, and
            nothing random to be done.
    """
    if replaced_scans == 0:
        refuse_options(
            {"--seed": seed or None},
            "only the replacing of gates is random, and --replaced 0 leaves it out; leave --seed "
            "out too",
        )
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    models = find_models(model)
    predictor = Predictor.load(models, **settings)
    if not predictor.gates.gates:
        raise DataError(
            f"{models[0]}: this network has no gates; train one with --gates grid or skip and, of "
            "two levels, whose only skip is the finest, with --set model.gate_finest=true"
        )
    names = predictor.spec.channel_names

    def say(text: str) -> None:
        console.print(text, markup=False)

    scans = find_scans(inputs, num_channels=len(names), channel_names=names, say=say)
    scans = without_results(scans, say=say)

    def written(scan: Scan) -> list[str]:
        picture = is_picture(scan.paths[0])
        return attention_names(scan.name, predictor.gates.gates, picture=picture)

    there = find_written(
        scans, output, written, geometry_of=lambda scan: predictor.outline(*scan.paths).geometry
    )
    refuse_taken(list(there.values()), output)
    made_by = models_id(models)
    passes = num_passes(len(predictor.gates.gates))
    judged: list[Judgement] = []
    pictures: dict[str, dict[str, bytes]] = {}
    failed: dict[str, str] = {}
    with alone_in(output, "attention", command="attnseg attention", say=say) as lock:
        for number, scan in enumerate(scans):
            try:
                if scan.reason:
                    raise DataError(scan.reason)
                if holder := lock.claim(*written(scan)):  # `predict --save-attention`
                    raise DataError(f"its maps are being written by {holder}; try again afterwards")
                with progress_bar(scan.name, passes, shown=number < replaced_scans) as on_pass:
                    found, drawn, identity = _one(
                        scan,
                        predictor,
                        output,
                        reference=reference,
                        replace_gates=number < replaced_scans,
                        seed=seed,
                        on_pass=on_pass,
                    )
            except (AttnsegError, OSError) as error:
                lock.release(*written(scan))
                failed[scan.name] = " ".join(str(error).split())
                console.print(f"✗ {scan.name}: {failed[scan.name]}", markup=False)
                continue
            outcome = Outcome(
                scan.name, "done", scan=identity, attention=tuple(written(scan)), model=made_by
            )
            append_outcome(output / ATTENTION, outcome)
            lock.release(*written(scan))
            judged.append(found)
            if len(pictures) < _PICTURES:
                pictures[found.name] = drawn
            console.print(f"✓ {scan.name}", markup=False)
            for gate in found.gates:
                console.print(f"  {gate.verdict}", markup=False)
        if not judged:
            raise DataError(next(iter(failed.values())))
        save_judgements(judged, output / JSON, output / CSV)
        page = attention_page(judged, pictures, model=", ".join(map(str, models)))
        save_page(output / PAGE, page, models)
        console.print(f"maps, {JSON}, {CSV} and {PAGE} → {output}/", markup=False)
    return judged, failed


def _one(
    scan: Scan,
    predictor: Predictor,
    output: Path,
    *,
    reference: Path | None,
    replace_gates: bool,
    seed: int,
    on_pass: Callable[[float], None],
) -> tuple[Judgement, dict[str, bytes], ScanIdentity]:
    """A scan's maps written and judged; PNG of each gate; which scan it was."""
    before = outsides(scan.paths)
    image = predictor.read(*scan.paths)
    identity = identify_scan(scan.paths, image.geometry, before=before)
    truth = None
    if reference is not None:
        truth = _truth(match_reference(scan.name, reference), reference, image, predictor.spec)
    gates = predictor.gates
    rows = row_bytes(image.geometry.shape, len(gates.gates))
    require_room(output, rows, what=f"the rows of α of {scan.name}")
    labels = predictor.predict(image).labels
    outline = Outline.of(image)
    plan = gates.plan(outline, source=str(scan.paths[0]))
    volume, grid = preprocess(image, predictor.spec.preprocessing)
    with attention_file(output, scan.name, gates.gates, grid, like=image) as file:
        agreement = gates.read(volume, grid, plan, take=file.put)
        stored = grid.axes.undo(file.stored())
        alpha = dict(zip(gates.gates, stored, strict=True))
        found = judge_gates(
            predictor,
            image,
            reference=truth,
            seed=seed,
            replace_gates=replace_gates,
            alpha=alpha,
            agreement=agreement,
            labels=labels,
            on_pass=on_pass,
        )
        drawn = {
            gate: _picture(image, labels, values, truth, predictor.spec.output_names, gate)
            for gate, values in alpha.items()
        }
    for gate, png in drawn.items():
        write_bytes(output / f"{scan.name}_attention_overlay_gate{gate}.png", png)
    return found, drawn, identity


def _picture(
    image: Image,
    labels: np.ndarray,
    alpha: np.ndarray,
    reference: np.ndarray | None,
    names: dict[int, str],
    gate: str,
) -> bytes:
    from attnseg.visualization.figures import png_of

    figure = overlay_figure(
        image,
        labels,
        names=names,
        attention=(alpha / np.float32(65535)).astype(np.float32),
        reference=reference,
        title=f"Gate {gate}",
    )
    return png_of(figure_to_array(figure))


def _truth(path: Path, folder: Path, image: Image, spec: ModelSpec) -> np.ndarray:
    """The reference as predictions are written: of regions, the last one that has the voxel."""
    found = on_grid(read_labels(path, label_values=spec.label_values), image.geometry)
    if not found.geometry.matches(image.geometry):
        raise DataError(
            f"{path}: lies on another grid than {image.path} (shape {found.geometry.shape} and "
            f"{image.geometry.shape}); resample one of them"
        )
    labels = found.array[0]
    ignored = find_label_scheme(folder).ignore
    if ignored is not None:
        labels = np.where(labels == ignored, 0, labels)
    return as_predicted(labels, spec.regions)
