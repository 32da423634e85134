"""Many scans with one loaded model: a failed scan never stops the others.

Scans are planned, predicted and written one behind the other, so that the first masks are there
before the last headers have been read.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from attnseg.inference.known import (
    is_done,
    kept_unrecorded,
    known_scans,
    settings_of,
    written_by_job,
)
from attnseg.inference.local_engine import predict_here
from attnseg.inference.manifest import (
    Manifest,
    NewLines,
    Outcome,
    append_line,
    owners,
    versions,
)
from attnseg.inference.predictor import Predictor
from attnseg.inference.sharing import Share
from attnseg.inference.sources import Scan
from attnseg.inference.taken import refuse_written_since
from attnseg.inference.work import Job, Work, plan_cohort
from attnseg.signals import stop_asked

# Who predicts scans, each planned when it is asked for: gives what becomes of each as it ends. The
# outcome it is given holds what all of them share.
Engine = Callable[
    [Sequence[Scan], Iterator[Work], Predictor, Path, Outcome, Job], Generator[Outcome]
]


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
    on_known: Callable[[Scan], None] = lambda scan: None,
    on_plan: Callable[[Work], None] = lambda work: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Predict scans into `output`, one mask each, and keep the manifest.

    Runs that predict into one folder at the same time share their scans (`inference.sharing`): what
    another run has done meanwhile is skipped, what it has still in the end is "elsewhere".

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
        on_known: called with every scan once it is known whether it is done.
        on_plan: called with every scan that is to be predicted, shortly before it is.
        on_outcome: called as a scan ends, in order.
        say: called with a sentence on many scans together.

    Raises:
        UsageError: a mask would overwrite a scan, or what was made of another scan.
        RunError: another process predicts into the folder with another model or other settings.
    """
    job = job or Job()
    news = NewLines(output)
    known = known_scans(
        scans, predictor, output, model_id=model_id, job=job, overwrite=overwrite,
        replace_others=replace_others, verify=verify, lines=owners(output, say=say),
        on_scan=on_known,
    )  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(output, shard=shard)
    outcomes: list[Outcome] = []

    def end(outcome: Outcome) -> None:
        if outcome.state == "failed" and stop_asked():
            raise KeyboardInterrupt  # it failed because what it needs is being taken down
        left = known.outdated.get(outcome.name)
        if left and outcome.state == "failed":
            reason = f"{outcome.reason}; what lies there ({', '.join(left)}) was made of it before"
            outcome = replace(outcome, reason=reason)
        if outcome.state in ("done", "failed"):
            manifest.add(outcome)
        outcomes.append(outcome)
        on_outcome(outcome)

    for line in known.renewed:
        append_line(manifest.path, line)
    for scan in known.done:
        end(Outcome(scan.name, "skipped", mask=job.masks.target(scan), model=model_id))
    if known.unrecorded:
        say(kept_unrecorded(known.unrecorded))
    if not known.todo:
        return outcomes
    if not replace_others:
        check = partial(refuse_written_since, folder=output, there=known.there)
        job = replace(job, before_writing=check)
    settings = settings_of(predictor)
    base = Outcome("", "failed", model=model_id, settings=settings, versions=versions())

    def written(work: Work) -> list[str]:
        return [work.scan.name] if work.scan.reason else written_by_job(work.scan, predictor, job)

    def refuse(work: Work) -> None:
        if not replace_others:  # also what came while it was looked which scans are done
            before = known.there - news.written
            refuse_written_since(work.scan, written(work), folder=output, there=before)

    def skip(work: Work) -> None:
        end(
            Outcome(
                work.scan.name, "skipped", mask=job.masks.target(work.scan), model=model_id,
                reason="done by another run meanwhile",
            )
        )  # fmt: skip

    with Share(
        output,
        model_id=model_id,
        settings=settings,
        written=written,
        refuse=refuse,
        is_done=lambda work, lines: is_done(
            work.scan, predictor, output, model_id=model_id, job=job, lines=lines
        ),
        news=news,
        say=say,
    ) as share:
        if not replace_others:
            share.refuse_other_models()
        coming: Iterable[Work] = plan_cohort(known.todo, predictor, job)
        while True:
            before = len(outcomes)
            with closing(_told(share.mine(coming, skip), on_plan)) as work:
                predicted = (engine or predict_here)(known.todo, work, predictor, output, base, job)
                # Closed at once where a line cannot be written: masks are still being written.
                with closing(predicted):
                    for outcome in predicted:
                        end(outcome)
                        share.release(outcome.name)
            if not share.passed or len(outcomes) == before:
                break
            coming = share.take_passed()  # time has gone by: they are done, or free, or held still
    for each, holder in share.passed:
        end(Outcome(each.scan.name, "elsewhere", reason=f"being done by {holder}"))
    return outcomes


def _told(work: Iterator[Work], on_plan: Callable[[Work], None]) -> Generator[Work]:
    for each in work:
        on_plan(each)
        yield each
