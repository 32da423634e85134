"""The losses against MONAI's, against closed forms and against identities."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss

from attnseg.config import TrainingConfig
from attnseg.spec import ModelSpec
from attnseg.training.losses import (
    SegmentationLoss,
    known_regions,
    make_loss,
    mean_openness,
    merge_absent,
)

KINDS = ("dice_ce", "dice_focal", "tversky", "generalized_dice")
SHAPES = {"2d": (7, 9), "3d": (5, 7, 3)}
SOFTMAX = {"include_background": False, "to_onehot_y": True, "softmax": True, "batch": True}


def one_head(kind="dice_ce", *, dims=3, membership=None):
    return SegmentationLoss(kind, strides=[(1,) * dims], membership=membership)


def sample(shape, *, num_samples=2, num_classes=4, dtype=torch.float32, seed=0):
    """Logits and labels of every class."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_samples, num_classes, *shape, generator=generator, dtype=dtype)
    labels = torch.randint(0, num_classes, (num_samples, 1, *shape), generator=generator)
    return logits, labels


def everything(logits):
    return torch.ones(logits.shape[:2], dtype=torch.bool)


def gradient(loss, logits, *arguments):
    logits = logits.clone().requires_grad_()
    loss([logits], *arguments).backward()
    return logits.grad


def class_weights(labels, num_classes, rarity):
    """n^-rarity of the n voxels of each class."""
    counts = torch.bincount(labels[labels >= 0].flatten(), minlength=num_classes)
    return counts.clamp(min=1).float() ** -rarity


def monai_loss(kind, logits, labels, *, rarity):
    """The same loss from MONAI's parts. Its focal loss divides by the classes as well."""
    weight = class_weights(labels, logits.shape[1], rarity)
    cross_entropy = F.cross_entropy(logits, labels[:, 0], weight=weight)
    if kind == "dice_ce":
        return DiceLoss(smooth_dr=1e-5, **SOFTMAX)(logits, labels) + cross_entropy
    if kind == "dice_focal":
        focal = FocalLoss(gamma=2, use_softmax=True, to_onehot_y=True, reduction="none")
        of_voxels = weight[labels]
        mean = (focal(logits, labels).sum(1, keepdim=True) * of_voxels).sum() / of_voxels.sum()
        return DiceLoss(**SOFTMAX)(logits, labels) + mean
    if kind == "tversky":
        return TverskyLoss(alpha=0.3, beta=0.7, **SOFTMAX)(logits, labels) + cross_entropy
    # MONAI adds its smoothing to sums weighed by 1 / size², where it outweighs large structures.
    exact = GeneralizedDiceLoss(smooth_nr=0, smooth_dr=0, **SOFTMAX)
    return exact(logits, labels) + cross_entropy


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rarity", [0.0, 0.3, 0.5])
def test_value_and_gradient_are_monais(kind, shape, rarity):
    logits, labels = sample(shape)
    labels[labels == 3] = 1  # a class that is nowhere
    ours = one_head(kind, dims=len(shape))
    found = ours([logits], labels, everything(logits), rarity=rarity)
    torch.testing.assert_close(found, monai_loss(kind, logits, labels, rarity=rarity))
    expected = logits.clone().requires_grad_()
    monai_loss(kind, expected, labels, rarity=rarity).backward()
    weighed = partial(ours, rarity=rarity)
    torch.testing.assert_close(gradient(weighed, logits, labels, everything(logits)), expected.grad)


