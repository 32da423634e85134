"""A cohort over the nodes of a Ray cluster, whose workers are a `Crew`.

The process that the user started finds and plans the scans and keeps the manifest. Workers, each
with the model loaded once, get one scan after the other and write its mask themselves: no volume
travels through Ray, so model, scans and output lie on a file system that all nodes share.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch

from attnseg.errors import RunError
from attnseg.images import location
from attnseg.inference.backends import choose_backend
from attnseg.inference.crew import Crew
from attnseg.inference.known import written_by_job
from attnseg.inference.manifest import Outcome
from attnseg.inference.predictor import Predictor, Settings
from attnseg.inference.sources import Scan
from attnseg.inference.work import Job, Work, change_backend, plan_again
from attnseg.inference.workers import Node, deal, uses_gpus
from attnseg.signals import kept_handlers

# A scan that took down its worker so often is not tried again.
LOSSES = 3
# Of a cluster started here. Names and outcomes are all that Ray stores; left to itself it would
# set aside a third of the memory for them.
LOCAL_CLUSTER: dict[str, Any] = {
    "address": "local",
    "include_dashboard": False,
    "object_store_memory": 100 * 2**20,
}


@contextmanager
def ray_engine(
    models: Sequence[Path],
    settings: Settings,
    *,
    workers: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator["RayEngine"]:
    """Connect to the running Ray cluster, or start one on this machine, and leave it in the end.

    Args:
        models: model files, under the same paths on all nodes.
        settings: of the workers' `Predictor`.
        workers: how many; None: one a GPU, or one a node where there is none.
        say: told what the user should know.

    Raises:
        UsageError: a device or back end that the cluster does not have.
        RunError: no node of the cluster has a processor to give.
    """
    with connected(say):
        yield RayEngine(models, settings, nodes=_nodes(), workers=workers, say=say)


@contextmanager
def connected(say: Callable[[str], None]) -> Iterator[None]:
    """Stay in the running Ray cluster, or in one started here; nothing to do in a Ray program."""
    if ray.is_initialized():
        yield
        return
    # Ray has no argument for this: what it starts here inherits that nothing is reported home.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    with kept_handlers():  # Ray sets one for SIGTERM
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            say(
                "no Ray cluster runs here; starting one on this machine (`ray start` joins several)"
            )
            ray.init(**LOCAL_CLUSTER, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _nodes() -> list[Node]:
    return [
        Node(
            each["NodeID"],
            each["NodeManagerHostname"],
            int(each["Resources"].get("CPU", 0)),
            int(each["Resources"].get("GPU", 0)),
        )
        for each in ray.nodes()
        if each["Alive"]
    ]


class RayEngine:
    """Predicts what was planned on the workers of a cluster; made by `ray_engine`.

    A worker that is lost is made anew, and its scan goes back into the queue.
    """

    def __init__(
        self,
        models: Sequence[Path],
        settings: Settings,
        *,
        nodes: Sequence[Node],
        workers: int | None,
        say: Callable[[str], None],
    ) -> None:
        device = settings.get("device", "auto")
        self._on_gpu = uses_gpus(nodes, device)
        if self._on_gpu:  # OpenVINO is told at once that it has none
            choose_backend(settings.get("backend", "auto"), torch.device("cuda"), multiply_adds=0)
        self._places = deal(nodes, on_gpu=self._on_gpu, workers=workers)
        if not self._places:
            raise RunError(
                "no node of the Ray cluster has a processor to give; add one (ray start --address)"
            )
        self._models = [path.absolute() for path in models]
        self._settings = settings
        self._say = say

    def __str__(self) -> str:
        nodes = len({place.node.id for place in self._places})
        kind = "GPU" if self._on_gpu else "CPU"
        return f"Ray, {len(self._places)} {kind} worker(s) on {nodes} node(s)"

    @property
    def settings_here(self) -> Settings:
        """Of the `Predictor` that plans, in this process: it leaves the GPUs alone."""
        here = self._settings | {"device": "cpu"}
        if self._on_gpu:  # what fits into memory is seen where it is to fit
            here |= {"backend": "torch", "max_ram": None, "max_vram": None}
        return here

    def __call__(
        self,
        scans: Sequence[Scan],
        work: Iterator[Work],
        predictor: Predictor,
        output: Path,
        base: Outcome,
        job: Job,
    ) -> Generator[Outcome]:
        """What becomes of each scan, as it ends.

        Raises:
            RunError: no worker is left, and scans are.
        """
        todo: deque[Work] = deque()
        coming = True

        def plan_more() -> Iterator[Outcome]:
            """Until every worker has one scan to come; gives those that none can predict."""
            nonlocal coming
            while coming and len(todo) < len(self._places):
                each = next(work, None)
                if each is None:
                    coming = False
                    return
                if each.lacks_room and predictor.runner.may_change:
                    change_backend(predictor)
                    each = plan_again(each, predictor, job)
                if each.plan is None:
                    yield replace(
                        base, name=each.scan.name, reason=each.reason, backend=each.backend
                    )
                else:
                    todo.append(each)

        yield from plan_more()
        if not todo:
            return
        output = output.absolute()
        here = Job()
        away = replace(
            job,
            before_writing=here.before_writing,
            on_window=here.on_window,
            on_wait=here.on_wait,
        )
        losses: Counter[Scan] = Counter()
        loading = self._loading(predictor, output, scans)
        crew = Crew(
            self._places[: len(todo)],
            loading,
            written=lambda work: [
                output / name for name in written_by_job(work.scan, predictor, job)
            ],
            say=self._say,
        )
        ended = 0
        try:
            while todo or crew.at_work:
                job.on_wait()
                if crew.gone:
                    raise RunError(
                        f"no Ray worker is left for {len(scans) - ended} scan(s) ({crew.trouble}); "
                        "mend that and give the same command again: it does what is missing"
                    )
                crew.hand_out(todo, output, base, away)
                for each, outcome in crew.ended():
                    if outcome is None:
                        losses[each.scan] += 1
                        if losses[each.scan] < LOSSES:
                            todo.append(each)
                            continue
                        reason = _taken_down(crew.trouble)
                        outcome = replace(
                            base, name=each.scan.name, reason=reason, backend=each.backend
                        )
                    ended += 1
                    yield outcome
                    for _ in range(outcome.windows):
                        job.on_window(each.scan)
                for outcome in plan_more():
                    ended += 1
                    yield outcome
        finally:
            crew.dismiss()

    def _loading(self, predictor: Predictor, output: Path, scans: Sequence[Scan]) -> dict[str, Any]:
        """Arguments of `Worker.load`; the back end is the one settled for all scans together."""
        device = "cuda" if self._on_gpu else "cpu"
        folders = {location(path).absolute().parent for each in scans for path in each.paths}
        return {
            "models": self._models,
            "settings": self._settings | {"device": device, "backend": predictor.runner.backend},
            "needed": [*self._models, output, *sorted(folders)],
        }


def _taken_down(trouble: str) -> str:
    return (
        f"took down its worker {LOSSES} times, probably for want of memory; bound it with "
        f"--max-ram (the last time: {trouble})"
    )
