"""Whether a network uses what its gates show: α is replaced, and the Dice tells.

A map that looks right may do nothing. So one gate at a time is forced open, closed, to its mean, or
shuffled in space, and shares of its voxels are closed: those with the highest α (deletion), all but
those (insertion), and as many at random (Petsiuk et al., RISE, BMVC 2018, with α in place of the
input's pixels). Where the highest matter no more than random ones, the map explains nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attnseg.evaluation.attention import nan_mean
from attnseg.evaluation.metrics import label_values, overlap_counts
from attnseg.images import Image, Outline
from attnseg.inference import Predictor
from attnseg.models import replaced_attention
from attnseg.preprocessing import preprocess

# Each has its rest among them.
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
_BINS = 1 << 16
_TIES = 1e-3  # α that differ by less are ranked at random: a constant gate has no highest voxels

DEFINITIONS = {
    "dice": "mean Dice over the labels, with the gate: as it is; open (α = 1); at its mean over "
    "the scan; shuffled (its values at random places of each window); closed (α = 0)",
    "deletion": "Dice when the share of voxels with the highest α is closed, and the same share of "
    "voxels drawn at random",
    "insertion": "Dice when all voxels but the share with the highest α are closed, and all but as "
    "many drawn at random",
    "against": "what the Dice is taken with: the reference, or the model's own prediction",
}


@dataclass(frozen=True)
class Curve:
    """Dice by the share of voxels, 0 to 1, that is closed (deletion) or kept (insertion).

    Args:
        shares: rising, from 0 to 1.
        dice: with the highest α.
        random: with voxels drawn at random.
    """

    shares: tuple[float, ...]
    dice: tuple[float, ...]
    random: tuple[float, ...]

    @property
    def advantage(self) -> float:
        """Mean of `random` − `dice` over the shares: how much more the highest α matter."""
        return nan_mean([r - d for r, d in zip(self.random, self.dice, strict=True)])


@dataclass(frozen=True)
class Faithfulness:
    """What becomes of the Dice when one gate is replaced.

    Args:
        dice: "as it is", "open", "mean", "shuffled", "closed".
        deletion: curve.
        insertion: curve.
    """

    dice: dict[str, float]
    deletion: Curve
    insertion: Curve


def faithfulness(
    predictor: Predictor,
    image: Image,
    *,
    reference: np.ndarray | None = None,
    seed: int = 0,
    on_pass: Callable[[], None] = lambda: None,
) -> dict[str, Faithfulness]:
    """Predict a scan again and again with its gates replaced: 19 passes a gate and one more.

    Args:
        predictor: the model; several networks are changed alike. Runs as PyTorch.
        image: the scan.
        reference: `[I, J, K]` label values to compare with, as predictions write them; None: the
            model's own prediction.
        seed: of what is random.
        on_pass: called after every pass.

    Returns:
        Gate → what depends on it, the finest first.
    """
    passes = _Passes(predictor, image, seed, on_pass)
    gates = predictor.gates.gates
    own, ranks, means = passes.recorded(gates)
    truth = own if reference is None else reference
    values = label_values(truth)

    def dice(labels: np.ndarray) -> float:
        counts = overlap_counts(labels, truth, values)
        return nan_mean([each.dice for each in counts.values()])

    as_it_is = dice(own)
    found = {}
    for gate in gates:

        def run(change: "Change", gate: str = gate) -> float:
            return dice(passes.with_gate(gate, change))

        switched = {
            "as it is": as_it_is,
            "open": run(_constant(1.0)),
            "mean": run(_constant(means[gate])),
            "shuffled": run(_shuffled),
            "closed": run(_constant(0.0)),
        }
        highest = {share: _threshold(ranks[gate], share) for share in SHARES}
        without = [run(_masked_by_rank(highest[share], keep=False)) for share in SHARES]
        only = [run(_masked_by_rank(highest[share], keep=True)) for share in SHARES]
        at_random = [run(_masked_at_random(share)) for share in SHARES]
        ends = as_it_is, switched["closed"]
        shares = (0.0, *SHARES, 1.0)
        kept = at_random[::-1]  # keeping a random share is closing a random rest
        found[gate] = Faithfulness(
            switched,
            Curve(shares, (ends[0], *without, ends[1]), (ends[0], *at_random, ends[1])),
            Curve(shares, (ends[1], *only, ends[0]), (ends[1], *kept, ends[0])),
        )
    return found


def num_passes(gates: int) -> int:
    """Predictions that `faithfulness` makes: four replacements a gate, three curves, and one."""
    return 1 + gates * (4 + 3 * len(SHARES))


def mean_faithfulness(each: Sequence[Faithfulness]) -> Faithfulness:
    """The mean over scans, point by point."""

    def curve(curves: Sequence[Curve]) -> Curve:
        return Curve(
            curves[0].shares,
            tuple(map(nan_mean, zip(*[c.dice for c in curves], strict=True))),
            tuple(map(nan_mean, zip(*[c.random for c in curves], strict=True))),
        )

    return Faithfulness(
        {key: nan_mean([one.dice[key] for one in each]) for key in each[0].dice},
        curve([one.deletion for one in each]),
        curve([one.insertion for one in each]),
    )


Change = Callable[[Tensor, torch.Generator], Tensor]
"""α of one window and this window's random numbers → another α."""