@pytest.mark.parametrize("kind", ["dice_ce", "dice_focal"])
def test_regions_are_monais_sigmoid_losses(kind):
    logits, labels = sample((5, 7, 3))
    membership = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]]).bool()
    targets = torch.stack([(labels[:, 0] == 1) | (labels[:, 0] == 2), labels[:, 0] >= 2])
    targets = torch.cat([targets, labels.movedim(0, 1) == 1]).movedim(0, 1).float()
    head = logits[:, :3]
    voxelwise = (
        F.binary_cross_entropy_with_logits(head, targets)
        if kind == "dice_ce"
        else FocalLoss(gamma=2)(head, targets)
    )
    expected = DiceLoss(sigmoid=True, batch=True)(head, targets) + voxelwise
    found = one_head(kind, membership=membership)([head], labels, everything(logits))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind, regions, partial):
    logits, labels = sample((3, 2, 3), num_classes=3, dtype=torch.float64)
    labels[0, 0, 0] = -1
    present = torch.ones(2, 3, dtype=torch.bool)
    if partial:
        present[1, 2] = False
        labels[1][labels[1] == 2] = 0
    membership = torch.tensor([[0, 1, 1], [0, 0, 1], [0, 1, 0]]).bool() if regions else None
    loss = one_head(kind, membership=membership)
    assert torch.autograd.gradcheck(lambda z: loss([z], labels, present), logits.requires_grad_())


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_ignored_voxels_are_as_if_they_were_not_there(kind, regions):
    logits, labels = sample((4, 5, 3), num_samples=1)
    ignored = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(1)) < 0.3
    labels[0, 0][ignored] = -1
    membership = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]]).bool() if regions else None
    logits = logits[:, :2] if regions else logits
    present = torch.ones(1, 4, dtype=torch.bool)
    all_voxels = one_head(kind, membership=membership)([logits], labels, present)
    remaining = one_head(kind, dims=1, membership=membership)(
        [logits[:, :, ~ignored]], labels[:, :, ~ignored], present
    )
    torch.testing.assert_close(all_voxels, remaining)
    found = gradient(one_head(kind, membership=membership), logits, labels, present)
    assert found[:, :, ignored].eq(0).all()
    assert found[:, :, ~ignored].ne(0).all()


def test_an_absent_class_is_background():
    logits, labels = sample((5, 7, 3))
    labels[1][labels[1] == 2] = 0
    present = everything(logits)
    present[1, 2] = False
    # By hand: the second sample has probabilities p0 + p2, p1, 0, p3.
    p = logits.softmax(1)
    p[1, 0] += p[1, 2]
    p[1, 2] = 0
    merged = merge_absent(logits.flatten(2), present).softmax(1)
    torch.testing.assert_close(merged, p.flatten(2))
    truth = F.one_hot(labels[:, 0], 4).movedim(-1, 1)
    axes = (0, 2, 3, 4)
    dice = 2 * (p * truth).sum(axes) / (p.sum(axes) + truth.sum(axes))
    cross_entropy = -p.gather(1, labels).log().mean()
    expected = 1 - dice[1:].mean() + cross_entropy
    torch.testing.assert_close(one_head()([logits], labels, present), expected)


def test_pushing_an_absent_class_in_the_background_costs_nothing():
    """Whatever the classes share, the sum p0 + p2 stays: no gradient along that direction."""
    logits, labels = sample((4, 4, 4), num_samples=1)
    labels[labels == 2] = 0
    present = torch.tensor([[True, True, False, True]])
    loss = one_head()
    found = gradient(loss, logits, labels, present)
    p = logits.softmax(1)
    # Moving weight from class 0 to class 2: dz0 = -1/p0, dz2 = 1/p2.
    along = found[:, 2] / p[:, 2] - found[:, 0] / p[:, 0]
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-6, rtol=0)
    pushed = logits.clone()
    pushed[:, 2] += 100
    background = (labels == 0).expand_as(pushed)
    pushed = torch.where(background, pushed, logits)
    assert loss([pushed], labels, present) < loss([logits], labels, present)


def test_a_class_that_no_sample_has_drawn_is_left_out_of_the_mean():
    logits, labels = sample((5, 7, 3), num_classes=3)
    labels[labels == 2] = 0
    present = everything(logits)
    present[:, 2] = False
    merged = torch.stack([logits[:, [0, 2]].logsumexp(1), logits[:, 1]], dim=1)
    for kind in KINDS:
        expected = one_head(kind)([merged], labels, everything(merged))
        torch.testing.assert_close(one_head(kind)([logits], labels, present), expected)


def test_a_region_counts_only_where_the_labels_tell_its_extent():
    membership = torch.tensor([[0, 1, 1], [0, 0, 1], [1, 1, 0]]).bool()
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1]]).bool()
    # Third region, of all but class 2: an absent class 1 belongs to it as the background does.
    expected = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 1, 1]]).bool()
    assert known_regions(membership, present).equal(expected)
    logits, labels = sample((5, 7, 3), num_classes=3, num_samples=3)
    labels[1][labels[1] == 2] = 0
    labels[2][labels[2] == 1] = 0
    found = gradient(one_head(membership=membership), logits, labels, present)
    assert found.flatten(2).ne(0).any(-1).equal(expected)


