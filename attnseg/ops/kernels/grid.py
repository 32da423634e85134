"""The paper's gate, on g's grid: two kernels forward, three backward.

Elements moved per voxel, C channels, F = C / 2, stride 2 in 3D (derived; eager without caches):

    forward   3.9 C eager    x read for the scores, then x read and y written: 3 C + F / 8, and α
    backward  12.2 C         x, dy read for dα: 2 C; dy read, dx written: 2 C; x for dW_x: C;
                             φ and dφ: F / 4

A single forward pass would need α one coarse cell beyond its own block, that is x two to three
voxels beyond, read twice in blocks of 16: no less traffic. Kept from the forward: α on g's grid in
float32 and one bit for each inner channel there, less than half an element per voxel. No atomics.
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
def _fine(
    k, z_d, z_h, z_w, depth, height, width,
    STEP_D: tl.constexpr, STEP_H: tl.constexpr, STEP_W: tl.constexpr,
):  # fmt: skip
    """The k-th voxel of the coarse cells z: its coordinates and whether x has it."""
    d = z_d * STEP_D + k // (STEP_H * STEP_W)
    h = z_h * STEP_H + k // STEP_W % STEP_H
    w = z_w * STEP_W + k % STEP_W
    return d, h, w, (d < depth) & (h < height) & (w < width)


@triton.jit
def _scores(
    x, phi, theta, psi, bias, coarse, active, depth, height, width, coarse_d, coarse_h, coarse_w,
    x_c, x_v, C: tl.constexpr, F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, BLOCK_Z: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """α on g's grid and the ReLU's choice in bits; `theta` is `[STEPS, F, C]`."""
    n = tl.program_id(1).to(tl.int64)
    z = tl.program_id(0).to(tl.int64) * BLOCK_Z + tl.arange(0, BLOCK_Z)
    f = tl.arange(0, BLOCK_F)
    cells = coarse_d * coarse_h * coarse_w
    voxels = depth * height * width
    inside = z < cells
    z_d, z_h, z_w = z // coarse_w // coarse_h, z // coarse_w % coarse_h, z % coarse_w
    total = tl.load(
        phi + (n * F + f[:, None]) * cells + z[None, :],
        (f < F)[:, None] & inside[None, :],
        other=0.0,
    ).to(tl.float32)
    x += n * C * voxels
    for k in range(STEP_D * STEP_H * STEP_W):
        d, h, w, there = _fine(k, z_d, z_h, z_w, depth, height, width, STEP_D, STEP_H, STEP_W)
        v = (d * height + h) * width + w
        for start in range(0, C, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            weight = tl.load(
                theta + (k * F + f[:, None]) * C + c[None, :],
                (f < F)[:, None] & (c < C)[None, :],
                other=0.0,
            )
            values = tl.load(
                x + c[:, None].to(tl.int64) * x_c + v[None, :] * x_v,
                (c < C)[:, None] & (inside & there)[None, :],
                other=0.0,
            )
            total = product(weight, values, total, UPCAST, PRECISION)
    inner = tl.maximum(total, 0.0)
    weight = tl.load(psi + f, f < F, other=0.0).to(tl.float32)
    q = tl.sum(inner * weight[:, None], axis=0) + tl.load(bias).to(tl.float32)
    tl.store(coarse + n * cells + z, tl.sigmoid(q), inside)
    keep_bits(active, inner, f, n, z, inside, cells, F, BLOCK_F, BLOCK_Z)


@triton.jit
def _apply(
    x, coarse, y, alpha, voxels, height, width, coarse_d, coarse_h, coarse_w, x_c, x_v,
    C: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr, STEP_W: tl.constexpr,
    LINEAR: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """α upsampled, y = α x."""
    n = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0).to(tl.int64) * BLOCK_V + tl.arange(0, BLOCK_V)
    inside = v < voxels
    one = tl.arange(0, 1)[:, None]
    a = upsampled(
        coarse + n * coarse_d * coarse_h * coarse_w, one, 0, inside[None, :],
        v // width // height, v // width % height, v % width, coarse_d, coarse_h, coarse_w,
        STEP_D, STEP_H, STEP_W, LINEAR,
    )  # fmt: skip
    tl.store(alpha + n * voxels + v[None, :] + one, a.to(alpha.dtype.element_ty), inside[None, :])
    for start in range(0, C, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        where = n * C * voxels + c[:, None].to(tl.int64) * x_c + v[None, :] * x_v
        mask = (c < C)[:, None] & inside[None, :]
        values = tl.load(x + where, mask, other=0.0).to(tl.float32)
        tl.store(y + where, (values * a).to(y.dtype.element_ty), mask)


@triton.jit
def _grad_alpha(
    grad_y, grad_alpha, x, total, voxels, x_c, x_v, C: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dα on x's grid: Σ over channels of dy x, plus what came from outside."""
    n = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0).to(tl.int64) * BLOCK_V + tl.arange(0, BLOCK_V)
    inside = v < voxels
    found = tl.load(grad_alpha + n * voxels + v, inside, other=0.0).to(tl.float32)
    for start in range(0, C, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        where = n * C * voxels + c[:, None].to(tl.int64) * x_c + v[None, :] * x_v
        mask = (c < C)[:, None] & inside[None, :]
        values = tl.load(x + where, mask, other=0.0).to(tl.float32)
        found += tl.sum(values * tl.load(grad_y + where, mask, other=0.0).to(tl.float32), axis=0)
    tl.store(total + n * voxels + v, found, inside)


@triton.jit
def _backward(
    grad_y, d_alpha, phi, coarse, active, theta, psi, grad_x, grad_phi, grad_q, psi_parts,
    depth, height, width, coarse_d, coarse_h, coarse_w, x_c, x_v,
    C: tl.constexpr, F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, REACH_D: tl.constexpr, REACH_H: tl.constexpr, REACH_W: tl.constexpr,
    LINEAR: tl.constexpr, BLOCK_Z: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq on g's grid, dφ, dx of the cells' own voxels, and the part of dψ that φ has."""
    n = tl.program_id(1).to(tl.int64)
    z = tl.program_id(0).to(tl.int64) * BLOCK_Z + tl.arange(0, BLOCK_Z)
    f = tl.arange(0, BLOCK_F)
    cells = coarse_d * coarse_h * coarse_w
    voxels = depth * height * width
    inside = z < cells
    z_d, z_h, z_w = z // coarse_w // coarse_h, z // coarse_w % coarse_h, z % coarse_w
    d_coarse = tl.zeros((BLOCK_Z,), tl.float32)
    for k in range(REACH_D * REACH_H * REACH_W):
        v, share = gathered(
            k, z_d, z_h, z_w, depth, height, width, coarse_d, coarse_h, coarse_w,
            STEP_D, STEP_H, STEP_W, REACH_D, REACH_H, REACH_W, LINEAR,
        )  # fmt: skip
        d_coarse += share * tl.load(d_alpha + n * voxels + v, inside & (share > 0.0), other=0.0)
    a = tl.load(coarse + n * cells + z, inside, other=0.0)
    d_q = d_coarse * a * (1.0 - a)
    tl.store(grad_q + n * cells + z, d_q, inside)

    gradient = passed(active, d_q, f, n, z, inside, cells, F)
    mask = (f < F)[:, None] & inside[None, :]
    where = (n * F + f[:, None]) * cells + z[None, :]
    held = tl.load(phi + where, mask, other=0.0).to(tl.float32)
    tile = n * tl.num_programs(0) + tl.program_id(0)
    tl.store(psi_parts + tile * F + f, tl.sum(held * gradient, axis=1), f < F)
    d_inner = gradient * tl.load(psi + f, f < F, other=0.0).to(tl.float32)[:, None]
    tl.store(grad_phi + where, d_inner.to(grad_phi.dtype.element_ty), mask)

    for k in range(STEP_D * STEP_H * STEP_W):
        d, h, w, there = _fine(k, z_d, z_h, z_w, depth, height, width, STEP_D, STEP_H, STEP_W)
        v = (d * height + h) * width + w
        here = inside & there
        fine = upsampled(
            coarse + n * cells, tl.arange(0, 1)[:, None], 0, here[None, :], d, h, w,
            coarse_d, coarse_h, coarse_w, STEP_D, STEP_H, STEP_W, LINEAR,
        )  # fmt: skip
        for start in range(0, C, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            position = n * C * voxels + c[:, None].to(tl.int64) * x_c + v[None, :] * x_v
            mask_x = (c < C)[:, None] & here[None, :]
            grads = tl.load(grad_y + position, mask_x, other=0.0)
            turned = tl.load(
                theta + (k * F + f[None, :]) * C + c[:, None],
                (f < F)[None, :] & (c < C)[:, None],
                other=0.0,
            )
            d_x = grads.to(tl.float32) * fine
            d_x = product(turned, d_inner.to(grads.dtype), d_x, UPCAST, PRECISION)
            tl.store(grad_x + position, d_x.to(grad_x.dtype.element_ty), mask_x)


@triton.jit
def _products(
    grad_q, active, x, partial, depth, height, width, coarse_d, coarse_h, coarse_w, tiles,
    x_c, x_v, C: tl.constexpr, F: tl.constexpr, STEP_D: tl.constexpr, STEP_H: tl.constexpr,
    STEP_W: tl.constexpr, BLOCK_Z: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_F: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Σ dq [inner > 0] xᵀ over every `splits`-th tile of cells: `[splits, STEPS, F, C]`."""
    STEPS: tl.constexpr = STEP_D * STEP_H * STEP_W
    k = tl.program_id(1) % STEPS
    f = tl.program_id(1) // STEPS * BLOCK_F + tl.arange(0, BLOCK_F)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    cells = coarse_d * coarse_h * coarse_w
    voxels = depth * height * width
    per_sample = (cells + BLOCK_Z - 1) // BLOCK_Z
    total = tl.zeros((BLOCK_F, BLOCK_C), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        n = (tile // per_sample).to(tl.int64)
        z = (tile % per_sample).to(tl.int64) * BLOCK_Z + tl.arange(0, BLOCK_Z)
        inside = z < cells
        z_d, z_h, z_w = z // coarse_w // coarse_h, z // coarse_w % coarse_h, z % coarse_w
        d, h, w, there = _fine(k, z_d, z_h, z_w, depth, height, width, STEP_D, STEP_H, STEP_W)
        v = (d * height + h) * width + w
        d_q = tl.load(grad_q + n * cells + z, inside, other=0.0)
        gradient = passed(active, d_q, f, n, z, inside, cells, F)
        values = tl.load(
            x + n * C * voxels + c[None, :].to(tl.int64) * x_c + v[:, None] * x_v,
            (c < C)[None, :] & (inside & there)[:, None],
            other=0.0,
        )
        total = product(gradient, values, total, UPCAST, PRECISION)
    where = ((tl.program_id(0).to(tl.int64) * STEPS + k) * F + f[:, None]) * C + c[None, :]
    tl.store(partial + where, total, (f < F)[:, None] & (c < C)[None, :])


def grid_forward(
    x: Tensor,
    phi: Tensor,
    theta_weight: Tensor,
    psi_weight: Tensor,
    psi_bias: Tensor,
    mode: Mode = "linear",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`reference.grid_forward` in two kernels."""
    samples, channels, inner = x.shape[0], x.shape[1], phi.shape[1]
    source, steps = launch.laid_out(x), launch.steps(list(theta_weight.shape[2:]), mode)
    depth, height, width = launch.three_axes(x.shape[2:])
    coarse_size = launch.three_axes(phi.shape[2:])
    voxels, cells = depth * height * width, math.prod(coarse_size)
    blocks = launch.launch_config(channels, inner, exact=launch.is_exact(x))
    coarse = torch.empty((samples, 1, *phi.shape[2:]), dtype=torch.float32, device=x.device)
    active = torch.empty(
        (samples, -(-inner // 32), *phi.shape[2:]), dtype=torch.int32, device=x.device
    )
    _scores[(triton.cdiv(cells, blocks.voxels), samples)](
        source, phi.contiguous(), _by_step(theta_weight), psi_weight.contiguous(), psi_bias,
        coarse, active, depth, height, width, *coarse_size, *launch.strides(source),
        C=channels, F=inner, **_without_mode(steps), BLOCK_Z=blocks.voxels,
        BLOCK_C=blocks.channels, BLOCK_F=blocks.inner, **launch.arithmetic(x),
        num_warps=blocks.warps,
    )  # fmt: skip
    y = torch.empty_like(source)
    alpha = x.new_empty((samples, 1, *x.shape[2:]))
    _apply[(triton.cdiv(voxels, 128), samples)](
        source, coarse, y, alpha, voxels, height, width, *coarse_size, *launch.strides(source),
        C=channels, **steps, BLOCK_V=128, BLOCK_C=blocks.channels, num_warps=4,
    )  # fmt: skip
    return (y if source is x else torch.empty_like(x).copy_(y)), alpha, coarse, active


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
    """`reference.grid_backward` in three kernels and two small sums."""
    samples, channels, inner = x.shape[0], x.shape[1], phi.shape[1]
    source, psi = launch.laid_out(x), psi_weight.contiguous()
    grad_y = launch.as_like(grad_y, source)
    steps = launch.steps(list(theta_weight.shape[2:]), mode)
    number = math.prod(theta_weight.shape[2:])
    size, coarse_size = launch.three_axes(x.shape[2:]), launch.three_axes(phi.shape[2:])
    voxels, cells = math.prod(size), math.prod(coarse_size)
    blocks = launch.launch_config(channels, inner, exact=launch.is_exact(x))
    layout = launch.strides(source)

    d_alpha = launch.partial_sums((samples, voxels), x)
    _grad_alpha[(triton.cdiv(voxels, 128), samples)](
        grad_y, grad_alpha.contiguous(), source, d_alpha, voxels, *layout,
        C=channels, BLOCK_V=128, BLOCK_C=blocks.channels, num_warps=4,
    )  # fmt: skip

    grad_x = torch.empty_like(source)
    grad_phi = torch.empty(phi.shape, dtype=phi.dtype, device=x.device)
    grad_q = launch.partial_sums((samples, cells), x)
    per_sample = triton.cdiv(cells, blocks.voxels)
    psi_parts = launch.partial_sums((samples * per_sample, inner), x)
    _backward[(per_sample, samples)](
        grad_y, d_alpha, phi.contiguous(), coarse, active, _by_step(theta_weight), psi,
        grad_x, grad_phi, grad_q, psi_parts, *size, *coarse_size, *layout,
        C=channels, F=inner, **steps, **launch.reaches(steps), BLOCK_Z=blocks.voxels,
        BLOCK_C=blocks.channels, BLOCK_F=blocks.inner, **launch.arithmetic(x),
        num_warps=blocks.warps,
    )  # fmt: skip

    tiles = samples * triton.cdiv(cells, blocks.summed)
    across = (
        number * triton.cdiv(inner, min(32, blocks.inner)),
        triton.cdiv(channels, blocks.channels),
    )
    parts = launch.splits(across[0] * across[1], tiles)
    partial = launch.partial_sums((parts, number, inner, channels), x)
    _products[(parts, *across)](
        grad_q, active, source, partial, *size, *coarse_size, tiles, *layout,
        C=channels, F=inner, **_without_mode(steps), BLOCK_Z=blocks.summed, BLOCK_C=blocks.channels,
        BLOCK_F=min(32, blocks.inner), **launch.arithmetic(x), num_warps=4,
    )  # fmt: skip

    products = partial.sum(0).permute(1, 2, 0).reshape(theta_weight.shape)
    by_psi = psi.float().reshape(-1, *[1] * (x.ndim - 1))
    grad_psi = (theta_weight.float() * products).flatten(1).sum(1) + psi_parts.sum(0)
    return (
        grad_x if source is x else torch.empty_like(x).copy_(grad_x),
        grad_phi if phi.is_contiguous() else torch.empty_like(phi).copy_(grad_phi),
        torch.empty_like(theta_weight).copy_(products * by_psi),
        torch.empty_like(psi_weight).copy_(grad_psi),
        torch.empty_like(psi_bias).copy_(grad_q.sum()[None]),
    )


def _by_step(theta_weight: Tensor) -> Tensor:
    """`[F, C, *stride]` → `[steps, F, C]`: one matrix for each voxel of a coarse cell."""
    return theta_weight.flatten(2).permute(2, 0, 1).contiguous()


def _without_mode(steps: dict[str, int | bool]) -> dict[str, int | bool]:
    return {name: value for name, value in steps.items() if name != "LINEAR"}
