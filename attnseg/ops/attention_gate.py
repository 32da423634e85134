"""The attention gates as users call them: shapes checked, the right implementation chosen."""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from attnseg.ops import blocked, reference
from attnseg.ops.upsampling import Mode


def attention_gate(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    *,
    stride: Sequence[int] | int = 1,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """Gate skip features x by α = sigmoid(ψᵀ ReLU(W_x x + up(φ)) + b_ψ): y = α · x.

    Attention U-Net (Oktay et al. 2018), equations 1 and 2, computed on x's own grid; φ is upsampled
    inside, with coordinates given by the stride.

    Args:
        x: skip features `[N, C, *S]`, S of two or three axes.
        phi: W_g g + b_g on g's own grid `[N, F, *ceil(S / stride)]`.
        theta_weight: W_x, `[F, C]`.
        psi_weight: ψ, `[F]`.
        psi_bias: b_ψ, `[1]`.
        stride: how many voxels of x one voxel of g covers along each axis.
        mode: how φ is upsampled, "linear" or "nearest".

    Returns:
        y `[N, C, *S]` with x's type and memory layout, and α `[N, 1, *S]` in x's type.

    Raises:
        ValueError: shapes that do not fit together; another mode.

    Example:
        >>> x, phi = torch.rand(1, 8, 9, 9), torch.rand(1, 4, 5, 5)
        >>> y, alpha = attention_gate(
        ...     x, phi, torch.rand(4, 8), torch.rand(4), torch.zeros(1), stride=2
        ... )
        >>> y.shape, alpha.shape
        (torch.Size([1, 8, 9, 9]), torch.Size([1, 1, 9, 9]))
    """
    steps = [stride] * (x.ndim - 2) if isinstance(stride, int) else [int(step) for step in stride]
    _check(x, phi, theta_weight, psi_weight, psi_bias, steps, mode, grid=False)
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    if torch.jit.is_tracing():
        return reference.skip_plain(*inputs, steps, mode)
    if not _registered(inputs):
        with torch.autocast("cpu", enabled=False):
            return blocked.skip_forward(*inputs, steps, mode)
    from attnseg.ops import registration

    return registration.attention_gate(*inputs, steps, mode)


def grid_attention_gate(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    *,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """The paper's gate, computed on g's grid: x is brought there by W_x, α upsampled.

    Args:
        x: skip features `[N, C, *S]`, S of two or three axes.
        phi: W_g g + b_g on g's own grid `[N, F, *ceil(S / stride)]`.
        theta_weight: W_x, `[F, C, *stride]`: a convolution whose kernel is its stride; beyond the
            end of an axis x counts as zero.
        psi_weight: ψ, `[F]`.
        psi_bias: b_ψ, `[1]`.
        mode: how α is upsampled, "linear" or "nearest".

    Returns:
        y `[N, C, *S]` with x's type and memory layout, and α `[N, 1, *S]` in x's type.

    Raises:
        ValueError: shapes that do not fit together; another mode.

    Example:
        >>> x, phi = torch.rand(1, 8, 9, 9), torch.rand(1, 4, 5, 5)
        >>> y, alpha = grid_attention_gate(
        ...     x, phi, torch.rand(4, 8, 2, 2), torch.rand(4), torch.zeros(1)
        ... )
        >>> y.shape, alpha.shape
        (torch.Size([1, 8, 9, 9]), torch.Size([1, 1, 9, 9]))
    """
    _check(
        x, phi, theta_weight, psi_weight, psi_bias, list(theta_weight.shape[2:]), mode, grid=True
    )
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    if torch.jit.is_tracing():
        return reference.grid_plain(*inputs, mode)
    if not _registered(inputs):
        with torch.autocast("cpu", enabled=False):
            return blocked.grid_forward(*inputs, mode)
    from attnseg.ops import registration

    y, alpha, _, _ = registration.grid_attention_gate(*inputs, mode)
    return y, alpha


def _registered(inputs: tuple[Tensor, ...]) -> bool:
    """Whether the call goes through PyTorch's dispatcher.

    The first call of any custom op imports torch._dynamo: two to three seconds that a prediction on
    a CPU should not wait for.
    """
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    return needs_grad or torch.compiler.is_compiling() or inputs[0].device.type != "cpu"


def _check(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: str,
    *,
    grid: bool,
) -> None:
    if torch.jit.is_tracing():
        return  # sizes are not numbers there; the eager call before the trace was checked
    if mode not in get_args(Mode):
        raise ValueError(f"mode {mode!r}: unknown; use {' or '.join(get_args(Mode))}")
    if x.ndim not in (4, 5) or len(stride) != x.ndim - 2 or min(stride) < 1:
        raise ValueError(
            f"x {tuple(x.shape)} with stride {stride}: x must be [N, C, *S] with two or three "
            "spatial axes and one positive stride for each"
        )
    inner = theta_weight.shape[0]
    coarse = tuple(-(-n // step) for n, step in zip(x.shape[2:], stride, strict=True))
    expected = {
        "phi": (phi, (x.shape[0], inner, *coarse)),
        "theta_weight": (theta_weight, (inner, x.shape[1], *(stride if grid else ()))),
        "psi_weight": (psi_weight, (inner,)),
        "psi_bias": (psi_bias, (1,)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} where x {tuple(x.shape)}, {inner} inner channels "
                f"and stride {stride} need {shape}"
            )
