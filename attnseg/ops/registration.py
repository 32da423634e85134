"""The gates and their backwards as operators of PyTorch: `torch.ops.attnseg.*`.

Registered operators are opaque to the compiler and to export, run under autocast and DDP, and give
one place where CUDA kernels stand beside plain PyTorch. `grid` has two outputs more than users see:
what its backward needs. Autocast ends at their door: it would round what is inside to half
precision in eager mode, and not when compiled.
"""

import torch
from torch import Tensor

from attnseg.ops import blocked, reference
from attnseg.ops.backend import backend


def forward_on(x: Tensor, form: str):  # type: ignore[no-untyped-def]
    """The function that computes the gate `form` ("skip" or "grid") where x lies."""
    if x.device.type == "cpu":
        return blocked.skip_forward if form == "skip" else reference.grid_forward
    return getattr(_implementation(x), f"{form}_forward")


def _implementation(x: Tensor):  # type: ignore[no-untyped-def]
    # The kernels sum in float32: float64 is for checks, and stays exact.
    if x.device.type == "cuda" and x.dtype != torch.float64 and backend().name == "triton":
        from attnseg.ops import kernels

        return kernels
    return reference


@torch.library.custom_op("attnseg::attention_gate", mutates_args=())
def attention_gate(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: str,
) -> tuple[Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return forward_on(x, "skip")(x, phi, theta_weight, psi_weight, psi_bias, stride, mode)


@attention_gate.register_fake
def _(x, phi, theta_weight, psi_weight, psi_bias, stride, mode):  # type: ignore[no-untyped-def]
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
    mode: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return _implementation(x).skip_backward(
            grad_y, grad_alpha, x, phi, theta_weight, psi_weight, psi_bias, stride, mode
        )


@attention_gate_backward.register_fake
def _(grad_y, grad_alpha, x, phi, theta_weight, psi_weight, psi_bias, stride, mode):  # type: ignore[no-untyped-def]
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    return tuple(torch.empty_like(tensor) for tensor in inputs)


@torch.library.custom_op("attnseg::grid_attention_gate", mutates_args=())
def grid_attention_gate(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return forward_on(x, "grid")(x, phi, theta_weight, psi_weight, psi_bias, mode)


@grid_attention_gate.register_fake
def _(x, phi, theta_weight, psi_weight, psi_bias, mode):  # type: ignore[no-untyped-def]
    samples, coarse = x.shape[0], phi.shape[2:]
    words = -(-phi.shape[1] // reference.WORD)
    wide = torch.promote_types(x.dtype, torch.float32)
    return (
        torch.empty_like(x),
        x.new_empty((samples, 1, *x.shape[2:])),
        x.new_empty((samples, 1, *coarse), dtype=wide),
        x.new_empty((samples, words, *coarse), dtype=torch.int32),
    )


@torch.library.custom_op("attnseg::grid_attention_gate_backward", mutates_args=())
def grid_attention_gate_backward(
    grad_y: Tensor,
    grad_alpha: Tensor,
    x: Tensor,
    phi: Tensor,
    coarse: Tensor,
    active: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return _implementation(x).grid_backward(
            grad_y, grad_alpha, x, phi, coarse, active, theta_weight, psi_weight, psi_bias, mode
        )


@grid_attention_gate_backward.register_fake
def _(grad_y, grad_alpha, x, phi, coarse, active, theta_weight, psi_weight, psi_bias, mode):  # type: ignore[no-untyped-def]
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    return tuple(torch.empty_like(tensor) for tensor in inputs)


def _setup_skip(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.stride, ctx.mode = inputs
    ctx.save_for_backward(*tensors)


def _backward_skip(ctx, grad_y, grad_alpha):  # type: ignore[no-untyped-def]
    grads = torch.ops.attnseg.attention_gate_backward(
        grad_y, grad_alpha, *ctx.saved_tensors, ctx.stride, ctx.mode
    )
    return (*grads, None, None)


def _setup_grid(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, phi, *weights, ctx.mode = inputs
    _, _, coarse, active = output
    ctx.mark_non_differentiable(coarse, active)
    ctx.save_for_backward(x, phi, coarse, active, *weights)


def _backward_grid(ctx, grad_y, grad_alpha, *_):  # type: ignore[no-untyped-def]
    grads = torch.ops.attnseg.grid_attention_gate_backward(
        grad_y, grad_alpha, *ctx.saved_tensors, ctx.mode
    )
    return (*grads, None)


attention_gate.register_autograd(_backward_skip, setup_context=_setup_skip)
grid_attention_gate.register_autograd(_backward_grid, setup_context=_setup_grid)
