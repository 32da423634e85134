"""What training minimises: overlap + voxelwise loss at every head, from sums over all processes.

Shapes: N samples, K outputs (classes or regions), V voxels of one sample, H heads. Every loss here
is a function of a few sums over voxels: those are added up over the processes and nothing else is,
so that W processes minimise exactly what one process does with the same batch.
"""

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from attnseg.config import TrainingConfig
from attnseg.errors import refuse_unknown
from attnseg.spec import ModelSpec

LOSSES: tuple[str, ...] = get_args(TrainingConfig.model_fields["loss"].annotation)
# Where a structure is neither there nor predicted its overlap counts as perfect.
_SMOOTH = 1e-5
# Tversky: false negatives cost more, since small structures are missed rather than invented.
_FALSE_POSITIVES, _FALSE_NEGATIVES = 0.3, 0.7


class SegmentationLoss(nn.Module):
    """Overlap without the background, plus cross-entropy or focal loss, over the network's heads.

    Head i (0 the finest) weighs 2^-i, the weights adding to 1, as in nnU-Net; it is compared with
    the labels of the voxels on which its grid lies.

    Args:
        kind: "dice_ce", "dice_focal" (γ = 2), "tversky" or "generalized_dice" (both with
            cross-entropy).
        strides: downsampling per axis from the input to each head, finest first.
        membership: `[regions, classes]` bool for a network of sigmoid regions; None for softmax.

    Raises:
        UsageError: another kind.
    """

    def __init__(
        self, kind: str, *, strides: Sequence[Sequence[int]], membership: Tensor | None = None
    ) -> None:
        super().__init__()
        refuse_unknown("loss", kind, LOSSES)
        self.kind = kind
        self.strides = strides
        self.register_buffer("membership", membership, persistent=False)
        self.membership: Tensor | None

    def forward(
        self, logits: Sequence[Tensor], labels: Tensor, present: Tensor, *, rarity: float = 0.0
    ) -> Tensor:
        """The loss of one batch, in float32 or better whatever the logits' type.

        Args:
            logits: of each head, finest first, `[N, K, *S_i]`, two or three spatial axes.
            labels: `[N, 1, *S]` int64 class indices; voxels of -1 count in nothing.
            present: `[N, classes]` bool: drawn in the sample's case (the background always is).
                What is background there may be any class that is not; see `merge_absent` and
                `known_regions`. A class that no sample has drawn is left out of the overlap. Best
                left on the CPU: a look at it then does not wait for the GPU.
            rarity: how much more the voxelwise part counts rare classes: a class of n voxels has
                the weight n^-rarity. 0: every voxel the same; regions are always counted so.

        Returns:
            A scalar; the same on every process.
        """
        partial = not present.all()
        present = present.to(labels.device)
        with torch.autocast(labels.device.type, enabled=False):
            sums = []
            for head, stride in zip(logits, self.strides, strict=True):
                target = labels[:, :, *(slice(None, None, step) for step in stride)]
                precise = head.to(torch.promote_types(head.dtype, torch.float32))
                sums.append(self._sums(precise.flatten(2), target.flatten(2), present, partial))
            of_heads = self._losses(_sum_over_processes(torch.stack(sums)), rarity)
            weights = of_heads.new_tensor([2.0**-i for i in range(len(sums))])
            return (weights * of_heads).sum() / weights.sum()

    def _sums(self, logits: Tensor, labels: Tensor, present: Tensor, partial: bool) -> Tensor:
        """`[N, K, V]`, `[N, 1, V]`, `[N, classes]` → `[4 K + 2 G]`, as `_losses` reads them.

        G groups of voxels have their own weights: the classes, or all in one for regions.
        """
        counted = (labels >= 0).to(logits.dtype)
        index = labels.clamp(min=0)
        if self.membership is None:
            if partial:
                logits = merge_absent(logits, present)
            log_p = logits.log_softmax(1)
            probability = log_p.exp()
            truth = torch.zeros_like(probability).scatter_(1, index, counted)
            voxelwise = -log_p.gather(1, index)
            of_voxels = truth
            probability, truth, seen = probability[:, 1:], truth[:, 1:], present[:, 1:].sum(0)
        else:
            membership = self.membership.to(labels.device)
            known = known_regions(membership, present)
            table = membership.to(logits.dtype).expand(len(logits), -1, -1)
            truth = table.gather(2, index.expand_as(logits))
            probability, seen = logits.sigmoid(), known.sum(0)
            voxelwise = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            counted = counted * known[:, :, None]
            truth = truth * counted
            of_voxels = counted.reshape(len(counted), 1, -1)
            voxelwise = voxelwise.reshape(of_voxels.shape)
        if self.kind == "dice_focal":
            voxelwise = voxelwise * (1 - (-voxelwise).exp()) ** 2
        both = torch.linalg.vecdot(probability, truth).sum(0)
        predicted = torch.linalg.vecdot(probability, counted).sum(0)
        by_group = [torch.linalg.vecdot(of_voxels, voxelwise).sum(0), of_voxels.sum((0, 2))]
        return torch.cat([both, predicted, truth.sum((0, 2)), seen.to(both), *by_group])

    def _losses(self, sums: Tensor, rarity: float) -> Tensor:
        """`[H, 4 K + 2 G]` → loss of each head `[H]`."""
        groups = 1 if self.membership is not None else (sums.shape[1] + 4) // 6
        both, predicted, actual, seen = sums[:, : -2 * groups].unflatten(1, (4, -1)).unbind(1)
        voxelwise, count = sums[:, -2 * groups :].unflatten(1, (2, -1)).unbind(1)
        weight = count.clamp(min=1) ** -rarity
        lack_of_overlap = _lack_of_overlap(self.kind, both, predicted, actual, seen > 0)
        weighed = (weight * count).sum(1).clamp(min=1)
        return lack_of_overlap + (weight * voxelwise).sum(1) / weighed


