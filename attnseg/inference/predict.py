"""`attnseg predict`: scans in, masks out, one line a scan."""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack

from attnseg.errors import UsageError, refuse_options
from attnseg.files import write_text
from attnseg.images import is_picture
from attnseg.inference.cohort import predict_cohort
from attnseg.inference.display import Display, named
from attnseg.inference.known import kept_unrecorded, known_scans, written_by_job
from attnseg.inference.manifest import Manifest, Outcome
from attnseg.inference.predictor import Predictor, Settings
from attnseg.inference.sources import Scan, find_models, find_scans, refuse_twice
from attnseg.inference.taken import refuse_collisions
from attnseg.inference.work import Job, Work, plan_cohort
from attnseg.memory import keep_freed_memory
from attnseg.models import model_id
from attnseg.names import WINDOWS_REMEDY, windows_note
from attnseg.signals import stop_on_signals

STATISTICS = "statistics.csv"
ENGINES = ("local", "ray")


def predict(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    model: Path | Sequence[Path] | None = None,
    channels: Sequence[str] = (),
    series: str | None = None,
    overwrite: bool = False,
    verify: bool = False,
    shard: str = "",
    engine: str = "local",
    workers: int | None = None,
    job: Job | None = None,
    **settings: Unpack[Settings],
) -> list[Outcome]:
    """Predict files, folders and globs, print progress, and return what became of each scan.

    Args:
        inputs: as typed by the user.
        output: folder for masks and manifest.
        model: model files or run folders, which are averaged, the folds of a run as well; None
            takes the newest finished run under `runs/`.
        channels: patterns of file names, one for each channel of the model; see
            `scans_by_pattern`.
        series: of a DICOM folder that holds several; see `images.dicom.choose_series`.
        overwrite: predict again what is done already; never in the place of another scan's mask.
        verify: look at every byte of the scans that are done, not at path, size and time alone.
        shard: "i/n": only every n-th scan, from the i-th on, counted from 1.
        engine: "local", this process, or "ray", the workers of a Ray cluster.
        workers: how many of these; None: one a GPU, or one a node where there is none.
        job: what to do with each scan.
        settings: of the `Predictor`.

    Raises:
        UsageError: names that are taken in `output` by other scans; nothing is written then.
        AttnsegError: nothing to predict, or no usable model; a single bad scan does not raise.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; files are left whole.
    """
    _check_engine(engine, workers)
    display = Display()
    job = job or Job()
    with ExitStack() as stack:
        ray = None
        if engine == "ray":
            from attnseg.inference.ray_engine import ray_engine

            model = find_models(model)
            # Before the signals, of which Ray takes one for itself.
            ray = stack.enter_context(ray_engine(model, settings, workers=workers, say=display.say))
            settings = ray.settings_here
        models, predictor, scans, part = _ready(
            inputs, model, channels, series, shard, settings, job
        )
        display.say(
            f"{named(models)} · {ray or predictor.device}"
            f"{' · mirrored' if predictor.mirror_axes else ''} · "
            f"{len(scans)} scan(s){f', part {shard}' if shard else ''} → {output}/"
        )
        if note := windows_note(job.masks.target(scan) for scan in scans):
            display.say(f"note: {note}; {WINDOWS_REMEDY}")
        stop = stack.enter_context(stop_on_signals())
        bars = stack.enter_context(display.progress(len(scans)))

        def on_wait() -> None:
            if stop.requested:
                raise KeyboardInterrupt

        def on_window(scan: Scan) -> None:
            on_wait()
            bars.window(scan)

        def on_plan(work: Sequence[Work]) -> None:
            bars.plan(work)
            if work:
                display.say(f"back end: {predictor.runner.backend}")

        outcomes = predict_cohort(
            scans,
            predictor,
            output,
            model_id=models_id(models),
            overwrite=overwrite,
            verify=verify,
            shard=part,
            job=replace(job, on_window=on_window, on_wait=on_wait),
            engine=ray,
            on_plan=on_plan,
            on_outcome=bars.outcome,
            say=display.say,
        )
    if job.masks.bids:
        from attnseg import __version__
        from attnseg.datasets.arrange import derivative_texts

        texts = derivative_texts(predictor.spec.output_names, name="attnseg", version=__version__)
        for path, text in texts.items():
            write_text(output / path, text)
    manifest = Manifest(output, shard=part)
    if job.statistics or (output / STATISTICS).exists():
        # An older table would hold volumes of masks that have been made anew since.
        write_text(output / STATISTICS, _statistics(manifest.last_lines().values()))
    display.summary(outcomes, manifest.path)
    return outcomes


def dry_run(
    inputs: Sequence[str | Path],
    output: Path | None = None,
    *,
    model: Path | Sequence[Path] | None = None,
    channels: Sequence[str] = (),
    series: str | None = None,
    overwrite: bool = False,
    verify: bool = False,
    shard: str = "",
    job: Job | None = None,
    **settings: Unpack[Settings],
) -> list[Work]:
    """Tell what `predict` would do with each scan, from the headers and a window of zeros.

    Args and errors: as those of `predict`; without an output nothing is done already.

    Returns:
        What is planned, scans that are done left out.
    """
    job = job or Job()
    models, predictor, scans, _ = _ready(inputs, model, channels, series, shard, settings, job)
    display = Display()
    if output is not None:
        known = known_scans(
            scans, predictor, output, model_id=models_id(models), job=job,
            overwrite=overwrite, verify=verify,
        )  # fmt: skip
        scans = list(known.todo)
        for scan in known.done:
            display.say(f"– {scan.name}: done before")
        if known.unrecorded:
            display.say(kept_unrecorded(known.unrecorded))
    plan_cohort(scans, predictor, job)  # settles the back end
    seconds = predictor.runner.measure()
    work = plan_cohort(scans, predictor, job)
    display.say(
        f"{named(models)} · {predictor.device} · {predictor.runner.backend} · nothing is written"
    )
    display.dry_run(work, seconds_per_window=seconds)
    if output is not None:
        display.say(f"without --dry-run: {_outputs(job)} → {output}/; {_what_is_done(overwrite)}")
    return work


