"""The attention gate in plain PyTorch, forward and hand-written backward: the specification.

Oktay et al., Attention U-Net (MIDL 2018), equations 1 and 2:

    q = ψᵀ ReLU(W_x x + W_g g + b_g) + b_ψ,   α = sigmoid(q),   y = α · x

φ stands for W_g g + b_g, computed by the caller on g's own, coarser grid. The two gates differ in
where the sum is taken: `skip` on x's grid, φ upsampled; `grid` on g's, W_x a convolution whose
kernel is its stride, α upsampled (the paper).
Shapes: N batch, C channels of x, F inner channels, S the grid of x (2D or 3D), s that of g.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from attnseg.ops.upsampling import Mode, size_of, upsample, upsample_backward

# Inner channels in one word of `pack`.
WORD = 32


def skip_plain(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """y and α by a few operators that every compiler knows: what a trace records."""
    inner = _inner(x, phi, theta_weight, stride, mode)
    alpha = torch.sigmoid(pointwise(inner, psi_weight[None], psi_bias))
    return x * alpha, alpha


def grid_plain(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """The same for the gate on g's grid; `theta_weight` is `[F, C, *stride]`."""
    alpha, _, _ = _grid_alpha(x, phi, theta_weight, psi_weight, psi_bias, mode)
    return x * alpha, alpha


def skip_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """Gate x on its own grid: y `[N, C, *S]` in x's type and layout, α `[N, 1, *S]`."""
    wide = widen(x, phi, theta_weight, psi_weight, psi_bias)
    y, alpha = skip_plain(*wide, stride, mode)
    return torch.empty_like(x).copy_(y), alpha.to(x.dtype, copy=True).contiguous()


