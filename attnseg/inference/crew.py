"""The workers of a Ray cluster: asked, waited for, and made anew where one is lost."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from attnseg.files import remove_leftovers
from attnseg.images import absolute
from attnseg.inference.manifest import Outcome
from attnseg.inference.work import Job, Work
from attnseg.inference.workers import Place, Worker

_SECONDS_BETWEEN_LOOKS = 0.2
# Nothing started for so long is worth a word.
_PATIENCE_SECONDS = 30.0
# Within that a worker that is killed is gone.
_END_SECONDS = 1.0


@dataclass(eq=False)
class _Hand:
    """A worker, and the scan that it has; None while it loads the model."""

    place: Place
    actor: Any
    work: Work | None = None


class Crew:
    """The workers of one run.

    Args:
        places: one for each worker.
        loading: arguments of `Worker.load`.
        written: what a worker writes of a scan.
        say: told what the user should know.
    """

    def __init__(
        self,
        places: Sequence[Place],
        loading: dict[str, Any],
        *,
        written: Callable[[Work], list[Path]],
        say: Callable[[str], None],
    ) -> None:
        self._loading, self._written, self._say = loading, written, say
        self._busy: dict[ray.ObjectRef, _Hand] = {}
        self._idle: list[_Hand] = []
        self._patient_until: float | None = time.monotonic() + _PATIENCE_SECONDS
        self.trouble = ""
        """What the last loss of a worker came from, in one line."""
        for place in places:
            self._employ(place)

    @property
    def at_work(self) -> bool:
        """Whether a scan is in the hands of a worker."""
        return any(hand.work for hand in self._busy.values())

    @property
    def gone(self) -> bool:
        """Whether no worker is left."""
        return not (self._busy or self._idle)

    def hand_out(self, todo: deque[Work], output: Path, base: Outcome, job: Job) -> None:
        """Give idle workers a scan each, from the front."""
        while todo and self._idle:
            hand = self._idle.pop()
            hand.work = todo.popleft()
            scan = hand.work.scan
            there = replace(scan, paths=tuple(absolute(path) for path in scan.paths))
            base = replace(base, backend=hand.work.backend)
            self._busy[hand.actor.predict.remote(there, output, base, job)] = hand

    def ended(self) -> Iterator[tuple[Work, Outcome | None]]:
        """Scans that ended within a moment; None: their worker was lost."""
        ready, _ = ray.wait(list(self._busy), timeout=_SECONDS_BETWEEN_LOOKS)
        for ref in ready:
            hand = self._busy.pop(ref)
            work, hand.work = hand.work, None
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayError as error:
                answer = error
            if work is None:
                self._loaded(hand, answer)
            elif isinstance(answer, Outcome):
                self._idle.append(hand)
                yield work, answer
            else:
                self.trouble = _line(answer)
                self._say(f"{work.scan.name}: its worker on {hand.place.node.name} was lost")
                ray.kill(hand.actor)
                self._remove_begun(work)
                self._employ(hand.place)
                yield work, None
        if self._patient_until and time.monotonic() > self._patient_until:
            self._patient_until = None
            self._say("no worker has started yet; other work may hold the cluster's processors")

    def dismiss(self) -> None:
        """End all workers at once; what they have begun is removed."""
        for hand in (*self._busy.values(), *self._idle):
            ray.kill(hand.actor)
        if self.at_work:
            ray.wait(list(self._busy), num_returns=len(self._busy), timeout=_END_SECONDS)
        for hand in self._busy.values():
            self._remove_begun(hand.work)

    def _remove_begun(self, work: Work | None) -> None:
        """What a worker that is gone has under temporary names of a scan, which this run claims."""
        for path in self._written(work) if work else ():
            with suppress(OSError):
                remove_leftovers(path)

    def _employ(self, place: Place) -> None:
        kind = ray.remote(Worker).options(
            num_cpus=place.cpus,
            num_gpus=place.gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node.id, soft=False),
        )
        actor: Any = kind.remote()
        loading = actor.load.remote(**self._loading, threads=max(1, place.cpus))
        self._busy[loading] = _Hand(place, actor)

    def _loaded(self, hand: _Hand, answer: str | Exception) -> None:
        self._patient_until = None
        if not answer:
            self._idle.append(hand)
            return
        reason = answer if isinstance(answer, str) else _line(answer)
        self.trouble = f"{hand.place.node.name}: {reason}"
        self._say(f"a worker cannot start on {self.trouble}")
        ray.kill(hand.actor)


def _line(error: Exception) -> str:
    """Ray tells much; the last line says what happened, and its first sentence is enough."""
    return str(error).strip().splitlines()[-1].split(". ")[0]