def make_loss(spec: ModelSpec, settings: TrainingConfig) -> SegmentationLoss:
    """The loss that `settings.loss` names, for the heads and the labels or regions of a model."""
    net = spec.architecture
    finest = (1,) * net.spatial_dims
    strides = accumulate(
        net.strides[: net.deep_supervision],
        lambda total, step: tuple(a * b for a, b in zip(total, step, strict=True)),
        initial=finest,
    )
    membership = None
    if spec.regions:
        membership = torch.tensor(
            [[value in region.members for value in spec.label_values] for region in spec.regions]
        )
    return SegmentationLoss(settings.loss, strides=list(strides), membership=membership)


def merge_absent(logits: Tensor, present: Tensor) -> Tensor:
    """Let the background stand for the classes that were not drawn: the marginal loss.

    Where a class was not drawn its voxels are among the background's. Their probabilities are
    added there and the class itself gets none, so that finding it costs nothing (Fang & Yan 2020,
    Shi et al. 2021).

    Args:
        logits: `[N, K, V]`.
        present: `[N, K]` bool, True for the background.

    Returns:
        `[N, K, V]`, -inf for absent classes.
    """
    absent = ~present[:, :, None]
    united = absent.clone()
    united[:, 0] = True
    background = logits.masked_fill(~united, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(absent[:, 1:], -torch.inf)], dim=1)


def known_regions(membership: Tensor, present: Tensor) -> Tensor:
    """Regions whose extent the labels of a sample tell: `[N, regions]` bool.

    A voxel of background may be of any absent class. That leaves a region known only where every
    absent class belongs to it just as the background does; where it is not, the region counts in
    nothing. (To keep its labelled voxels would show the network a region with hardly an outside.)

    Args:
        membership: `[regions, classes]` bool.
        present: `[N, classes]` bool.
    """
    unlike_background = membership != membership[:, :1]
    return ~(~present[:, None] & unlike_background).any(-1)


def _lack_of_overlap(
    kind: str, both: Tensor, predicted: Tensor, actual: Tensor, seen: Tensor
) -> Tensor:
    """1 - soft overlap, from sums `[H, K]` → `[H]`; over the outputs that were seen."""
    if kind == "generalized_dice":
        # Sudre et al. 2017: weights 1 / size², here relative to the smallest structure's, whose
        # weight those that are not in the batch take as well.
        huge = torch.finfo(actual.dtype).max
        smallest = actual.where(actual > 0, huge).amin(1, keepdim=True)
        weight = (smallest / actual.maximum(smallest)) ** 2
        numerator, denominator = (weight * both).sum(1), (weight * (predicted + actual)).sum(1)
        return 1 - (2 * numerator + _SMOOTH) / (denominator + _SMOOTH)
    if kind == "tversky":
        invented, missed = predicted - both, actual - both
        errors = _FALSE_POSITIVES * invented + _FALSE_NEGATIVES * missed
        scores = (both + _SMOOTH) / (both + errors + _SMOOTH)
    else:
        scores = (2 * both + _SMOOTH) / (predicted + actual + _SMOOTH)
    return ((1 - scores) * seen).sum(1) / seen.sum(1).clamp(min=1)


class _Sum(torch.autograd.Function):
    """Sum over processes, with a gradient that fits DDP.

    Every process computes the same loss L of the sum, so each owes its own voxels dL/dsum. DDP then
    averages over the W processes where the gradient of L is the sum: hence the factor W.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * dist.get_world_size()


def _sum_over_processes(local: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return local
    total: Tensor = _Sum.apply(local)
    return total


def mean_openness(attention: Collection[Tensor]) -> Tensor:
    """Mean α over the gates, each `[N, 1, *S_level]`, every gate counting the same → a scalar.

    Times `training.gate_price` it is added to the loss. Without a price gates have no reason to
    hold anything back: measured on hippocampus, phantoms, α ended at 1.000 everywhere.
    """
    means = [alpha.float().mean() for alpha in attention]
    return sum(means[1:], start=means[0]) / len(means)