def skip_backward(
    grad_y: Tensor,
    grad_alpha: Tensor,
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, φ, W_x, ψ and b_ψ; the forward is recomputed, nothing of it was kept."""
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    value, phi_, theta, psi, bias = widen(*inputs)
    grad_y, grad_alpha = grad_y.to(value.dtype), grad_alpha.to(value.dtype)
    inner = _inner(value, phi_, theta, stride, mode)
    alpha = torch.sigmoid(pointwise(inner, psi[None], bias))

    d_q = ((grad_y * value).sum(dim=1, keepdim=True) + grad_alpha) * alpha * (1 - alpha)
    d_psi = torch.einsum("nfv,nv->f", inner.flatten(2), d_q.flatten(1))
    d_inner = (d_q * _per_channel(psi, x.ndim)).mul_(inner > 0)
    d_theta = torch.einsum("nfv,ncv->fc", d_inner.flatten(2), value.flatten(2))
    d_x = pointwise(d_inner, theta.T).addcmul_(grad_y, alpha)
    d_phi = upsample_backward(d_inner, stride, list(phi.shape), mode)
    return _like(inputs, (d_x, d_phi, d_theta, d_psi, d_q.sum()[None]))


def grid_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gate x on g's grid; `theta_weight` is `[F, C, *stride]`.

    Returns:
        y `[N, C, *S]` in x's type and layout, α `[N, 1, *S]` in x's type, and what the backward
        needs: α on g's grid `[N, 1, *s]` before it was rounded, and which inner channels the ReLU
        let pass, `pack`ed.
    """
    wide = widen(x, phi, theta_weight, psi_weight, psi_bias)
    alpha, coarse, inner = _grid_alpha(*wide, mode)
    y = torch.empty_like(x)
    if y.dtype == alpha.dtype:
        torch.mul(x, alpha, out=y)
    else:
        y.copy_(wide[0] * alpha)
    # A copy: at stride 1 both maps are one tensor, and outputs of an operator share no memory.
    coarse = coarse.clone(memory_format=torch.contiguous_format)
    return y, alpha.to(x.dtype, copy=True).contiguous(), coarse, pack(inner > 0)


def grid_backward(
    grad_y: Tensor,
    grad_alpha: Tensor,
    x: Tensor,
    phi: Tensor,
    coarse: Tensor,
    active: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, φ, W_x, ψ and b_ψ, from α and the ReLU's choice on g's grid.

    The inner features are neither kept nor computed again. With d = dq · [inner > 0] and M the
    gradient of W_x by d instead of ψ d, dW_x = ψ M; and since inner = [inner > 0] (W_x x + φ),
    dψ = ⟨W_x, M⟩ + Σ d φ.
    """
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    value, phi_, theta, psi, _ = widen(*inputs)
    grad_y, grad_alpha = grad_y.to(value.dtype), grad_alpha.to(value.dtype)
    stride = size_of(theta)
    size = size_of(x)

    d_alpha = (grad_y * value).sum(dim=1, keepdim=True) + grad_alpha
    d_coarse = upsample_backward(d_alpha, stride, list(coarse.shape), mode)
    d_q = d_coarse * coarse * (1 - coarse)
    passed = d_q * unpack(active, phi.shape[1])
    padded = _padded(value, stride)
    through, products, _ = torch.ops.aten.convolution_backward(
        passed, padded, theta * psi.reshape(-1, *[1] * (x.ndim - 1)), None, stride,
        [0] * len(stride), [1] * len(stride), False, [0] * len(stride), 1, [True, True, False],
    )  # fmt: skip
    d_x = _crop(through, size).addcmul_(grad_y, upsample(coarse, stride, size, mode))
    d_phi = passed * _per_channel(psi, x.ndim)
    d_theta = products * psi.reshape(-1, *[1] * (x.ndim - 1))
    d_psi = (theta * products).flatten(1).sum(1) + (passed * phi_).flatten(2).sum((0, 2))
    return _like(inputs, (d_x, d_phi, d_theta, d_psi, d_q.sum()[None]))


def pack(active: Tensor) -> Tensor:
    """Booleans `[N, F, *s]` → int32 words `[N, ceil(F / 32), *s]`, channel f in bit f mod 32."""
    parts = active.to(torch.int32).split(WORD, dim=1)
    bits = _bits(active)
    return torch.stack([(part << bits[:, : part.shape[1]]).sum(1) for part in parts], 1).int()


def unpack(words: Tensor, channels: int) -> Tensor:
    """`pack` undone: booleans `[N, channels, *s]`."""
    spread = words.repeat_interleave(WORD, dim=1)[:, :channels] if words.shape[1] > 1 else words
    bits = _bits(words).repeat(1, words.shape[1], *[1] * (words.ndim - 2))[:, :channels]
    return ((spread >> bits) & 1).bool()


def _bits(like: Tensor) -> Tensor:
    """0 to 31 along the channels."""
    counted = torch.arange(WORD, device=like.device, dtype=torch.int32)
    return counted.reshape(1, -1, *[1] * (like.ndim - 2))


def _inner(x: Tensor, phi: Tensor, theta: Tensor, stride: list[int], mode: Mode) -> Tensor:
    """ReLU(W_x x + φ) `[N, F, *S]`."""
    return torch.relu(pointwise(x, theta) + upsample(phi, stride, size_of(x), mode))


def _grid_alpha(
    x: Tensor, phi: Tensor, theta: Tensor, psi: Tensor, bias: Tensor, mode: Mode
) -> tuple[Tensor, Tensor, Tensor]:
    """α on x's grid, α on g's grid, and the inner features there."""
    stride = size_of(theta)
    inner = torch.relu(_conv(len(stride))(_padded(x, stride), theta, stride=stride) + phi)
    coarse = torch.sigmoid(pointwise(inner, psi[None], bias))
    return upsample(coarse, stride, size_of(x), mode), coarse, inner


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1×1 convolution: `[N, C, *S]`, `[F, C]` → `[N, F, *S]`."""
    dims = x.ndim - 2
    return _conv(dims)(x, weight.reshape(*weight.shape, *[1] * dims), bias)


def _conv(dims: int) -> Callable[..., Tensor]:
    return F.conv2d if dims == 2 else F.conv3d


def _padded(x: Tensor, stride: list[int]) -> Tensor:
    """Zeros at the end of each axis up to a multiple of the stride."""
    missing = [-n % step for n, step in zip(size_of(x), stride, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [amount for after in reversed(missing) for amount in (0, after)])


def _crop(full: Tensor, size: list[int]) -> Tensor:
    for axis, length in enumerate(size):
        full = full.narrow(axis + 2, 0, length)
    return full


def _per_channel(vector: Tensor, ndim: int) -> Tensor:
    return vector.reshape(1, -1, *[1] * (ndim - 2))


def widen(
    x: Tensor, phi: Tensor, theta: Tensor, psi: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Half precisions are computed in float32, float64 stays, so that gradcheck means something."""
    to = torch.promote_types(x.dtype, torch.float32)
    return x.to(to), phi.to(to), theta.to(to), psi.to(to), bias.to(to)


def _like(
    inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients in type and layout of what they belong to."""
    found = [
        grad
        if (grad.dtype, grad.stride()) == (one.dtype, one.stride())
        else torch.empty_like(one).copy_(grad)
        for one, grad in zip(inputs, grads, strict=True)
    ]
    return found[0], found[1], found[2], found[3], found[4]
