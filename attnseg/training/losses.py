"""Dice + cross-entropy, with deep supervision."""

from collections.abc import Collection, Sequence

import torch.nn.functional as F
from monai.losses import DiceCELoss
from torch import Tensor, nn


class DeepSupervisionLoss(nn.Module):
    """Soft Dice plus cross-entropy, summed over the network's heads.

    Head i (0 the finest) weighs 2^-i, the weights adding to 1, as in nnU-Net. Coarser heads are
    compared with the labels of the voxels at their grid's positions.
    """

    def __init__(self) -> None:
        super().__init__()
        # Dice over the whole batch: a class absent from one patch then does not count as a failure.
        self.loss = DiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_dr=1e-5
        )

    def forward(self, logits: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Logits of each head `[N, K, *S_i]`, labels `[N, 1, *S]` → a scalar."""
        total = sum(2.0**-i for i in range(len(logits)))
        result = logits[0].new_zeros(())
        for i, head in enumerate(logits):
            target = (
                labels if i == 0 else F.interpolate(labels, size=head.shape[2:], mode="nearest")
            )
            result = result + 2.0**-i / total * self.loss(head.float(), target)
        return result


def mean_openness(attention: Collection[Tensor]) -> Tensor:
    """Mean α over the gates, each `[N, 1, *S_level]`, every gate counting the same → a scalar.

    Times `training.gate_price` it is added to the loss. Without a price gates have no reason to
    hold anything back: measured on hippocampus, phantoms, α ended at 1.000 everywhere.
    """
    means = [alpha.float().mean() for alpha in attention]
    return sum(means[1:], start=means[0]) / len(means)
