"""A cohort in this process: the engine that is used where no other is asked for.

While the network works on one scan, the next is planned, read and preprocessed in a thread and the
mask of the one before is written in another, as long as all of it stays within the bound of memory.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from attnseg.disk import require_room
from attnseg.files import remove_leftovers
from attnseg.images import Image, is_picture
from attnseg.inference.after import volumes_ml
from attnseg.inference.attention import attention_file, attention_names
from attnseg.inference.expectations import surprises
from attnseg.inference.identity import ScanIdentity, identify_scan, outsides
from attnseg.inference.known import probabilities_of, written_by_job
from attnseg.inference.manifest import Outcome
from attnseg.inference.predictor import Predictor
from attnseg.inference.probabilities import probability_file, row_bytes
from attnseg.inference.sources import Scan
from attnseg.inference.work import (
    Job,
    Work,
    change_backend,
    fit_together,
    plan_again,
    reason_of,
)
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


def predict_here(
    scans: Sequence[Scan],
    work: Iterable[Work],
    predictor: Predictor,
    output: Path,
    base: Outcome,
    job: Job,
) -> Generator[Outcome]:
    """What becomes of each scan, in order.

    Planning and reading are one scan ahead, writing is one behind.
    """
    with ExitStack() as stack:
        reader, writer = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        # Left first: what was not begun need not be waited for.
        stack.callback(reader.shutdown, cancel_futures=True)
        ahead: Future[Prepared] | None = None
        behind: Future[Outcome] | None = None
        for previous, planned, following in _with_neighbours(work):
            this = planned
            if this.lacks_room and predictor.runner.may_change:
                if behind:
                    yield behind.result()
                    behind = None
                change_backend(predictor)
            if this.backend != predictor.runner.backend:
                this = plan_again(this, predictor, job)
            together = fit_together(previous, this, following, predictor.max_ram)
            if behind and not together:
                yield behind.result()
                behind = None
                release_freed_memory()
            outcome = replace(base, name=this.scan.name, reason=this.reason, backend=this.backend)
            writing = None
            begun, ahead = ahead, None
            if this.plan is not None:
                reading = begun or reader.submit(_prepare, this.scan, predictor)
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


def _with_neighbours(work: Iterable[Work]) -> Iterator[tuple[Work | None, Work, Work | None]]:
    """Each with the one before and the one behind it, of which no more is asked for yet."""
    coming = iter(work)
    previous, this = None, next(coming, None)
    while this is not None:
        following = next(coming, None)
        yield previous, this, following
        previous, this = this, following


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
    if work.gates is not None:  # α comes last: without room the labels would be found in vain
        rows = row_bytes(ready.grid.source_shape, len(predictor.gates.gates))
        require_room(output, rows, what=f"the rows of α of {scan.name}")
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
