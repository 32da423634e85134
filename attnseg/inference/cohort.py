"""Many scans with one loaded model, in one process: a failed scan never stops the others.

While the network works on one scan, the next is read and preprocessed in a thread and the mask of
the one before is written in another, as long as all of it stays within the bound of memory.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from attnseg.files import remove_leftovers
from attnseg.images import Image, is_picture
from attnseg.inference.after import volumes_ml
from attnseg.inference.attention import attention_file, attention_names
from attnseg.inference.expectations import surprises
from attnseg.inference.identity import ScanIdentity, identify_scan, outsides
from attnseg.inference.known import (
    kept_unrecorded,
    known_scans,
    probabilities_of,
    settings_of,
    written_by_job,
)
from attnseg.inference.manifest import Manifest, Outcome, append_line, versions
from attnseg.inference.predictor import Predictor
from attnseg.inference.probabilities import probability_file
from attnseg.inference.sources import Scan
from attnseg.inference.taken import refuse_written_since
from attnseg.inference.work import Job, Work, fit_together, plan_cohort, reason_of
from attnseg.memory import peak_bytes, release_freed_memory
from attnseg.preprocessing import Grid, constant_channels, preprocess


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan ready for the network. Its voxels as read are gone, its place is kept."""

    frame: Image
    volume: Tensor
    grid: Grid
    identity: ScanIdentity
    warnings: tuple[str, ...]
    seconds: float


# Who predicts what was planned: gives what becomes of each scan as it ends. The outcome it is given
# holds what all of them share.
Engine = Callable[[Sequence[Work], Predictor, Path, Outcome, Job], Iterator[Outcome]]


