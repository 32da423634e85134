"""What is to be done with the scans of a cohort, and how each will be predicted."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from attnseg.errors import AttnsegError
from attnseg.images import Outline
from attnseg.inference.budget import ScanPlan
from attnseg.inference.masks import MaskFormat
from attnseg.inference.predictor import Predictor
from attnseg.inference.sources import Scan

# Of so many scans the headers are read, if need be, before the back end is settled.
SEEN = 32


@dataclass(frozen=True)
class Work:
    """A scan and how it will be predicted, or why it will not."""

    scan: Scan
    plan: ScanPlan | None
    reason: str = ""
    gates: ScanPlan | None = None
    """For its α, read after its labels; where asked for."""
    backend: str = ""
    """The back end for which it was planned."""
    outline: Outline | None = None
    """What its headers say; None where they cannot be read."""
    gates_base_bytes: int = 0
    """What the process takes without the scan, when α are read."""

    @property
    def lacks_room(self) -> bool:
        """Whether its headers are in order, and still it cannot be predicted."""
        return self.plan is None and self.outline is not None

    @property
    def predicting_bytes(self) -> int:
        """Of the stage between reading and writing that takes most."""
        plans = [plan for plan in (self.plan, self.gates) if plan is not None]
        return max((plan.base_bytes + plan.predicting_bytes for plan in plans), default=0)

    @property
    def windows(self) -> int:
        """Passes through the network, or through its gates."""
        return sum(plan.windows for plan in (self.plan, self.gates) if plan is not None)

    @property
    def peak_bytes(self) -> int:
        """Of the whole process, in the stage that needs most."""
        return max(self.plan.peak_bytes if self.plan else 0, self.predicting_bytes)


@dataclass(frozen=True)
class Job:
    """What is done with each scan.

    Args:
        masks: how masks are written.
        probabilities: write `NAME_probabilities.nii.gz`.
        statistics: note the volume of each label.
        attention: write every gate's α, `NAME_attention.nii.gz`; nothing for a network without.
        before_writing: called with a scan and names of files before they are written; what it
            raises fails the scan.
        on_window: called after every window, from the thread that predicts; what it raises ends
            the cohort, files left whole.
        on_wait: called several times a second while other machines predict; as `on_window`.
    """

    masks: MaskFormat = field(default_factory=MaskFormat)
    probabilities: bool = False
    statistics: bool = False
    attention: bool = False
    before_writing: Callable[[Scan, Sequence[str]], None] = lambda scan, written: None
    on_window: Callable[[Scan], None] = lambda scan: None
    on_wait: Callable[[], None] = lambda: None


def plan_cohort(scans: Sequence[Scan], predictor: Predictor, job: Job) -> Iterator[Work]:
    """Settle the back end, then plan scan by scan, from headers that a thread reads ahead.

    "auto" goes by the work of all scans. As soon as what was seen decides it, no more headers are
    waited for; of a cohort of more than `SEEN` scans the others are taken to be like those.
    """
    runner = predictor.runner
    read = partial(_outline, predictor=predictor, masks=job.masks)
    outlines = _read_ahead(read, scans)
    seen: list[Outline | str] = []
    windows = 0
    for outline in islice(outlines, SEEN):
        seen.append(outline)
        windows += _windows(outline, predictor)
        if runner.sees_enough(windows):
            break
    runner.start(windows * len(scans) / max(len(seen), 1))
    base_bytes = predictor.gates.start() if _reads_gates(predictor, job) else 0
    works = [
        _planned(scan, outline, predictor, job, base_bytes)
        for scan, outline in zip(scans, seen, strict=False)
    ]
    if any(each.lacks_room for each in works) and runner.may_change:
        change_backend(predictor)
        works = [plan_again(each, predictor, job) for each in works]
    yield from works
    for scan, outline in zip(scans[len(seen) :], outlines, strict=True):
        yield _planned(scan, outline, predictor, job, base_bytes)


def change_backend(predictor: Predictor) -> None:
    """To the one that is slower, and less of the memory is its own."""
    predictor.runner.start(1, backend="torch")


def plan_again(work: Work, predictor: Predictor, job: Job) -> Work:
    """The same scan, for the back end that is in use now."""
    if work.outline is None:
        return replace(work, backend=predictor.runner.backend)
    return _planned(work.scan, work.outline, predictor, job, work.gates_base_bytes)


def fit_together(
    previous: Work | None, this: Work, following: Work | None, max_ram: int | None
) -> bool:
    """Whether one mask may be written and one scan read while this one is predicted."""
    if max_ram is None or this.plan is None:
        return max_ram is None
    needed = this.predicting_bytes
    needed += previous.plan.writing_bytes if previous and previous.plan else 0
    needed += following.plan.reading_bytes if following and following.plan else 0
    return needed <= max_ram


def _read_ahead(
    read: Callable[[Scan], Outline | str], scans: Sequence[Scan]
) -> Iterator[Outline | str]:
    """What is read of each scan, in order; a thread is a few scans ahead."""
    thread, coming = ThreadPoolExecutor(1), iter(scans)
    try:
        ahead = deque(thread.submit(read, scan) for scan in islice(coming, SEEN))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(thread.submit(read, scan) for scan in islice(coming, 1))
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _outline(scan: Scan, predictor: Predictor, masks: MaskFormat) -> Outline | str:
    """What its headers say, or why they do not."""
    if reason := scan.reason or masks.refusal(scan):
        return reason
    try:
        return predictor.outline(*scan.paths)
    except Exception as error:  # whatever is wrong with one scan is that scan's own matter
        return reason_of(error)


def _windows(outline: Outline | str, predictor: Predictor) -> int:
    """Passes that a scan takes in one piece; 0 where it cannot be predicted."""
    if isinstance(outline, str):
        return 0
    try:
        return predictor.windows_of(outline)
    except Exception:  # told when the scan is planned
        return 0


def _reads_gates(predictor: Predictor, job: Job) -> bool:
    return job.attention and bool(predictor.gates.gates)


def _planned(
    scan: Scan, outline: Outline | str, predictor: Predictor, job: Job, gates_base_bytes: int
) -> Work:
    backend = predictor.runner.backend
    if isinstance(outline, str):
        return Work(scan, None, outline, backend=backend)
    work = Work(scan, None, backend=backend, outline=outline, gates_base_bytes=gates_base_bytes)
    source = str(scan.paths[0])
    try:
        plan = predictor.plan(outline, source=source, probabilities=job.probabilities)
        gates = None
        if _reads_gates(predictor, job):
            gates = predictor.gates.plan(outline, source=source, base_bytes=gates_base_bytes)
    except Exception as error:
        return replace(work, reason=reason_of(error))
    return replace(work, plan=plan, gates=gates)


def reason_of(error: Exception) -> str:
    """One line; what attnseg did not foresee is named by its kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AttnsegError | OSError) else f"{type(error).__name__}: {text}"
