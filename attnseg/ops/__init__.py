"""The attention-gate operator."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attnseg.ops.reference import attention_gate_forward, upsample

__all__ = ["attention_gate", "upsample"]


def attention_gate(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    *,
    stride: Sequence[int] | int = 1,
) -> tuple[Tensor, Tensor]:
    """Gate skip features x by α = sigmoid(ψᵀ ReLU(W_x x + up(φ)) + b_ψ): y = α · x.

    Attention U-Net (Oktay et al. 2018), equations 1 and 2, computed on x's own grid; φ is upsampled
    linearly inside, with coordinates given by the stride.

    Args:
        x: skip features `[N, C, *S]`, S of two or three axes.
        phi: W_g g + b_g on g's own grid `[N, F, *ceil(S / stride)]`.
        theta_weight: W_x, `[F, C]`.
        psi_weight: ψ, `[F]`.
        psi_bias: b_ψ, `[1]`.
        stride: how many voxels of x one voxel of g covers along each axis.

    Returns:
        y `[N, C, *S]` with x's type and memory layout, and α `[N, 1, *S]` in x's type.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> x, phi = torch.rand(1, 8, 9, 9), torch.rand(1, 4, 5, 5)
        >>> y, alpha = attention_gate(
        ...     x, phi, torch.rand(4, 8), torch.rand(4), torch.zeros(1), stride=2
        ... )
        >>> y.shape, alpha.shape
        (torch.Size([1, 8, 9, 9]), torch.Size([1, 1, 9, 9]))
    """
    steps = [stride] * (x.ndim - 2) if isinstance(stride, int) else [int(step) for step in stride]
    _check_shapes(x, phi, theta_weight, psi_weight, psi_bias, steps)
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    if not (needs_grad or torch.compiler.is_compiling()):
        # The first call of any custom op imports torch._dynamo: two to three seconds that a
        # prediction should not wait for.
        return attention_gate_forward(*inputs, steps)
    from attnseg.ops import registration

    return registration.attention_gate(*inputs, steps)


def _check_shapes(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
) -> None:
    if x.ndim not in (4, 5) or len(stride) != x.ndim - 2 or min(stride) < 1:
        raise ValueError(
            f"x {tuple(x.shape)} with stride {stride}: x must be [N, C, *S] with two or three "
            "spatial axes and one positive stride for each"
        )
    inner = theta_weight.shape[0]
    coarse = tuple(-(-n // step) for n, step in zip(x.shape[2:], stride, strict=True))
    expected = {
        "phi": (phi, (x.shape[0], inner, *coarse)),
        "theta_weight": (theta_weight, (inner, x.shape[1])),
        "psi_weight": (psi_weight, (inner,)),
        "psi_bias": (psi_bias, (1,)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} where x {tuple(x.shape)}, {inner} inner channels "
                f"and stride {stride} need {shape}"
            )
