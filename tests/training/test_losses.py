"""The loss against closed forms."""

import pytest
import torch
import torch.nn.functional as F

from attnseg.training.losses import DeepSupervisionLoss, mean_openness


def dice_and_cross_entropy(logits, labels):
    """Written out: mean over classes of 1 - soft Dice over the batch, plus cross-entropy."""
    probabilities = logits.softmax(1)[:, 1:]
    truth = F.one_hot(labels[:, 0].long(), logits.shape[1]).movedim(-1, 1)[:, 1:]
    axes = (0, 2, 3, 4)
    overlap = 2 * (probabilities * truth).sum(axes) + 1e-5
    dice = overlap / (probabilities.sum(axes) + truth.sum(axes) + 1e-5)
    return (1 - dice).mean() + F.cross_entropy(logits, labels[:, 0].long())


def test_one_head_equals_the_formula():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 1, 4, 5, 6)).float()
    expected = dice_and_cross_entropy(logits, labels)
    torch.testing.assert_close(DeepSupervisionLoss()([logits], labels), expected, atol=1e-4, rtol=0)


def test_heads_weigh_half_as_much_from_level_to_level():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 1, 4, 4, 4)).float()
    heads = [torch.randn(2, 3, *(size,) * 3) for size in (4, 2, 1)]
    single = DeepSupervisionLoss()
    each = [
        single([head], labels[..., ::s, ::s, ::s]) for head, s in zip(heads, (1, 2, 4), strict=True)
    ]
    expected = (4 * each[0] + 2 * each[1] + each[2]) / 7
    torch.testing.assert_close(DeepSupervisionLoss()(heads, labels), expected)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much():
    labels = torch.zeros(1, 1, 4, 4, 4)
    labels[..., :2] = 1
    right = torch.stack([1 - labels[:, 0], labels[:, 0]], dim=1) * 40 - 20
    assert DeepSupervisionLoss()([right], labels).item() == pytest.approx(0, abs=1e-4)
    assert DeepSupervisionLoss()([-right], labels).item() > 20


def test_every_gate_counts_the_same_whatever_its_size():
    fine, coarse = torch.full((1, 1, 8, 8, 8), 0.2), torch.full((1, 1, 2, 2, 2), 0.8)
    assert mean_openness([fine, coarse]).item() == pytest.approx(0.5)
    assert mean_openness([fine]).item() == pytest.approx(0.2)