class _Passes:
    """One scan, predicted with its gates changed; windows come in the same order every time."""

    def __init__(
        self, predictor: Predictor, image: Image, seed: int, on_pass: Callable[[], None]
    ) -> None:
        self._seed, self._on_pass = seed, on_pass
        self._predictor = Predictor(
            predictor.networks,
            predictor.spec,
            device=str(predictor.device),
            overlap=predictor.overlap,
            backend="torch",  # what was compiled keeps its gates
            max_ram=predictor.max_ram,
        )
        self._volume, self._grid = preprocess(image, predictor.spec.preprocessing)
        self._geometry = image.geometry
        outline = Outline(image.geometry, image.array.shape[0], stored_bytes=0)
        self._predictor.runner.start(1)
        self._plan = self._predictor.plan(
            outline, source=str(image.path or "image"), held_bytes=image.array.nbytes
        )

    def recorded(
        self, gates: Sequence[str]
    ) -> tuple[np.ndarray, dict[str, Tensor], dict[str, float]]:
        """Labels as they are; per gate the histogram of ranks and the mean of α."""
        ranks = {gate: torch.zeros(_BINS) for gate in gates}
        sums = {gate: [0.0, 0] for gate in gates}

        def record(gate: str) -> Change:
            def look(alpha: Tensor, draws: torch.Generator) -> Tensor:
                ranks[gate] += torch.histc(_rank(alpha, draws).cpu(), _BINS, 0.0, 1.0 + _TIES)
                sums[gate][0] += float(alpha.sum())
                sums[gate][1] += alpha.numel()
                return alpha

            return look

        labels = self._run({gate: record(gate) for gate in gates})
        return labels, ranks, {gate: total / max(1, n) for gate, (total, n) in sums.items()}

    def with_gate(self, gate: str, change: Change) -> np.ndarray:
        """Labels with one gate changed."""
        return self._run({gate: change})

    def _run(self, changes: dict[str, Change]) -> np.ndarray:
        with ExitStack() as stack:
            for gate, change in changes.items():
                stack.enter_context(self._changed(gate, change))
            labels = self._predictor.segment(
                self._volume, self._grid, self._plan, geometry=self._geometry
            )
        self._on_pass()
        return labels

    @contextmanager
    def _changed(self, gate: str, change: Change) -> Iterator[None]:
        with ExitStack() as stack:
            for network in self._predictor.networks:
                # The same draws in every pass, a stream for each network and gate.
                draws = torch.Generator().manual_seed(self._seed)

                def apply(alpha: Tensor, draws: torch.Generator = draws) -> Tensor:
                    return change(alpha, draws)

                stack.enter_context(replaced_attention(network, gate, apply))
            yield


def _rank(alpha: Tensor, draws: torch.Generator) -> Tensor:
    """α, and a little at random where it is equal."""
    ties = torch.rand(alpha.shape, generator=draws).to(alpha.device)
    return alpha.float() + _TIES * ties


def _threshold(ranks: Tensor, share: float) -> float:
    """The rank above which that share of the voxels lies."""
    above = ranks.flip(0).cumsum(0) / ranks.sum().clamp(min=1)
    bins = int(torch.searchsorted(above, torch.tensor(share)))
    return (1.0 + _TIES) * (1 - (bins + 1) / _BINS)


def _masked_by_rank(threshold: float, *, keep: bool) -> Change:
    def change(alpha: Tensor, draws: torch.Generator) -> Tensor:
        highest = _rank(alpha, draws) >= threshold
        return alpha * (highest if keep else ~highest)

    return change


def _constant(value: float) -> Change:
    return lambda alpha, draws: torch.full_like(alpha, value)


def _masked_at_random(share: float) -> Change:
    def change(alpha: Tensor, draws: torch.Generator) -> Tensor:
        chosen = torch.rand(alpha.shape, generator=draws).to(alpha.device) < share
        return alpha * ~chosen

    return change


def _shuffled(alpha: Tensor, draws: torch.Generator) -> Tensor:
    order = torch.randperm(alpha[0].numel(), generator=draws).to(alpha.device)
    return alpha.flatten(1)[:, order].reshape(alpha.shape)
