"""What a training run tells its user, by Rich: on stderr, one live line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from attnseg.datasets import Finding
from attnseg.training.loop import Report
from attnseg.training.plan import Plan

# Beside the live line, which a log file does not show, a plain line this often (seconds).
_LINE_EVERY = 60.0


class Display:
    """Messages and progress of one run; of several processes only the first one talks."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(
            stderr=True, highlight=False, emoji=False, soft_wrap=True, quiet=quiet
        )

    def say(self, text: str) -> None:
        """A plain message."""
        self.console.print(text, markup=False)

    def findings(self, findings: Sequence[Finding]) -> None:
        """Warnings, then what is harmless; findings that stop training are raised as an error."""
        for severity, word in (("warning", "warning"), ("harmless", "note")):
            for finding in findings:
                if finding.severity == severity:
                    self.say(f"{word}: {finding}")

    def plan(self, plan: Plan) -> None:
        """The plan's numbers and why."""
        for line in plan_lines(plan):
            self.say(line)

    @contextmanager
    def checking(self, total: int) -> Iterator[Callable[[], None]]:
        """A bar over the cases that are checked."""
        with self._bar("checking", total) as advance:
            yield advance

    @contextmanager
    def caching(self, total: int) -> Iterator[Callable[[], None]]:
        """A bar over the cases that are preprocessed."""
        with self._bar("preprocessing", total) as advance:
            yield advance

    @contextmanager
    def training(self) -> Iterator[Callable[[Report, float], None]]:
        """The live line: loss, Dice, samples/s, time left."""
        columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
        with self._progress(*columns) as progress:
            task = progress.add_task("", total=1.0)
            last = 0.0

            def show(report: Report, dice: float) -> None:
                nonlocal last
                text = _line(report, dice)
                progress.update(task, completed=report.progress, description=text)
                due = report.progress >= 1 or report.seconds - last >= _LINE_EVERY
                if report.epoch_done and due:
                    last = report.seconds
                    progress.console.print(text, markup=False)

            yield show

    def _progress(self, *columns: ProgressColumn) -> Progress:
        # Where the output is a file, a live line would only leave blank ones.
        live = self.console.is_terminal
        return Progress(*columns, console=self.console, transient=True, disable=not live)

    @contextmanager
    def _bar(self, name: str, total: int) -> Iterator[Callable[[], None]]:
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn())
        with self._progress(*columns) as progress:
            task = progress.add_task(name, total=total)
            yield lambda: progress.advance(task)


def plan_lines(plan: Plan, *, explain: bool = True) -> list[str]:
    """The plan for the user: its numbers in a few lines, then each reason."""
    net, spec = plan.spec.architecture, plan.spec
    spacing = " × ".join(f"{mm:g}" for mm in spec.preprocessing.spacing_mm)
    lines = [
        f"plan: {net.spatial_dims}D, patch {'×'.join(map(str, spec.patch))} at {spacing} mm, batch "
        f"{plan.batch_size}, channels {', '.join(map(str, net.channels))}, gates {net.gate}, "
        f"{plan.disk_mb:,.0f} MB of preprocessed cases"
    ]
    if plan.probe:
        lines.append(
            f"  measured on {plan.probe.device}: {plan.probe.seconds_per_step:.3f} s a step, peak "
            f"memory {plan.probe.peak_memory_mb:,.0f} MB"
        )
    if plan.epochs:
        lines.append(f"  epochs that fit: {plan.epochs}")
    if explain:
        lines += [f"  {number}: {reason}" for number, reason in plan.reasons.items()]
    return lines


def _line(report: Report, dice: float) -> str:
    minutes, seconds = divmod(round(report.seconds_left), 60)
    score = f"Dice {dice:.3f}" if dice == dice else "Dice –"
    return (
        f"epoch {report.epoch} · step {report.step} · loss {report.loss:.3f} · {score} · "
        f"{report.samples_per_second:.1f} samples/s · {minutes}:{seconds:02d} left"
    )
