"""What is to be done with the scans of a cohort, and how each will be predicted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from attnseg.errors import AttnsegError
from attnseg.images import Outline
from attnseg.inference.budget import ScanPlan
from attnseg.inference.masks import MaskFormat
from attnseg.inference.predictor import Predictor
from attnseg.inference.sources import Scan


@dataclass(frozen=True)
class Work:
    """A scan and how it will be predicted, or why it will not."""

    scan: Scan
    plan: ScanPlan | None
    reason: str = ""
    gates: ScanPlan | None = None
    """For its α, read after its labels; where asked for."""

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


def plan_cohort(scans: Sequence[Scan], predictor: Predictor, job: Job) -> list[Work]:
    """Settle the back end for all scans together and plan each of them, from their headers."""
    outlines = [
        scan.reason or job.masks.refusal(scan) or _outline(scan, predictor) for scan in scans
    ]
    windows = sum(predictor.windows_of(each) for each in outlines if isinstance(each, Outline))
    predictor.runner.start(windows)
    work = _planned(scans, outlines, predictor, job)
    too_large = [
        o for w, o in zip(work, outlines, strict=True) if not (w.plan or isinstance(o, str))
    ]
    if predictor.runner.may_change and too_large:
        predictor.runner.start(
            windows, backend="torch"
        )  # slower, and less of the memory is its own
        work = _planned(scans, outlines, predictor, job)
    return work


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


def _outline(scan: Scan, predictor: Predictor) -> Outline | str:
    """What its headers say, or why they do not."""
    try:
        return predictor.outline(*scan.paths)
    except Exception as error:  # whatever is wrong with one scan is that scan's own matter
        return reason_of(error)


def _planned(
    scans: Sequence[Scan],
    outlines: Sequence[Outline | str],
    predictor: Predictor,
    job: Job,
) -> list[Work]:
    work = []
    for scan, outline in zip(scans, outlines, strict=True):
        if isinstance(outline, str):
            work.append(Work(scan, None, outline))
            continue
        try:
            source = str(scan.paths[0])
            plan = predictor.plan(outline, source=source, probabilities=job.probabilities)
            reads = job.attention and predictor.gates.gates
            gates = predictor.gates.plan(outline, source=source) if reads else None
            work.append(Work(scan, plan, gates=gates))
        except AttnsegError as error:
            work.append(Work(scan, None, str(error)))
    return work


def reason_of(error: Exception) -> str:
    """One line; what attnseg did not foresee is named by its kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AttnsegError | OSError) else f"{type(error).__name__}: {text}"