def spec_of(*, spatial_dims=3, strides=((1, 2, 2), (2, 2, 2), (2, 2, 2)), heads=2, regions=()):
    return ModelSpec.model_validate(
        {
            "architecture": {
                "spatial_dims": spatial_dims,
                "in_channels": 1,
                "out_channels": len(regions) or 3,
                "channels": [4, 8, 16, 16],
                "strides": strides,
                "kernel_sizes": [[3] * spatial_dims] * 4,
                "deep_supervision": heads,
            },
            "preprocessing": {"spacing_mm": [1, 1, 1], "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["MRI"],
            "labels": [{"value": v, "name": str(v)} for v in (0, 4, 2)],
            "regions": regions,
            "patch": [1, 20, 20] if spatial_dims == 2 else [9, 20, 15],
        }
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_heads_weigh_half_as_much_and_see_the_voxels_of_their_grid(dims):
    strides = {2: ((2, 2), (2, 1), (2, 2)), 3: ((1, 2, 2), (2, 2, 2), (2, 2, 2))}[dims]
    loss = make_loss(spec_of(spatial_dims=dims, strides=strides), TrainingConfig())
    _, labels = sample((9, 13, 7)[:dims], num_classes=3)
    sampled = {
        2: [labels, labels[..., ::2, ::2], labels[..., ::4, ::2]],
        3: [labels, labels[..., ::2, ::2], labels[..., ::2, ::4, ::4]],
    }[dims]
    heads = [sample(each.shape[2:], num_classes=3, seed=i)[0] for i, each in enumerate(sampled)]
    each = [
        one_head(dims=dims)([head], target, everything(head))
        for head, target in zip(heads, sampled, strict=True)
    ]
    expected = (4 * each[0] + 2 * each[1] + each[2]) / 7
    torch.testing.assert_close(loss(heads, labels, everything(heads[0])), expected)


def test_grids_that_divide_are_sampled_as_the_nearest_voxel():
    labels = torch.randint(0, 9, (1, 1, 8, 12, 4))
    nearest = F.interpolate(labels.double(), size=(4, 3, 1), mode="nearest").long()
    assert nearest.equal(labels[..., ::2, ::4, ::4])


def test_regions_of_a_spec_are_looked_up_by_label_value():
    regions = (
        {"name": "whole", "members": [2, 4], "value": 1},
        {"name": "core", "members": [2], "value": 2},
    )
    loss = make_loss(spec_of(regions=regions), TrainingConfig())
    assert loss.membership.tolist() == [[False, True, True], [False, False, True]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [0, -1])
def test_batches_of_background_and_of_nothing_are_finite(kind, labels):
    logits, _ = sample((5, 4, 3))
    target = torch.full((2, 1, 5, 4, 3), labels)
    assert one_head(kind)([logits], target, everything(logits)).isfinite()
    assert gradient(one_head(kind), logits, target, everything(logits)).isfinite().all()


def test_half_precision_logits_are_computed_in_single():
    logits, labels = sample((9, 9, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = one_head()([logits.bfloat16()], labels, everything(logits))
    expected = one_head()([logits.bfloat16().float()], labels, everything(logits))
    assert found.dtype == torch.float32
    assert found == expected


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much():
    labels = torch.zeros(1, 1, 4, 4, 4, dtype=torch.int64)
    labels[..., :2] = 1
    right = torch.stack([1 - labels[:, 0], labels[:, 0]], dim=1) * 40.0 - 20
    for kind in KINDS:
        assert one_head(kind)([right], labels, everything(right)) == pytest.approx(0, abs=1e-4)
        assert one_head(kind)([-right], labels, everything(right)) > 20


def test_every_gate_counts_the_same_whatever_its_size():
    fine, coarse = torch.full((1, 1, 8, 8, 8), 0.2), torch.full((1, 1, 2, 2, 2), 0.8)
    assert mean_openness([fine, coarse]).item() == pytest.approx(0.5)
    assert mean_openness([fine]).item() == pytest.approx(0.2)
