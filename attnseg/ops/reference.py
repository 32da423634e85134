"""The attention gate in plain PyTorch, forward and hand-written backward: the specification.

Oktay et al., Attention U-Net (MIDL 2018), equations 1 and 2:

    q = ψᵀ ReLU(W_x x + W_g g + b_g) + b_ψ,   α = sigmoid(q),   y = α · x

φ stands for W_g g + b_g, computed by the caller on g's own, coarser grid; it is upsampled here.
Shapes: N batch, C channels of x, F inner channels, S the grid of x (2D or 3D), V its voxels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def attention_gate_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
) -> tuple[Tensor, Tensor]:
    """Gate x: returns y `[N, C, *S]` in x's type and layout, α `[N, 1, *S]`. See `ops`."""
    value, phi, theta_weight, psi_weight, psi_bias = _widen(
        x, phi, theta_weight, psi_weight, psi_bias
    )
    alpha = torch.sigmoid(_scores(_inner(value, phi, theta_weight, stride), psi_weight, psi_bias))
    y = torch.empty_like(x).copy_(value * alpha)
    return y, alpha.to(x.dtype, copy=True).contiguous()


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
    """Gradients with respect to x, φ, W_x, ψ and b_ψ; the forward is recomputed, not stored."""
    inputs = (x, phi, theta_weight, psi_weight, psi_bias)
    value, phi_, theta, psi, bias = _widen(*inputs)
    grad_y, grad_alpha = grad_y.to(value.dtype), grad_alpha.to(value.dtype)
    inner = _inner(value, phi_, theta, stride)
    alpha = torch.sigmoid(_scores(inner, psi, bias))

    d_alpha = (grad_y * value).sum(dim=1, keepdim=True) + grad_alpha
    d_q = d_alpha * alpha * (1 - alpha)
    d_psi = torch.einsum("nfv,nv->f", inner.flatten(2), d_q.flatten(1))
    d_inner = d_q * _per_channel(psi, x.ndim) * (inner > 0)
    d_theta = torch.einsum("nfv,ncv->fc", d_inner.flatten(2), value.flatten(2))
    d_x = grad_y * alpha + _pointwise(d_inner, theta.T)
    d_phi = _upsample_backward(d_inner, stride, list(phi.shape))
    grads = (d_x, d_phi, d_theta, d_psi, d_q.sum().reshape(psi_bias.shape))
    return tuple(
        torch.empty_like(source).copy_(grad) for grad, source in zip(grads, inputs, strict=True)
    )  # type: ignore[return-value]


def upsample(phi: Tensor, stride: list[int], size: list[int]) -> Tensor:
    """Linear upsampling by whole strides, cropped to `size`: `F.interpolate(scale_factor=…)`."""
    if all(step == 1 for step in stride):
        return phi
    factors = [float(step) for step in stride]
    full = F.interpolate(phi, scale_factor=factors, mode=_MODES[len(stride)], align_corners=False)
    return _crop(full, size)


def _crop(full: Tensor, size: list[int]) -> Tensor:
    for axis, length in enumerate(size):
        full = full.narrow(axis + 2, 0, length)
    return full


def _upsample_backward(grad: Tensor, stride: list[int], shape: list[int]) -> Tensor:
    """Transpose of `upsample`: from the fine grid back to φ's `shape`."""
    if all(step == 1 for step in stride):
        return grad
    full = [n * step for n, step in zip(shape[2:], stride, strict=True)]
    padding = [p for n, m in zip(full, grad.shape[2:], strict=True) for p in (n - m, 0)]
    grad = F.pad(grad, padding[::-1])
    scales = [float(step) for step in stride]
    aten = torch.ops.aten
    if len(stride) == 2:
        return aten.upsample_bilinear2d_backward(grad.contiguous(), full, shape, False, *scales)
    return aten.upsample_trilinear3d_backward(grad.contiguous(), full, shape, False, *scales)


def _inner(x: Tensor, phi: Tensor, theta_weight: Tensor, stride: list[int]) -> Tensor:
    """ReLU(W_x x + φ) `[N, F, *S]`."""
    return torch.relu(_pointwise(x, theta_weight) + upsample(phi, stride, list(x.shape[2:])))


def _scores(inner: Tensor, psi_weight: Tensor, psi_bias: Tensor) -> Tensor:
    return _pointwise(inner, psi_weight[None]) + psi_bias


def _pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """1×1 convolution without bias: `[N, C, *S]`, `[F, C]` → `[N, F, *S]`."""
    return torch.matmul(weight, x.flatten(2)).unflatten(2, x.shape[2:])


def _per_channel(vector: Tensor, ndim: int) -> Tensor:
    return vector.reshape(1, -1, *[1] * (ndim - 2))


def _widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Half precisions are computed in float32, float64 stays, so that gradcheck means something."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return tuple(tensor.to(dtype) for tensor in tensors)
