"""Whether a network uses what its gates show: α is replaced, and the Dice tells.

A map that looks right may do nothing. So one gate at a time is forced open, closed, to its mean, or
shuffled in space, and shares of its voxels are closed: those with the highest α (deletion), all but
those (insertion), and as many at random (Petsiuk et al., RISE, BMVC 2018, with α in place of the
input's pixels). Where the highest matter no more than random ones, the map explains nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attnseg.evaluation.metrics import label_values, mean, overlap_counts
from attnseg.images import Image
from attnseg.inference import Predictor
from attnseg.inference.versions import Versions
from attnseg.models import AttentionUNet, Change

# Each has its rest among them.
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Of windows: half of it takes up to three times the windows, and versions are compared among
# themselves.
OVERLAP = 0.25
_BINS = 1 << 16
_TIES = 1e-3  # α that differ by less are ranked at random: a constant gate has no highest voxels

DEFINITIONS = {
    "dice": "mean Dice over the labels, with the gate: as it is; open (α = 1); at its mean over "
    "the scan; shuffled (its values at random places of each window); closed (α = 0). Windows "
    "overlap by a quarter at most, so that it may differ a little from a prediction's",
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
        return mean([r - d for r, d in zip(self.random, self.dice, strict=True)])


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
    on_pass: Callable[[float], None] = lambda passes: None,
) -> dict[str, Faithfulness]:
    """Predict a scan again and again with its gates replaced: 19 versions a gate and one more.

    Windows overlap by a quarter at most, as it is and replaced alike: what is compared are these.

    Args:
        predictor: the model; several networks are changed alike. Runs as PyTorch.
        image: the scan.
        reference: `[I, J, K]` label values to compare with, as predictions write them; None: the
            model's own prediction.
        seed: of what is random.
        on_pass: called with the passes done since it was called last; `num_passes` in all.

    Returns:
        Gate → what depends on it, the finest first.
    """
    versions = Versions(predictor, image, overlap=min(OVERLAP, predictor.overlap))
    gates = predictor.gates.gates
    own, ranks, means = _recorded(versions, gates, seed)
    truth = own if reference is None else reference
    values = label_values(truth)

    def dice(labels: np.ndarray) -> float:
        counts = overlap_counts(labels, truth, values)
        return mean([each.dice for each in counts.values()])

    as_it_is = dice(own)
    on_pass(1)
    found = {}
    for gate in gates:
        highest = [_threshold(ranks[gate], share) for share in SHARES]
        switches = {
            "open": _constant(1.0),
            "mean": _constant(means[gate]),
            "shuffled": _shuffled,
            "closed": _constant(0.0),
        }
        changes = [
            *switches.values(),
            *[_masked_by_rank(threshold, keep=False) for threshold in highest],
            *[_masked_by_rank(threshold, keep=True) for threshold in highest],
            *[_masked_at_random(share) for share in SHARES],
        ]
        labels = versions.changed(gate, [_drawn(each, seed) for each in changes], on_window=on_pass)
        scores = iter([dice(each) for each in labels])
        switched = {"as it is": as_it_is} | {name: next(scores) for name in switches}
        without, only, at_random = ([next(scores) for _ in SHARES] for _ in range(3))
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
            tuple(map(mean, zip(*[c.dice for c in curves], strict=True))),
            tuple(map(mean, zip(*[c.random for c in curves], strict=True))),
        )

    return Faithfulness(
        {key: mean([one.dice[key] for one in each]) for key in each[0].dice},
        curve([one.deletion for one in each]),
        curve([one.insertion for one in each]),
    )


Drawn = Callable[[Tensor, torch.Generator], Tensor]
"""α of one window and this window's random numbers → another α."""


def _drawn(change: Drawn, seed: int) -> Callable[[], Change]:
    """Makes the change with a stream of random numbers of its own, the same whenever it is made."""

    def make() -> Change:
        draws = torch.Generator().manual_seed(seed)
        return lambda alpha: change(alpha, draws)

    return make


def _recorded(
    versions: Versions, gates: Sequence[str], seed: int
) -> tuple[np.ndarray, dict[str, Tensor], dict[str, float]]:
    """Labels as they are; per gate the histogram of ranks and the mean of α."""
    ranks = {gate: torch.zeros(_BINS) for gate in gates}
    sums = {gate: [0.0, 0] for gate in gates}
    draws: dict[tuple[AttentionUNet, str], torch.Generator] = {}

    def look(network: AttentionUNet, maps: dict[str, Tensor]) -> None:
        for gate in set(gates) & set(maps):
            alpha = maps[gate]
            own = draws.setdefault((network, gate), torch.Generator().manual_seed(seed))
            ranks[gate] += torch.histc(_rank(alpha, own).cpu(), _BINS, 0.0, 1.0 + _TIES)
            sums[gate][0] += float(alpha.sum())
            sums[gate][1] += alpha.numel()

    labels = versions.as_it_is(look)
    return labels, ranks, {gate: total / max(1, n) for gate, (total, n) in sums.items()}


def _rank(alpha: Tensor, draws: torch.Generator) -> Tensor:
    """α, and a little at random where it is equal."""
    ties = torch.rand(alpha.shape, generator=draws).to(alpha.device)
    return alpha.float() + _TIES * ties


def _threshold(ranks: Tensor, share: float) -> float:
    """The rank above which that share of the voxels lies."""
    above = ranks.flip(0).cumsum(0) / ranks.sum().clamp(min=1)
    bins = int(torch.searchsorted(above, torch.tensor(share)))
    return (1.0 + _TIES) * (1 - (bins + 1) / _BINS)


def _masked_by_rank(threshold: float, *, keep: bool) -> Drawn:
    def change(alpha: Tensor, draws: torch.Generator) -> Tensor:
        highest = _rank(alpha, draws) >= threshold
        return alpha * (highest if keep else ~highest)

    return change


def _constant(value: float) -> Drawn:
    return lambda alpha, draws: torch.full_like(alpha, value)


def _masked_at_random(share: float) -> Drawn:
    def change(alpha: Tensor, draws: torch.Generator) -> Tensor:
        chosen = torch.rand(alpha.shape, generator=draws).to(alpha.device) < share
        return alpha * ~chosen

    return change


def _shuffled(alpha: Tensor, draws: torch.Generator) -> Tensor:
    order = torch.randperm(alpha[0].numel(), generator=draws).to(alpha.device)
    return alpha.flatten(1)[:, order].reshape(alpha.shape)
