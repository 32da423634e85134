"""`attnseg predict`: scans in, masks out, one line a scan."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack

from attnseg.disk import remedied
from attnseg.errors import UsageError
from attnseg.files import remove_leftovers, write_text
from attnseg.inference.cohort import predict_cohort
from attnseg.inference.display import Display, named
from attnseg.inference.known import kept_unrecorded, known_scans
from attnseg.inference.manifest import Manifest, Outcome
from attnseg.inference.predictor import Settings
from attnseg.inference.request import read_request
from attnseg.inference.sources import Scan, find_models
from attnseg.inference.work import Job, Work, change_backend, plan_again, plan_cohort
from attnseg.locks import FolderLock
from attnseg.models import model_id
from attnseg.names import WINDOWS_REMEDY, windows_note
from attnseg.signals import stop_on_signals

STATISTICS = "statistics.csv"
ENGINES = ("local", "ray")
_RELIEF = "free some space or give another folder with -o"
_FURTHER = "then give the same command again: what is done is kept"


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
        RunError: another process predicts there with another model or other settings.
        AttnsegError: nothing to predict, or no usable model; a single bad scan does not raise.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; files are left whole.
    """
    _check_engine(engine, workers)
    display = Display()
    job = job or Job()
    with ExitStack() as stack:
        stack.enter_context(remedied(_FURTHER, relief=_RELIEF))
        ray = None
        if engine == "ray":
            from attnseg.inference.ray_engine import ray_engine

            model = find_models(model)
            # Before the signals are requests: Ray takes one for itself.
            ray = stack.enter_context(ray_engine(model, settings, workers=workers, say=display.say))
            settings = ray.settings_here
        asked = read_request(
            inputs, model=model, channels=channels, series=series, shard=shard, job=job,
            settings=settings,
        )  # fmt: skip
        predictor, scans, part = asked.predictor, asked.scans, asked.part
        display.say(
            f"{named(asked.models)} · {ray or predictor.device}"
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

        if verify:
            display.say("looking at every byte of the scans that are done (--verify)")
        backends: set[str] = set()

        def on_plan(work: Work) -> None:
            bars.plan(work)
            if work.backend not in backends:
                backends.add(work.backend)
                display.say(f"back end: {work.backend}")

        outcomes = predict_cohort(
            scans,
            predictor,
            output,
            model_id=models_id(asked.models),
            overwrite=overwrite,
            verify=verify,
            shard=part,
            job=replace(job, on_window=on_window, on_wait=on_wait),
            engine=ray,
            on_known=bars.known,
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
        # An older table would hold volumes of masks that have been made anew since. Of two runs
        # that end at once the later one writes what both have done.
        with (
            FolderLock(output, command="attnseg predict") as lock,
            lock.turn(STATISTICS, seconds=60, on_wait=lambda holder: None),
        ):
            remove_leftovers(output / STATISTICS)
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
    asked = read_request(
        inputs, model=model, channels=channels, series=series, shard=shard, job=job,
        settings=settings,
    )  # fmt: skip
    predictor, scans = asked.predictor, asked.scans
    display = Display()
    if output is not None:
        known = known_scans(
            scans, predictor, output, model_id=models_id(asked.models), job=job,
            overwrite=overwrite, verify=verify,
        )  # fmt: skip
        scans = list(known.todo)
        for scan in known.done:
            display.say(f"– {scan.name}: done before")
        if known.unrecorded:
            display.say(kept_unrecorded(known.unrecorded))
    work = list(plan_cohort(scans, predictor, job))
    if any(each.lacks_room for each in work) and predictor.runner.may_change:
        change_backend(predictor)
    seconds = predictor.runner.measure()
    work = [plan_again(each, predictor, job) for each in work]
    display.say(
        f"{named(asked.models)} · {predictor.device} · {predictor.runner.backend} · "
        "nothing is written"
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


def _check_engine(engine: str, workers: int | None) -> None:
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: unknown; use {' or '.join(ENGINES)}")
    if engine == "ray" and find_spec("ray") is None:
        raise UsageError("--engine ray: Ray is not installed; pip install 'attnseg[ray]'")
    if workers is not None and engine == "local":
        raise UsageError(f"--workers {workers}: for --engine ray; leave it out here")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: must be 1 or more")


def _statistics(lines: Iterable[dict]) -> str:
    """A table of volumes: one row a scan and label."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("scan", "label", "volume_ml"))
    for line in sorted(lines, key=lambda line: str(line["name"])):
        if line.get("state") == "done":
            table.writerows((line["name"], *each) for each in line.get("volumes_ml", {}).items())
    return text.getvalue()
