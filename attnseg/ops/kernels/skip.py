"""The gate on x's own grid, φ upsampled inside: one kernel forward, three backward.

Elements moved per voxel, C channels, F = C / 2, stride 2 in 3D (derived; eager without caches):

    forward   8 C eager    x read, y written, φ read: 2 C + F / 8 = 2.1 C, and α
    backward  17.5 C       x, dy read, dx written: 3 C; x again for dW_x: C; dq and a bit for each
                           inner channel: C / 32 + 2; φ, dφ

Nothing is kept from the forward but its inputs. No atomics: every sum is a tree inside a tile, then
partial sums in a fixed order, so results repeat bit for bit.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnseg.ops.kernels import launch
from attnseg.ops.kernels.device import gathered, keep_bits, passed, product, upsampled
from attnseg.ops.upsampling import Mode


@triton.jit
def _inner(
    x, phi, theta, v, inside, height, width, coarse_d, coarse_h, coarse_w, x_c, x_v,
    C: tl.constexpr, F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, LINEAR: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """ReLU(W_x x + φ) of one sample at the voxels v: `[BLOCK_F, voxels]`, 0 beyond F."""
    f = tl.arange(0, BLOCK_F)
    d, h, w = v // width // height, v // width % height, v % width
    cells = coarse_d * coarse_h * coarse_w
    total = upsampled(
        phi, f[:, None].to(tl.int64), cells, (f < F)[:, None] & inside[None, :], d, h, w,
        coarse_d, coarse_h, coarse_w, STEP_D, STEP_H, STEP_W, LINEAR,
    )  # fmt: skip
    for start in range(0, C, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        weight = tl.load(
            theta + f[:, None] * C + c[None, :], (f < F)[:, None] & (c < C)[None, :], other=0.0
        )
        values = tl.load(
            x + c[:, None].to(tl.int64) * x_c + v[None, :] * x_v,
            (c < C)[:, None] & inside[None, :],
            other=0.0,
        )
        total = product(weight, values, total, UPCAST, PRECISION)
    return tl.maximum(total, 0.0)


@triton.jit
def _forward(
    x, phi, theta, psi, bias, y, alpha, voxels, height, width, coarse_d, coarse_h, coarse_w,
    x_c, x_v, C: tl.constexpr, F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, LINEAR: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_F: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0).to(tl.int64) * BLOCK_V + tl.arange(0, BLOCK_V)
    f = tl.arange(0, BLOCK_F)
    inside = v < voxels
    x += n * C * voxels
    y += n * C * voxels
    inner = _inner(
        x, phi + n * F * coarse_d * coarse_h * coarse_w, theta, v, inside, height, width,
        coarse_d, coarse_h, coarse_w, x_c, x_v, C, F, STEP_D, STEP_H, STEP_W, LINEAR,
        BLOCK_C, BLOCK_F, UPCAST, PRECISION,
    )  # fmt: skip
    weight = tl.load(psi + f, f < F, other=0.0).to(tl.float32)
    q = tl.sum(inner * weight[:, None], axis=0) + tl.load(bias).to(tl.float32)
    a = tl.sigmoid(q)
    tl.store(alpha + n * voxels + v, a.to(alpha.dtype.element_ty), inside)
    for start in range(0, C, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        where = c[:, None].to(tl.int64) * x_c + v[None, :] * x_v
        mask = (c < C)[:, None] & inside[None, :]
        # The tile was read above: it comes from the cache.
        values = tl.load(x + where, mask, other=0.0).to(tl.float32)
        tl.store(y + where, (values * a[None, :]).to(y.dtype.element_ty), mask)


@triton.jit
def _backward(
    grad_y, grad_alpha, x, phi, theta, psi, bias, grad_x, grad_q, active, grad_psi,
    voxels, height, width, coarse_d, coarse_h, coarse_w, x_c, x_v,
    C: tl.constexpr, F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, LINEAR: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_F: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dx, dq, the ReLU's choice in bits, and this tile's part of dψ."""
    n = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0).to(tl.int64) * BLOCK_V + tl.arange(0, BLOCK_V)
    f = tl.arange(0, BLOCK_F)
    inside = v < voxels
    x += n * C * voxels
    grad_y += n * C * voxels
    grad_x += n * C * voxels
    inner = _inner(
        x, phi + n * F * coarse_d * coarse_h * coarse_w, theta, v, inside, height, width,
        coarse_d, coarse_h, coarse_w, x_c, x_v, C, F, STEP_D, STEP_H, STEP_W, LINEAR,
        BLOCK_C, BLOCK_F, UPCAST, PRECISION,
    )  # fmt: skip
    weight = tl.load(psi + f, f < F, other=0.0).to(tl.float32)
    a = tl.sigmoid(tl.sum(inner * weight[:, None], axis=0) + tl.load(bias).to(tl.float32))

    d_alpha = tl.load(grad_alpha + n * voxels + v, inside, other=0.0).to(tl.float32)
    for start in range(0, C, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        where = c[:, None].to(tl.int64) * x_c + v[None, :] * x_v
        mask = (c < C)[:, None] & inside[None, :]
        values = tl.load(x + where, mask, other=0.0).to(tl.float32)
        grads = tl.load(grad_y + where, mask, other=0.0).to(tl.float32)
        d_alpha += tl.sum(values * grads, axis=0)
    d_q = tl.where(inside, d_alpha * a * (1.0 - a), 0.0)
    tl.store(grad_q + n * voxels + v, d_q, inside)

    keep_bits(active, inner, f, n, v, inside, voxels, F, BLOCK_F, BLOCK_V)
    tile = n * tl.num_programs(0) + tl.program_id(0)
    tl.store(grad_psi + tile * F + f, tl.sum(inner * d_q[None, :], axis=1), f < F)

    d_inner = tl.where(inner > 0.0, d_q[None, :] * weight[:, None], 0.0)
    for start in range(0, C, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        where = c[:, None].to(tl.int64) * x_c + v[None, :] * x_v
        mask = (c < C)[:, None] & inside[None, :]
        grads = tl.load(grad_y + where, mask, other=0.0)
        turned = tl.load(
            theta + f[None, :] * C + c[:, None], (f < F)[None, :] & (c < C)[:, None], other=0.0
        )
        d_x = grads.to(tl.float32) * a[None, :]
        d_x = product(turned, d_inner.to(grads.dtype), d_x, UPCAST, PRECISION)
        tl.store(grad_x + where, d_x.to(grad_x.dtype.element_ty), mask)


@triton.jit
def _grad_phi(
    grad_q, active, psi, grad_phi, depth, height, width, coarse_d, coarse_h, coarse_w,
    F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, REACH_D: tl.constexpr, REACH_H: tl.constexpr, REACH_W: tl.constexpr,
    LINEAR: tl.constexpr, BLOCK_Z: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """dφ: each coarse cell gathers what the fine voxels around it hold of it."""
    n = tl.program_id(2).to(tl.int64)
    z = tl.program_id(0).to(tl.int64) * BLOCK_Z + tl.arange(0, BLOCK_Z)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    cells = coarse_d * coarse_h * coarse_w
    voxels = depth * height * width
    z_d, z_h, z_w = z // coarse_w // coarse_h, z // coarse_w % coarse_h, z % coarse_w
    mask = (f < F)[:, None] & (z < cells)[None, :]
    total = tl.zeros((BLOCK_F, BLOCK_Z), tl.float32)
    for k in range(REACH_D * REACH_H * REACH_W):
        v, share = gathered(
            k, z_d, z_h, z_w, depth, height, width, coarse_d, coarse_h, coarse_w,
            STEP_D, STEP_H, STEP_W, REACH_D, REACH_H, REACH_W, LINEAR,
        )  # fmt: skip
        used = (share > 0.0) & (z < cells)
        d_q = tl.load(grad_q + n * voxels + v, used, other=0.0) * share
        total += passed(active, d_q, f, n, v, used, voxels, F)
    total *= tl.load(psi + f, f < F, other=0.0).to(tl.float32)[:, None]
    where = (n * F + f[:, None]) * cells + z[None, :]
    tl.store(grad_phi + where, total.to(grad_phi.dtype.element_ty), mask)


@triton.jit
def _grad_theta(
    grad_q, active, x, partial, voxels, tiles, x_c, x_v, C: tl.constexpr, F: tl.constexpr,
    BLOCK_V: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Σ dq [inner > 0] xᵀ over every `splits`-th tile of voxels: `[splits, F, C]`."""
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((BLOCK_F, BLOCK_C), tl.float32)
    per_sample = (voxels + BLOCK_V - 1) // BLOCK_V
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        n = (tile // per_sample).to(tl.int64)
        v = (tile % per_sample).to(tl.int64) * BLOCK_V + tl.arange(0, BLOCK_V)
        inside = v < voxels
        d_q = tl.load(grad_q + n * voxels + v, inside, other=0.0)
        gradient = passed(active, d_q, f, n, v, inside, voxels, F)
        values = tl.load(
            x + n * C * voxels + c[None, :].to(tl.int64) * x_c + v[:, None] * x_v,
            (c < C)[None, :] & inside[:, None],
            other=0.0,
        )
        total = product(gradient, values, total, UPCAST, PRECISION)
    where = (tl.program_id(0).to(tl.int64) * F + f[:, None]) * C + c[None, :]
    tl.store(partial + where, total, (f < F)[:, None] & (c < C)[None, :])


def skip_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    stride: list[int],
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor]:
    """`reference.skip_forward` in one kernel."""
    source = launch.laid_out(x)
    y = torch.empty_like(source)
    alpha = x.new_empty((x.shape[0], 1, *x.shape[2:]))
    blocks = launch.launch_config(x.shape[1], phi.shape[1], exact=launch.is_exact(x))
    depth, height, width = launch.three_axes(x.shape[2:])
    voxels = depth * height * width
    _forward[(triton.cdiv(voxels, blocks.voxels), x.shape[0])](
        source, phi.contiguous(), theta_weight.contiguous(), psi_weight.contiguous(), psi_bias,
        y, alpha, voxels, height, width, *launch.three_axes(phi.shape[2:]),
        *launch.strides(source), C=x.shape[1], F=phi.shape[1], **launch.steps(stride, mode),
        BLOCK_V=blocks.voxels, BLOCK_C=blocks.channels, BLOCK_F=blocks.inner,
        **launch.arithmetic(x), num_warps=blocks.warps,
    )  # fmt: skip
    return (y if source is x else torch.empty_like(x).copy_(y)), alpha


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
    """`reference.skip_backward` in three kernels and two small sums."""
    samples, channels, inner = x.shape[0], x.shape[1], phi.shape[1]
    source, theta, psi = launch.laid_out(x), theta_weight.contiguous(), psi_weight.contiguous()
    grad_y = launch.as_like(grad_y, source)
    blocks = launch.launch_config(channels, inner, exact=launch.is_exact(x))
    depth, height, width = launch.three_axes(x.shape[2:])
    coarse = launch.three_axes(phi.shape[2:])
    voxels = depth * height * width
    per_sample = triton.cdiv(voxels, blocks.voxels)
    steps, layout = launch.steps(stride, mode), launch.strides(source)
    few = min(32, blocks.inner)

    grad_x = torch.empty_like(source)
    grad_q = launch.partial_sums((samples, voxels), x)
    active = torch.empty((samples, -(-inner // 32), voxels), dtype=torch.int32, device=x.device)
    psi_parts = launch.partial_sums((samples * per_sample, inner), x)
    _backward[(per_sample, samples)](
        grad_y, grad_alpha.contiguous(), source, phi.contiguous(), theta, psi, psi_bias,
        grad_x, grad_q, active, psi_parts, voxels, height, width, *coarse, *layout,
        C=channels, F=inner, **steps, BLOCK_V=blocks.voxels, BLOCK_C=blocks.channels,
        BLOCK_F=blocks.inner, **launch.arithmetic(x), num_warps=blocks.warps,
    )  # fmt: skip

    grad_phi = torch.empty(phi.shape, dtype=phi.dtype, device=x.device)
    _grad_phi[(triton.cdiv(math.prod(coarse), 64), triton.cdiv(inner, few), samples)](
        grad_q, active, psi, grad_phi, depth, height, width, *coarse,
        F=inner, **steps, **launch.reaches(steps), BLOCK_Z=64, BLOCK_F=few, num_warps=4,
    )  # fmt: skip

    across = (triton.cdiv(inner, few), triton.cdiv(channels, blocks.channels))
    tiles = samples * triton.cdiv(voxels, blocks.summed)
    parts = launch.splits(across[0] * across[1], tiles)
    partial = launch.partial_sums((parts, inner, channels), x)
    _grad_theta[(parts, *across)](
        grad_q, active, source, partial, voxels, tiles, *layout, C=channels, F=inner,
        BLOCK_V=blocks.summed, BLOCK_C=blocks.channels, BLOCK_F=few, **launch.arithmetic(x),
        num_warps=4,
    )  # fmt: skip

    grad_theta = partial.sum(0) * psi.float()[:, None]
    return (
        grad_x if source is x else torch.empty_like(x).copy_(grad_x),
        grad_phi if phi.is_contiguous() else torch.empty_like(phi).copy_(grad_phi),
        torch.empty_like(theta_weight).copy_(grad_theta),
        torch.empty_like(psi_weight).copy_(psi_parts.sum(0)),
        torch.empty_like(psi_bias).copy_(grad_q.sum()[None]),
    )
