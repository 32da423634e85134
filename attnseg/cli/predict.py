"""`attnseg predict`."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from attnseg.cli.options import Device, Output, Series, parse_bytes


def predict(
    scans: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    output: Output = Path("predictions"),
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "-m",
            "--model",
            help="Model file or run folder; several are averaged, as the folds of a run. "
            "Default: newest run in runs/.",
        ),
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.95, help="Share of a window its neighbour repeats.")
    ] = 0.5,
    tta: Annotated[
        bool, typer.Option("--tta/--no-tta", help="Average over mirror images; slower.")
    ] = False,
    device: Device = "auto",
    backend: Annotated[
        str, typer.Option(help="auto, torch or openvino (CPU; compiles, then twice as fast).")
    ] = "auto",
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="torch.compile the network (so --backend torch); for long runs."
        ),
    ] = False,
    max_ram: Annotated[
        str | None, typer.Option(help="Memory bound, as 4G; scans are cut into tiles to keep it.")
    ] = None,
    max_vram: Annotated[str | None, typer.Option(help="The same for a GPU's memory.")] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of a channel's files, '{case}_t1.nii.gz'; once a channel."),
    ] = None,
    mask_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="nifti, nrrd, mha, dicom-seg, rtstruct; auto: NIfTI, or PNG.",
        ),
    ] = "auto",
    per_label: Annotated[
        bool, typer.Option("--per-label", help="A folder a scan, with a file for each label.")
    ] = False,
    bids: Annotated[
        bool, typer.Option("--bids", help="Name masks as a BIDS derivative, with dseg.tsv.")
    ] = False,
    series: Series = None,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Also NAME_probabilities.nii.gz.")
    ] = False,
    save_attention: Annotated[
        bool, typer.Option("--save-attention", help="Also NAME_attention.nii.gz: α of each gate.")
    ] = False,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Also statistics.csv: volume of each label in ml.")
    ] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only part I of N, for job arrays.")
    ] = "",
    engine: Annotated[
        str, typer.Option(help="local, or ray: the nodes of a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --engine ray: how many; else one a GPU or node.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell windows, memory and time; write nothing.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Predict again what is done; never in the place of another scan's mask.",
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare every byte of the scans that are done, not path, size and time alone.",
        ),
    ] = False,
) -> None:
    """Segment scans: writes one mask a scan, in the scan's own geometry."""
    # What imports make stays; looking through it for garbage takes a quarter of a second.
    gc.disable()
    from attnseg.errors import UsageError, refuse_options
    from attnseg.inference import Job, MaskFormat
    from attnseg.inference.predict import dry_run as tell
    from attnseg.inference.predict import predict as run_prediction
    from attnseg.inference.predictor import Settings

    gc.enable()
    if overwrite:
        refuse_options(
            {"--verify": verify},
            "finds the scans that are done, and --overwrite predicts all again; leave one of them "
            "out",
        )
    settings = Settings(
        overlap=overlap,
        mirror=tta,
        device=device,
        backend=backend,
        compiled=compile,
        max_ram=parse_bytes(max_ram, option="--max-ram"),
        max_vram=parse_bytes(max_vram, option="--max-vram"),
    )
    masks = MaskFormat(mask_format, per_label, bids)
    job = Job(masks, save_probabilities, statistics, save_attention)
    if dry_run:
        if engine != "local" or workers is not None:
            raise UsageError("--dry-run measures on this machine; leave --engine and --workers out")
        work = tell(
            scans,
            output,
            model=model or None,
            channels=channels or (),
            series=series,
            overwrite=overwrite,
            verify=verify,
            shard=shard,
            job=job,
            **settings,
        )
        failed = any(each.plan is None for each in work)
    else:
        outcomes = run_prediction(
            scans, output, model=model or None, channels=channels or (), series=series,
            overwrite=overwrite, verify=verify, shard=shard, engine=engine, workers=workers,
            job=job, **settings,
        )  # fmt: skip
        failed = any(outcome.state == "failed" for outcome in outcomes)
    if failed:
        raise typer.Exit(3)