def predict_cohort(
    scans: Sequence[Scan],
    predictor: Predictor,
    output: Path,
    *,
    model_id: str,
    overwrite: bool = False,
    replace_others: bool = False,
    verify: bool = False,
    shard: str = "",
    job: Job | None = None,
    engine: Engine | None = None,
    on_plan: Callable[[Sequence[Work]], None] = lambda work: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Predict scans into `output`, one mask each, and keep the manifest.

    A scan is skipped, unless `overwrite`, where the manifest calls it done by the same model with
    the same settings, it is the scan that its line is of, and its mask lies there on its grid, in
    the format asked for; so do the probabilities and α that are asked for.

    Args:
        scans: what to predict.
        predictor: the loaded model.
        output: folder of masks and manifest.
        model_id: what the manifest calls the model.
        overwrite: predict again what is done; never in the place of another scan's mask.
        replace_others: the folder is the caller's own; what was made of other scans is replaced.
        verify: look at every byte of the scans that are done, not at path, size and time alone.
        shard: which part of a divided cohort this is, such as "2of8".
        job: what to do with each scan.
        engine: who predicts; None: this process.
        on_plan: called once with what is to be done.
        on_outcome: called as a scan ends, in order.
        say: called with a sentence on many scans together.

    Raises:
        UsageError: a mask would overwrite a scan, or what was made of another scan.
    """
    job = job or Job()
    known = known_scans(
        scans, predictor, output, model_id=model_id, job=job, overwrite=overwrite,
        replace_others=replace_others, verify=verify,
    )  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(output, shard=shard)
    outcomes: list[Outcome] = []

    def end(outcome: Outcome) -> None:
        left = known.outdated.get(outcome.name)
        if left and outcome.state == "failed":
            reason = f"{outcome.reason}; what lies there ({', '.join(left)}) was made of it before"
            outcome = replace(outcome, reason=reason)
        if outcome.state != "skipped":
            manifest.add(outcome)
        outcomes.append(outcome)
        on_outcome(outcome)

    for line in known.renewed:
        append_line(manifest.path, line)
    for scan in known.done:
        end(Outcome(scan.name, "skipped", mask=job.masks.target(scan), model=model_id))
    if known.unrecorded:
        say(kept_unrecorded(known.unrecorded))
    if known.todo:
        work = plan_cohort(known.todo, predictor, job)
        on_plan(work)
        if not replace_others:
            check = partial(refuse_written_since, folder=output, there=known.there)
            job = replace(job, before_writing=check)
        base = Outcome(
            "", "failed", model=model_id, settings=settings_of(predictor),
            backend=predictor.runner.backend, versions=versions(),
        )  # fmt: skip
        for outcome in (engine or predict_here)(work, predictor, output, base, job):
            end(outcome)
    return outcomes


def predict_here(
    work: Sequence[Work],
    predictor: Predictor,
    output: Path,
    base: Outcome,
    job: Job,
) -> Iterator[Outcome]:
    """What becomes of each scan, in order; reading is one scan ahead and writing one behind."""
    with ExitStack() as stack:
        reader, writer = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        # Left first: what was not begun need not be waited for.
        stack.callback(reader.shutdown, cancel_futures=True)
        ahead: Future[Prepared] | None = None
        behind: Future[Outcome] | None = None
        for previous, this, following in zip([None, *work], work, [*work[1:], None], strict=False):
            together = fit_together(previous, this, following, predictor.max_ram)
            if behind and not together:
                yield behind.result()
                behind = None
                release_freed_memory()
            outcome = replace(base, name=this.scan.name, reason=this.reason)
            writing = None
            if this.plan is not None:
                reading = ahead or reader.submit(_prepare, this.scan, predictor)
                ahead = None
                try:
                    ready = reading.result()
                    outcome = replace(outcome, scan=ready.identity)
                    if together and following is not None and following.plan is not None:
                        ahead = reader.submit(_prepare, following.scan, predictor)
                    labels, outcome = _segment(this, ready, predictor, output, outcome, job)
                    names = predictor.spec.output_names
                    write = partial(
                        job.masks.write,
                        output,
                        this.scan,
                        labels,
                        like=ready.frame,
                        dtype=predictor.label_type,
                        names=names,
                    )
                    done = replace(outcome, mask=job.masks.target(this.scan), labels=names)
                    check = partial(job.before_writing, this.scan, [done.mask])
                    writing = writer.submit(_write, write, done, check)
                    del ready, labels, write  # the writer alone holds the mask
                except Exception as error:  # one bad scan is one line of the manifest
                    outcome = replace(outcome, reason=reason_of(error))
            if behind:
                yield behind.result()
            behind = writing
            if not writing:
                yield outcome
        if behind:
            yield behind.result()


def _prepare(scan: Scan, predictor: Predictor) -> Prepared:
    begin = time.perf_counter()
    before = outsides(scan.paths)
    image = predictor.read(*scan.paths)
    identity = identify_scan(scan.paths, image.geometry, before=before)
    volume, grid = preprocess(image, predictor.spec.preprocessing)
    blank = [
        f"{sentence}: nothing can be seen in it"
        for sentence in constant_channels(image, predictor.spec.channel_names)
    ]
    warnings = (*scan.notes, *image.notes, *blank, *surprises(image, predictor.spec))
    frame = replace(image, array=np.broadcast_to(np.float32(0), image.array.shape))
    return Prepared(frame, volume, grid, identity, warnings, time.perf_counter() - begin)


def _segment(
    work: Work,
    ready: Prepared,
    predictor: Predictor,
    output: Path,
    outcome: Outcome,
    job: Job,
) -> tuple[np.ndarray, Outcome]:
    """Label values, and the outcome so far."""
    scan, plan = work.scan, work.plan
    assert plan is not None
    job.before_writing(scan, written_by_job(scan, predictor, job))
    begin, before = time.perf_counter(), predictor.runner.seconds
    kept = probabilities_of(scan) if job.probabilities else ""
    with ExitStack() as stack:
        take = None
        if kept:
            remove_leftovers(output / kept)
            classes = predictor.spec.architecture.out_channels
            file = probability_file(output / kept, ready.grid, classes, like=ready.frame)
            take = stack.enter_context(file).put
        labels = predictor.segment(
            ready.volume,
            ready.grid,
            plan,
            geometry=ready.frame.geometry,
            take=take,
            on_window=lambda: job.on_window(scan),
        )
    maps = _save_attention(work, ready, predictor, output, job)
    volumes = {}
    if job.statistics:
        names = predictor.spec.output_names
        found = volumes_ml(labels, names, ready.frame.geometry)
        volumes = {names[value]: round(ml, 4) for value, ml in found.items()}
    network = predictor.runner.seconds - before
    export = time.perf_counter() - begin - network
    return labels, replace(
        outcome,
        probabilities=kept,
        attention=maps,
        windows=plan.windows,
        tiles=plan.tiles,
        warnings=ready.warnings,
        volumes_ml=volumes,
        seconds={"reading": ready.seconds, "network": network, "export": export},
    )


def _save_attention(
    work: Work, ready: Prepared, predictor: Predictor, output: Path, job: Job
) -> tuple[str, ...]:
    """Names of the files that were written."""
    if work.gates is None:
        return ()
    name, gates = work.scan.name, predictor.gates.gates
    with attention_file(output, name, gates, ready.grid, like=ready.frame) as file:
        predictor.gates.read(
            ready.volume,
            ready.grid,
            work.gates,
            take=file.put,
            on_window=lambda: job.on_window(work.scan),
        )
    return tuple(attention_names(name, gates, picture=is_picture(work.scan.paths[0])))


def _write(
    write: Callable[[], None], outcome: Outcome, before_writing: Callable[[], None]
) -> Outcome:
    """The outcome as done, once `write` has written the mask that it names."""
    begin = time.perf_counter()
    try:
        before_writing()
        write()
    except Exception as error:
        return replace(outcome, mask="", reason=reason_of(error))
    seconds = outcome.seconds | {"writing": time.perf_counter() - begin}
    return replace(
        outcome,
        state="done",
        seconds={stage: round(each, 3) for stage, each in seconds.items()},
        peak_ram_mb=round(peak_bytes() / 2**20, 1),
    )
