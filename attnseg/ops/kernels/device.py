"""What the kernels share on the device: coordinates, upsampling and its transpose, products.

All grids have three axes here; a 2D one has depth 1 and stride 1 there. Fine voxels and coarse
cells are counted in row-major order.
"""

import triton
import triton.language as tl


@triton.jit
def position(i, cells, STEP: tl.constexpr):
    """Where the fine index i lies on the coarse grid, held within it."""
    u = (i.to(tl.float32) + 0.5) / STEP - 0.5
    return tl.minimum(tl.maximum(u, 0.0), (cells - 1) * 1.0)


@triton.jit
def corner(i, cells, STEP: tl.constexpr, SIDE: tl.constexpr, LINEAR: tl.constexpr):
    """The coarse cell below (SIDE 0) or above (1) the fine index i along an axis; its weight."""
    if LINEAR:
        u = position(i, cells, STEP)
        below = u.to(tl.int32)
        share = u - below.to(tl.float32)
        if SIDE == 0:
            return below, 1.0 - share
        else:
            return tl.minimum(below + 1, cells - 1), share
    else:
        return i // STEP, tl.full(i.shape, 1.0, tl.float32)


@triton.jit
def upsampled(
    source, channel, channel_stride, mask, d, h, w, depth, height, width,
    STEP_D: tl.constexpr, STEP_H: tl.constexpr, STEP_W: tl.constexpr, LINEAR: tl.constexpr,
):  # fmt: skip
    """A coarse map at the fine voxels (d, h, w): `[channels, voxels]` in float32.

    `source` points to the map of one sample, `[K, depth, height, width]`; `channel` is `[K, 1]`.
    """
    total = tl.zeros(mask.shape, tl.float32)
    # Along an axis that is not upsampled, or without interpolation, one corner is all.
    for side_d in tl.static_range(2 if LINEAR and STEP_D > 1 else 1):
        cell_d, weight_d = corner(d, depth, STEP_D, side_d, LINEAR)
        for side_h in tl.static_range(2 if LINEAR and STEP_H > 1 else 1):
            cell_h, weight_h = corner(h, height, STEP_H, side_h, LINEAR)
            row, weight_row = (cell_d * height + cell_h) * width, weight_d * weight_h
            for side_w in tl.static_range(2 if LINEAR and STEP_W > 1 else 1):
                cell_w, weight_w = corner(w, width, STEP_W, side_w, LINEAR)
                where = source + channel * channel_stride + (row + cell_w)[None, :]
                values = tl.load(where, mask, other=0.0).to(tl.float32)
                total += values * (weight_row * weight_w)[None, :]
    return total


@triton.jit
def contribution(i, z, cells, size, STEP: tl.constexpr, LINEAR: tl.constexpr):
    """How much of the coarse cell z the fine index i holds along one axis; 0 beyond the grid."""
    inside = (i >= 0) & (i < size)
    if LINEAR:
        u = position(i, cells, STEP)
        weight = tl.maximum(1.0 - tl.abs(u - z.to(tl.float32)), 0.0)
    else:
        weight = (i // STEP == z).to(tl.float32)
    return tl.where(inside, weight, 0.0)


@triton.jit
def gathered(
    k, z_d, z_h, z_w, depth, height, width, coarse_d, coarse_h, coarse_w,
    STEP_D: tl.constexpr, STEP_H: tl.constexpr, STEP_W: tl.constexpr,
    REACH_D: tl.constexpr, REACH_H: tl.constexpr, REACH_W: tl.constexpr, LINEAR: tl.constexpr,
):  # fmt: skip
    """The k-th fine voxel that may hold something of the coarse cells z, and how much."""
    i_d = z_d * STEP_D - (REACH_D - STEP_D) // 2 + k // (REACH_H * REACH_W)
    i_h = z_h * STEP_H - (REACH_H - STEP_H) // 2 + k // REACH_W % REACH_H
    i_w = z_w * STEP_W - (REACH_W - STEP_W) // 2 + k % REACH_W
    share = contribution(i_d, z_d, coarse_d, depth, STEP_D, LINEAR)
    share *= contribution(i_h, z_h, coarse_h, height, STEP_H, LINEAR)
    share *= contribution(i_w, z_w, coarse_w, width, STEP_W, LINEAR)
    return (i_d * height + i_h) * width + i_w, share


@triton.jit
def product(a, b, total, UPCAST: tl.constexpr, PRECISION: tl.constexpr):
    """total + a b, operands in b's type, the sum in float32."""
    if UPCAST:  # the interpreter multiplies half precisions wrongly
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision=PRECISION)
    return tl.dot(a.to(b.dtype), b, total, input_precision=PRECISION)


@triton.jit
def keep_bits(
    active, inner, f, n, v, inside, voxels, F: tl.constexpr, BLOCK_F: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Write which inner features are above 0 as int32 words `[N, ceil(F / 32), voxels]`."""
    WORDS: tl.constexpr = (F + 31) // 32
    GROUP: tl.constexpr = min(BLOCK_F, 32)
    HELD: tl.constexpr = BLOCK_F // GROUP
    bits = tl.reshape((inner > 0.0).to(tl.int32) << (f % 32)[:, None], (HELD, GROUP, BLOCK_V))
    word = tl.arange(0, HELD)
    tl.store(
        active + (n * WORDS + word[:, None]) * voxels + v[None, :],
        tl.sum(bits, axis=1),
        (word < WORDS)[:, None] & inside[None, :],
    )


@triton.jit
def passed(active, d_q, f, n, v, inside, voxels, F: tl.constexpr):
    """dq where the ReLU let the inner feature pass, else 0: `[inner features, voxels]`."""
    WORDS: tl.constexpr = (F + 31) // 32
    words = tl.load(
        active + (n * WORDS + (f // 32)[:, None]) * voxels + v[None, :],
        (f < F)[:, None] & inside[None, :],
        other=0,
    )
    return tl.where((words >> (f % 32)[:, None]) & 1 == 1, d_q[None, :], 0.0)
