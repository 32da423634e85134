"""What `attnseg predict` says on the screen; Rich is loaded when something is to be said."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attnseg.inference.manifest import Outcome
from attnseg.inference.sources import MODEL_NAME, Scan
from attnseg.inference.work import Work


class Display:
    """Lines on stderr, and bars where that is a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    @contextmanager
    def progress(self, scans: int) -> Iterator["Bars"]:
        """Bars of the scan at hand and of all of them, with the time left."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        live = self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=not live) as bars:
            yield Bars(bars, scans)

    def dry_run(self, work: Sequence[Work], *, seconds_per_window: float) -> None:
        """One line a scan: windows, tiles, peak memory, time of the network."""
        width = max([len(each.scan.name) for each in work], default=0)
        for each in work:
            if each.plan is None:
                self.say(f"{each.scan.name:<{width}}  ✗ {each.reason}")
                continue
            a, s = each.plan.tiles
            tiles = f" in {a} × {s} tiles" if a * s > 1 else ""
            seconds = each.windows * seconds_per_window
            self.say(
                f"{each.scan.name:<{width}}  {each.windows} windows{tiles}, "
                f"at most {each.peak_bytes / 2**30:.2f} GiB, about {seconds:.1f} s of network"
                + "".join(f"\n  ! {note}" for note in each.scan.notes)
            )
        plans = [each.plan for each in work if each.plan]
        windows = sum(plan.windows for plan in plans)
        self.say(
            f"{len(plans)} of {len(work)} scan(s), {windows} windows, "
            f"about {windows * seconds_per_window:.0f} s of network"
        )

    def summary(self, outcomes: Sequence[Outcome], manifest: Path) -> None:
        """How many of each kind; reasons of the failed ones once more, where they are many."""
        counts = Counter(outcome.state for outcome in outcomes)
        failed = [outcome for outcome in outcomes if outcome.state == "failed"]
        if failed and len(outcomes) > len(failed):
            width = max(len(outcome.name) for outcome in failed)
            self.say("failed:")
            for outcome in failed:
                self.say(f"  {outcome.name:<{width}}  {outcome.reason}")
        elsewhere = Counter(each.reason for each in outcomes if each.state == "elsewhere")
        for reason, count in elsewhere.items():
            self.say(f"{count} scan(s) elsewhere: {reason}")
        states = [state for state in ("done", "skipped", "elsewhere", "failed") if counts[state]]
        listed = ", ".join(f"{counts[state]} {state}" for state in states)
        self.say(f"{listed}; {manifest} tells the rest")


@contextmanager
def progress_bar(
    name: str, total: int | None, *, shown: bool = True
) -> Iterator[Callable[..., None]]:
    """A bar on the terminal, gone when the block has ended; nothing where there is no terminal.

    Args:
        name: before the bar.
        total: steps; None where that is not known.
        shown: leave out to show none.

    Yields:
        What is called after every step, or with the number of steps done.
    """
    console = Console(stderr=True, emoji=False)
    # Names of scans may hold what Rich would read as markup.
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn())
    live = shown and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not live) as progress:
        task = progress.add_task(name, total=total)
        yield lambda steps=1: progress.advance(task, steps)


class Bars:
    """Progress of a cohort; made by `Display.progress`."""

    def __init__(self, progress: Progress, scans: int) -> None:
        self._progress = progress
        self._known = progress.add_task("looking for what is done", total=scans)
        self._all = progress.add_task("scans", total=scans, visible=False)
        self._one = progress.add_task("", total=None, visible=False)
        self._windows: dict[str, int] = {}
        self._current = ""

    def known(self, scan: Scan) -> None:
        """It was looked whether this scan is done."""
        self._progress.advance(self._known)

    def plan(self, work: Work) -> None:
        """What is to come next."""
        self._windows[work.scan.name] = work.windows
        self._progress.update(self._known, visible=False)
        self._progress.update(self._all, visible=True)

    def window(self, scan: Scan) -> None:
        """One more window of a scan."""
        if scan.name != self._current:
            self._current = scan.name
            self._progress.reset(
                self._one, description=scan.name, total=self._windows[scan.name], visible=True
            )
        self._progress.advance(self._one)

    def outcome(self, outcome: Outcome) -> None:
        """A scan that has ended."""
        self._progress.advance(self._all)
        self._progress.console.print(_line(outcome), markup=False)


def named(models: Sequence[Path]) -> str:
    """The models in a few words."""
    if len(models) == 1:
        return f"model {models[0]}"
    runs = {path.parent.parent if path.name == MODEL_NAME else path for path in models}
    where = f"of {runs.pop()}" if len(runs) == 1 else f"({', '.join(map(str, models))})"
    return f"{len(models)} models {where} averaged"


def _line(outcome: Outcome) -> str:
    if outcome.state == "failed":
        return f"✗ {outcome.name}: {outcome.reason}"
    if outcome.state == "skipped":
        why = outcome.reason or "done before; --overwrite predicts it again"
        return f"– {outcome.name}: {why}"
    if outcome.state == "elsewhere":
        return f"… {outcome.name}: {outcome.reason}"
    warned = "".join(f"\n  ! {each}" for each in outcome.warnings)
    return f"✓ {outcome.name} {sum(outcome.seconds.values()):.2f} s{warned}"
