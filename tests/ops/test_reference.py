"""The specification of the gate against closed forms, the paper's equations and autograd."""

import pytest
import torch
import torch.nn.functional as F

from attnseg.ops import reference


def inputs(size, stride, *, channels=5, inner=3, batch=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = [-(-n // step) for n, step in zip(size, stride, strict=True)]

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return (
        random(batch, channels, *size),
        random(batch, inner, *coarse),
        random(inner, channels),
        random(inner),
        random(1),
    )


def equations(x, phi, theta_weight, psi_weight, psi_bias, stride):
    """Equations 1 and 2 of the paper, term by term, with autograd's own operators."""
    ones = [1] * len(stride)
    conv = F.conv2d if len(stride) == 2 else F.conv3d
    mode = "bilinear" if len(stride) == 2 else "trilinear"
    scale = [float(step) for step in stride]
    up = F.interpolate(phi, scale_factor=scale, mode=mode, align_corners=False)
    up = up[(..., *(slice(0, n) for n in x.shape[2:]))]
    inner = F.relu(conv(x, theta_weight.reshape(*theta_weight.shape, *ones)) + up)
    alpha = torch.sigmoid(conv(inner, psi_weight.reshape(1, -1, *ones), psi_bias))
    return x * alpha, alpha


CASES = [
    ((1, 1), (1, 1)),
    ((7, 5), (2, 2)),
    ((9, 6), (1, 2)),
    ((7, 1, 4), (1, 1, 1)),
    ((31, 5, 3), (2, 2, 2)),
    ((6, 5, 7), (1, 2, 2)),
    ((7, 8, 9), (3, 4, 2)),
]


@pytest.mark.parametrize(("size", "stride"), CASES)
def test_forward_and_gradients_equal_the_equations(size, stride):
    ours = [tensor.requires_grad_() for tensor in inputs(size, stride)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    y, alpha = reference.attention_gate_forward(*[t.detach() for t in ours], list(stride))
    expected_y, expected_alpha = equations(*theirs, stride)
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(alpha, expected_alpha)

    grad_y, grad_alpha = torch.randn_like(y), torch.randn_like(alpha)
    expected = torch.autograd.grad((expected_y, expected_alpha), theirs, (grad_y, grad_alpha))
    found = reference.attention_gate_backward(
        grad_y, grad_alpha, *[t.detach() for t in ours], list(stride)
    )
    for name, ours_grad, their_grad in zip(["x", "φ", "θ", "ψ", "b"], found, expected, strict=True):
        torch.testing.assert_close(ours_grad, their_grad, msg=lambda text, n=name: f"{n}: {text}")


def test_zero_psi_halves_x():
    x, phi, theta, psi, bias = inputs((4, 3), (2, 2))
    y, alpha = reference.attention_gate_forward(
        x, phi, theta, torch.zeros_like(psi), torch.zeros_like(bias), [2, 2]
    )
    torch.testing.assert_close(alpha, torch.full_like(alpha, 0.5))
    torch.testing.assert_close(y, x / 2)


def test_a_large_bias_lets_x_pass():
    x, phi, theta, psi, _ = inputs((4, 3), (1, 1))
    y, _ = reference.attention_gate_forward(
        x, phi, theta, psi, torch.tensor([1e4], dtype=torch.float64), [1, 1]
    )
    torch.testing.assert_close(y, x)


def test_a_negative_sum_is_cut_by_the_relu():
    x, phi, theta, psi, bias = inputs((4, 3), (1, 1))
    very_negative = torch.full_like(phi, -1e6)
    _, alpha = reference.attention_gate_forward(x, very_negative, theta, psi, bias, [1, 1])
    torch.testing.assert_close(alpha, torch.sigmoid(bias).expand_as(alpha))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    half = inputs((6, 5, 4), (2, 2, 2), dtype=dtype)
    y, alpha = reference.attention_gate_forward(*half, [2, 2, 2])
    expected_y, expected_alpha = equations(*[t.float() for t in half], (2, 2, 2))
    assert (y.dtype, alpha.dtype) == (dtype, dtype)
    torch.testing.assert_close(y, expected_y.to(dtype))
    torch.testing.assert_close(alpha, expected_alpha.to(dtype))


def test_layout_of_x_is_kept():
    x, *rest = inputs((6, 5, 4), (1, 1, 1))
    layout = torch.channels_last_3d
    y, alpha = reference.attention_gate_forward(
        x.contiguous(memory_format=layout), *rest, [1, 1, 1]
    )
    expected_y, expected_alpha = reference.attention_gate_forward(x, *rest, [1, 1, 1])
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(alpha, expected_alpha)
