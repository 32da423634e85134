"""`attnseg demo`: phantoms → train → predict → evaluate → judge → look, in minutes and offline."""

import time
from pathlib import Path

from attnseg.attention import JSON, PAGE, attend
from attnseg.config import load_config
from attnseg.datasets import make_phantoms
from attnseg.errors import RunError
from attnseg.evaluation import Evaluation, evaluate, print_table
from attnseg.files import write_text
from attnseg.images import read_image, read_labels
from attnseg.inference import predict
from attnseg.inference.attention import attention_names
from attnseg.inference.manifest import names_in_manifest
from attnseg.locks import LOCK_FILE, alone_in
from attnseg.report import report
from attnseg.training import Run, train
from attnseg.visualization import overlay_figure, save_figure

_TRAIN_CASES, _TEST_CASES = 24, 4


def run_demo(output: Path, *, minutes: float = 3.0, overwrite: bool = False) -> Evaluation:
    """Do everything once on generated data, and say where it lies and what to type next.

    Args:
        output: folder for data, run, masks, pages and pictures.
        minutes: of training.
        overwrite: use a folder that has a demo already.

    Returns:
        Scores of the held-out phantoms.

    Raises:
        RunError: the folder is there already, or another process makes a demo in it.
    """
    # A length that cannot be is told before anything is written.
    load_config(None, {"training.max_minutes": minutes})
    with alone_in(output, "demo", command="attnseg demo"):
        if not overwrite and any(each.name != LOCK_FILE for each in output.glob("*")):
            raise RunError(f"{output}: this folder is not empty; give another -o or --overwrite")
        return _run_demo(output, minutes=minutes, overwrite=overwrite)


def _run_demo(output: Path, *, minutes: float, overwrite: bool) -> Evaluation:
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    begin = time.perf_counter()
    data, run_folder, masks = output / "phantoms", output / "run", output / "predictions"
    console.print(
        f"1/6 making {_TRAIN_CASES} + {_TEST_CASES} phantoms of an abdomen in CT → {data}/"
    )
    make_phantoms(data, num_train=_TRAIN_CASES, num_test=_TEST_CASES)
    console.print(f"2/6 training for {minutes:g} min → {run_folder}/")
    config = load_config(None, {"data.root": str(data), "training.max_minutes": minutes})
    train(config, run_folder, fold="0", overwrite=overwrite)
    model = Run(run_folder, "0").model
    console.print(f"3/6 predicting the {_TEST_CASES} phantoms kept apart → {masks}/")
    outcomes = predict([data / "imagesTs"], masks, model=model, overwrite=True)
    console.print("4/6 evaluating")
    scores = evaluate(masks, data / "labelsTs")
    scores.save_json(output / "scores.json")
    print_table(scores, console)
    attention = output / "attention"
    console.print(f"5/6 judging the gates on the first of them → {attention}/")
    first = outcomes[0].mask
    scan, reference = data / "imagesTs" / first, data / "labelsTs" / first
    attend([scan], attention, model=model, reference=reference, replaced_scans=1)
    # The report of the run tells it.
    write_text(model.parent / JSON, (attention / JSON).read_text(encoding="utf-8"))
    picture, sheet, curves = output / "overlay.png", output / "sheet.png", output / "curves.png"
    console.print("6/6 pages and pictures")
    (alpha,) = attention_names(outcomes[0].name, (), picture=False)
    _draw(scan, masks / first, reference, attention / alpha, picture)
    run_page = report(run_folder, curves=curves)
    masks_page = report(masks, reference=data / "labelsTs", images=data / "imagesTs", sheet=sheet)
    seconds = time.perf_counter() - begin
    console.print(
        f"\nDone in {seconds / 60:.1f} min: mean Dice {scores.mean_dice:.3f} on unseen phantoms.\n"
        f"  picture    {picture}, all masks in {sheet}\n"
        f"  masks      {masks}/, looked at in {masks_page}\n"
        f"  model      {model}\n"
        f"  run        {run_page}, learning curves in {curves}\n"
        f"  attention  {attention / PAGE}\n"
        "Next, with scans of your own:\n"
        "  attnseg train DATA -o runs/mine\n"
        "  attnseg predict SCANS/"
    )
    return scores


def _draw(scan: Path, mask: Path, reference: Path, attention: Path, picture: Path) -> None:
    """Overlay of one prediction with its reference, and the finest gate's α below it."""
    figure = overlay_figure(
        read_image(scan),
        read_labels(mask).array[0],
        names=names_in_manifest(mask),
        reference=read_labels(reference).array[0],
        attention=read_image(attention, num_channels=0).array[0],
        title="A phantom the network has never seen, its labels, and where its finest gate opens",
    )
    save_figure(figure, picture)
