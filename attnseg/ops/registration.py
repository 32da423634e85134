"""`attnseg::attention_gate` and its backward as operators of PyTorch.

Registered operators are opaque to the compiler and to export, run under autocast and DDP, and give
one place where a CUDA kernel can stand beside the reference.
"""

import torch
from torch import Tensor

from attnseg.ops import reference


@torch.library.custom_op("attnseg::attention_gate", mutates_args=())
def attention_gate(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
) -> tuple[Tensor, Tensor]:
    return reference.attention_gate_forward(x, phi, theta_weight, psi_weight, psi_bias, stride)


@attention_gate.register_fake
def _(x, phi, theta_weight, psi_weight, psi_bias, stride):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), x.new_empty((x.shape[0], 1, *x.shape[2:]))


@torch.library.custom_op("attnseg::attention_gate_backward", mutates_args=())
def attention_gate_backward(
    grad_y: Tensor,
    grad_alpha: Tensor,
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return reference.attention_gate_backward(
        # Gradients may arrive expanded with stride 0, as from `y.sum().backward()`.
        grad_y.contiguous(),
        grad_alpha.contiguous(),
        x,
        phi,
        theta_weight,
        psi_weight,
        psi_bias,
        stride,
    )


@attention_gate_backward.register_fake
def _(grad_y, grad_alpha, x, phi, theta_weight, psi_weight, psi_bias, stride):  # type: ignore[no-untyped-def]
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    return tuple(torch.empty_like(tensor) for tensor in inputs)


def _setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.stride = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad_y, grad_alpha):  # type: ignore[no-untyped-def]
    grads = torch.ops.attnseg.attention_gate_backward(
        grad_y, grad_alpha, *ctx.saved_tensors, ctx.stride
    )
    return (*grads, None)


attention_gate.register_autograd(_backward, setup_context=_setup_context)
