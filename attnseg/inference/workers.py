"""Workers of a cohort on several machines: which goes where, and what each does."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import ceil
from pathlib import Path

import torch

from attnseg.errors import UsageError
from attnseg.inference.local_engine import predict_here
from attnseg.inference.manifest import Outcome, versions
from attnseg.inference.predictor import Predictor, Settings
from attnseg.inference.sources import Scan
from attnseg.inference.work import Job, plan_cohort
from attnseg.memory import keep_freed_memory


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as Ray counts it."""

    id: str
    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Place:
    """What one worker gets: a node, some of its processors, a GPU or a share of one."""

    node: Node
    cpus: int
    gpus: float


def deal(nodes: Sequence[Node], *, on_gpu: bool, workers: int | None = None) -> list[Place]:
    """Where workers go: one to every GPU, or one to every node where they are to use none.

    Args:
        nodes: of the cluster.
        on_gpu: whether workers use GPUs; nodes without one are then left out.
        workers: another number, dealt in turn; those of a node share it evenly.
    """
    if on_gpu:
        # The first GPU of every node before the second of any.
        seats = [(number, node) for node in nodes for number in range(node.gpus)]
        units = [node for _, node in sorted(seats, key=lambda seat: seat[0])]
    else:
        units = [node for node in nodes if node.cpus]
    chosen = list(islice(cycle(units), workers or len(units)))
    count = Counter(node.id for node in chosen)
    return [
        Place(
            node,
            cpus=node.cpus // count[node.id],
            # Ray splits no share over two GPUs, so it is one that divides a GPU evenly.
            gpus=1 / ceil(count[node.id] / node.gpus) if on_gpu else 0,
        )
        for node in chosen
    ]


def uses_gpus(nodes: Sequence[Node], device: str) -> bool:
    """Whether workers are to use GPUs: where the cluster has any, unless told otherwise.

    Raises:
        UsageError: "cuda" in a cluster without a GPU; a certain GPU, for Ray gives them out.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {device}: Ray gives every worker a GPU of its own; use auto, cpu or cuda"
        )
    found = any(node.gpus for node in nodes)
    if device == "cuda" and not found:
        raise UsageError("--device cuda: no node of the Ray cluster has a GPU; use --device cpu")
    return found and device != "cpu"


class Worker:
    """Lives on a node. Predicts by the functions of the local engine."""

    def load(
        self,
        models: Sequence[Path],
        settings: Settings,
        *,
        threads: int,
        needed: Sequence[Path],
    ) -> str:
        """Load the model.

        Args:
            models: their files.
            settings: of the `Predictor`.
            threads: of the processor.
            needed: paths that must be there.

        Returns:
            What keeps this node from working, in one line; "" if nothing does.
        """
        missing = [path for path in needed if not path.exists()]
        if missing:
            return (
                f"{missing[0]} is not there; model, scans and output must lie under the same paths "
                "on all nodes"
            )
        keep_freed_memory()
        torch.set_num_threads(threads)
        self._predictor = Predictor.load(models, **settings)
        self._predictor.runner.start(1)
        return ""

    def predict(self, scan: Scan, output: Path, base: Outcome, job: Job) -> Outcome:
        """Predict one scan and write its mask."""
        runner = self._predictor.runner
        if base.backend != runner.backend:  # the one of the scans before leaves this one no room
            runner.start(1, backend=base.backend)
        work = plan_cohort([scan], self._predictor, job)
        base = replace(base, versions=versions())
        (outcome,) = predict_here([scan], work, self._predictor, output, base, job)
        return outcome