def _outputs(job: Job) -> str:
    """What a run writes, in words."""
    kind = "" if job.masks.name == "auto" else f" ({job.masks.name})"
    each = ", a file for each label" if job.masks.per_label else ""
    named = ", named as a BIDS derivative" if job.masks.bids else ""
    more = {
        "probabilities": job.probabilities,
        "α of the gates": job.attention,
        STATISTICS: job.statistics,
    }
    return ", ".join(
        [f"masks{kind}{each}{named}", *(name for name, asked in more.items() if asked)]
    )


def _what_is_done(overwrite: bool) -> str:
    again = "predicted again (--overwrite)" if overwrite else "kept"
    return f"what is done there already is {again}"


def models_id(models: Sequence[Path]) -> str:
    """Which models made a mask: the id of one, the SHA-256 of the sorted ids of several."""
    ids = sorted(model_id(path) for path in models)
    return ids[0] if len(ids) == 1 else hashlib.sha256("\n".join(ids).encode()).hexdigest()


def take_shard(scans: Sequence[Scan], shard: str) -> tuple[list[Scan], str]:
    """The scans of part "i/n", and what its manifest is called by; all of them for "".

    Raises:
        UsageError: not of the form i/n with 1 ≤ i ≤ n.
    """
    if not shard:
        return list(scans), ""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {shard}: must be i/n with i from 1 to n, such as 2/8")
    index, count = int(match[1]), int(match[2])
    return list(scans[index - 1 :: count]), f"{index}of{count}"


def _check_engine(engine: str, workers: int | None) -> None:
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: unknown; use {' or '.join(ENGINES)}")
    if engine == "ray" and find_spec("ray") is None:
        raise UsageError("--engine ray: Ray is not installed; pip install 'attnseg[ray]'")
    if workers is not None and engine == "local":
        raise UsageError(f"--workers {workers}: for --engine ray; leave it out here")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: must be 1 or more")


def _ready(
    inputs: Sequence[str | Path],
    model: Path | Sequence[Path] | None,
    channels: Sequence[str],
    series: str | None,
    shard: str,
    settings: Settings,
    job: Job,
) -> tuple[list[Path], Predictor, list[Scan], str]:
    if settings.get("max_ram") is None:
        keep_freed_memory()
    if settings.get("backend") == "openvino":
        refuse_options(
            {"--compile": settings.get("compiled")},
            "torch.compile builds PyTorch's network, and --backend openvino has its own; leave one "
            "of them out",
        )
    models = find_models(model)
    predictor = Predictor.load(models, **settings)
    if predictor.device.type == "cpu":
        refuse_options(
            {"--max-vram": settings.get("max_vram") is not None},
            "bounds the memory of a GPU, and this run is on the CPU; use --max-ram",
        )
    if job.attention and not predictor.gates.gates:
        raise UsageError(
            "--save-attention: this network has no gates, and so no α; train one with --gates grid "
            "or skip"
        )
    names = predictor.spec.channel_names
    if channels:
        refuse_options(
            {"--series": series},
            "chooses among DICOM series, and --channels among files; leave it out",
        )
        scans = _by_pattern(inputs, channels, names)
    else:
        scans = find_scans(
            inputs,
            num_channels=len(names),
            series=series,
            channel_names=names,
            say=Display().say,
        )
    # What suits some of the scans fails the others alone; what suits none is a slip.
    refusals = [job.masks.refusal(scan) for scan in scans if not scan.reason]
    if refusals and all(refusals):
        raise UsageError(refusals[0])
    if all(is_picture(scan.paths[0]) for scan in scans):
        refuse_options(
            {"--statistics": job.statistics},
            "writes volumes in ml, and pictures have none; leave it out",
        )
    part, named_by = take_shard(scans, shard)
    if named_by:  # the other parts write into the same folder, perhaps at this very time
        refuse_collisions(scans, lambda scan: written_by_job(scan, predictor, job))
    return models, predictor, part, named_by


def _by_pattern(
    folders: Sequence[str | Path], patterns: Sequence[str], channel_names: Sequence[str]
) -> list[Scan]:
    """Cases of folders, and the table of what was matched on the screen."""
    from attnseg.inference.channels import channel_table, scans_by_pattern

    if len(patterns) != len(channel_names):
        raise UsageError(
            f"{len(patterns)} pattern(s) of --channels where the model has {len(channel_names)} "
            f"channel(s), {', '.join(channel_names)}; give one for each, in this order"
        )
    say = Display().say
    scans = [
        scan for folder in folders for scan in scans_by_pattern(Path(folder), patterns, say=say)
    ]
    refuse_twice(scans)
    say(channel_table(scans, channel_names))
    return scans


def _statistics(lines: Iterable[dict]) -> str:
    """A table of volumes: one row a scan and label."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("scan", "label", "volume_ml"))
    for line in sorted(lines, key=lambda line: str(line["name"])):
        if line.get("state") == "done":
            table.writerows((line["name"], *each) for each in line.get("volumes_ml", {}).items())
    return text.getvalue()
