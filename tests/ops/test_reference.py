"""The specification of the gates against closed forms, the paper's equations and autograd."""

import pytest
import torch
from gate_inputs import NAMES, gate_inputs, gradients_for, grid_equations, skip_equations

from attnseg.ops import reference

CASES = [
    ((1, 1), (1, 1)),
    ((7, 5), (2, 2)),
    ((9, 6), (1, 2)),
    ((7, 1, 4), (1, 1, 1)),
    ((31, 5, 3), (2, 2, 2)),
    ((6, 5, 7), (1, 2, 2)),
    ((7, 8, 9), (3, 4, 2)),
]


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("size", "stride"), CASES)
def test_skip_equals_the_equations(size, stride, mode):
    ours = gate_inputs(size, stride)
    theirs = [tensor.clone().requires_grad_() for tensor in ours]
    expected = skip_equations(*theirs, stride, mode)
    found = reference.skip_forward(*ours, list(stride), mode)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted)
    outside = gradients_for(ours[0])
    grads = reference.skip_backward(*outside, *ours, list(stride), mode)
    _same(grads, torch.autograd.grad(expected, theirs, outside))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("size", "stride"), CASES)
def test_grid_equals_the_equations(size, stride, mode):
    ours = gate_inputs(size, stride, grid=True, inner=35)
    theirs = [tensor.clone().requires_grad_() for tensor in ours]
    expected = grid_equations(*theirs, mode)
    y, alpha, coarse, active = reference.grid_forward(*ours, mode)
    torch.testing.assert_close(y, expected[0])
    torch.testing.assert_close(alpha, expected[1])
    outside = gradients_for(ours[0])
    grads = reference.grid_backward(*outside, *ours[:2], coarse, active, *ours[2:], mode)
    _same(grads, torch.autograd.grad(expected, theirs, outside))


def _same(found, expected):
    for name, ours, theirs in zip(NAMES, found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 70])
def test_packed_bits_come_back(channels):
    active = torch.rand(2, channels, 3, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    words = reference.pack(active)
    assert (words.dtype, words.shape) == (torch.int32, (2, -(-channels // 32), 3, 4))
    assert torch.equal(reference.unpack(words, channels), active)


def test_zero_psi_halves_x():
    x, phi, theta, psi, bias = gate_inputs((4, 3), (2, 2))
    y, alpha = reference.skip_forward(
        x, phi, theta, torch.zeros_like(psi), torch.zeros_like(bias), [2, 2]
    )
    torch.testing.assert_close(alpha, torch.full_like(alpha, 0.5))
    torch.testing.assert_close(y, x / 2)


def test_a_large_bias_lets_x_pass():
    x, phi, theta, psi, _ = gate_inputs((4, 3), (1, 1))
    y, _ = reference.skip_forward(
        x, phi, theta, psi, torch.tensor([1e4], dtype=torch.float64), [1, 1]
    )
    torch.testing.assert_close(y, x)


def test_a_negative_sum_is_cut_by_the_relu():
    x, phi, theta, psi, bias = gate_inputs((4, 3), (1, 1))
    very_negative = torch.full_like(phi, -1e6)
    _, alpha = reference.skip_forward(x, very_negative, theta, psi, bias, [1, 1])
    torch.testing.assert_close(alpha, torch.sigmoid(bias).expand_as(alpha))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    half = gate_inputs((6, 5, 4), (2, 2, 2), dtype=dtype)
    y, alpha = reference.skip_forward(*half, [2, 2, 2])
    expected_y, expected_alpha = skip_equations(*[t.float() for t in half], (2, 2, 2))
    assert (y.dtype, alpha.dtype) == (dtype, dtype)
    torch.testing.assert_close(y, expected_y.to(dtype))
    torch.testing.assert_close(alpha, expected_alpha.to(dtype))


def test_layout_of_x_is_kept():
    x, *rest = gate_inputs((6, 5, 4), (1, 1, 1))
    layout = torch.channels_last_3d
    y, alpha = reference.skip_forward(x.contiguous(memory_format=layout), *rest, [1, 1, 1])
    expected_y, expected_alpha = reference.skip_forward(x, *rest, [1, 1, 1])
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(alpha, expected_alpha)
