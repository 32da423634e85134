"""Levels by hand, and the memory estimate against what autograd keeps."""

import pytest
import torch

from attnseg.models import AttentionUNet
from attnseg.training.topology import cut_to_budget, levels_of, round_to_strides, step_bytes


def test_levels_stop_where_four_features_remain():
    strides, kernels = levels_of((40, 56, 40), (1.0, 1.0, 1.0), wanted=None)
    assert strides == ((2, 2, 2),) * 3
    assert kernels == ((3, 3, 3),) * 4


def test_two_axes():
    strides, kernels = levels_of((64, 33), (1.0, 1.0), wanted=None)
    assert strides == ((2, 2),) * 3 + ((2, 1),)
    assert len(kernels) == 5


def test_the_budget_takes_from_the_longest_side_in_mm():
    assert cut_to_budget((10, 10, 10), (1.0, 1.0, 5.0), 800) == [10, 10, 8]
    assert cut_to_budget((10, 10, 10), (1.0, 1.0, 1.0), 1000) == [10, 10, 10]


def test_rounding_to_strides_stays_within_the_budget():
    strides, cubic = ((2, 2, 1), (2, 2, 2)), (1.0, 1.0, 1.0)
    assert round_to_strides((33, 20, 7), cubic, strides, budget=10**6) == [36, 20, 8]
    assert round_to_strides((33, 20, 7), cubic, strides, budget=36 * 20 * 8 - 1) == [32, 20, 8]
    thick = (1.0, 1.0, 9.0)
    assert round_to_strides((33, 20, 7), thick, strides, budget=36 * 20 * 8 - 1) == [36, 20, 6]
    assert round_to_strides((3, 3, 1), cubic, strides, budget=1) == [4, 4, 2], "one of each stride"


@pytest.mark.parametrize("gate", ["grid", "none"])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_estimate_is_what_a_step_keeps_within_a_quarter(dims, gate):
    net = AttentionUNet(
        dims, 1, 3, channels=(8, 16, 32), strides=(2, 2), gate=gate, deep_supervision=1
    )
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    size = (40, 32, 24)[:dims] if dims == 3 else (128, 96)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits, _ = net.forward_all(torch.randn(1, 1, *size))
        loss = sum(head.square().mean() for head in logits)
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    measured = sum(size for place, size in kept.items() if place not in weights)
    assert loss.requires_grad
    assert step_bytes(net.architecture, size) == pytest.approx(measured, rel=0.25)
