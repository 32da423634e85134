"""The Triton kernels against the float64 reference: in the interpreter here, compiled on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gate_inputs import NAMES, gate_inputs, gradients_for

from attnseg.ops import reference

kernels = pytest.importorskip("attnseg.ops.kernels", reason="triton is not installed here")

# Rounding of the inputs to a type and back is not counted: the reference gets the rounded inputs.
TOLERANCE = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 1.6e-2, "atol": 1.6e-2},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
}
# size, stride, C, F, upsampling, type, layout; the interpreter takes seconds where axes are many
CASES = [
    ((1, 1), (1, 1), 1, 1, "linear", torch.float32, "first"),
    ((7, 7), (2, 2), 20, 40, "linear", torch.float32, "last"),
    pytest.param(
        (129, 2), (2, 1), 70, 33, "linear", torch.float32, "first", marks=pytest.mark.slow
    ),
    pytest.param(
        (1, 7, 1), (2, 2, 2), 3, 2, "linear", torch.float32, "first", marks=pytest.mark.slow
    ),
    pytest.param(
        (31, 5, 3), (2, 2, 2), 5, 3, "linear", torch.float32, "first", marks=pytest.mark.slow
    ),
    ((31, 5, 3), (1, 1, 1), 16, 8, "linear", torch.float32, "last"),
    ((6, 5, 7), (1, 2, 2), 17, 9, "nearest", torch.float32, "first"),
    pytest.param(
        (5, 7, 4), (3, 2, 4), 4, 5, "linear", torch.float32, "last", marks=pytest.mark.slow
    ),
    ((7, 5, 4), (1, 2, 2), 8, 4, "linear", torch.bfloat16, "last"),
    ((7, 5), (2, 2), 8, 4, "nearest", torch.float16, "first"),
]


def _prepared(size, stride, channels, inner, dtype, layout, device, *, grid):
    inputs = gate_inputs(size, stride, grid=grid, channels=channels, inner=inner, dtype=dtype)
    inputs = [tensor.to(device) for tensor in inputs]
    if layout == "last":
        formats = {2: torch.channels_last, 3: torch.channels_last_3d}
        inputs[0] = inputs[0].contiguous(memory_format=formats[len(size)])
    return inputs, gradients_for(inputs[0])


def _double(tensors):
    return [one.double() if one.is_floating_point() else one for one in tensors]


def _same(found, expected, like, *, names):
    for name, ours, theirs, one in zip(names, found, expected, like, strict=True):
        assert (ours.dtype, ours.stride()) == (one.dtype, one.stride()), name
        # Sums over many voxels are as exact as the largest of them allows.
        scale = max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, **TOLERANCE[one.dtype],
            msg=lambda text, n=name: f"{n}: {text}",
        )  # fmt: skip


@pytest.mark.parametrize(("size", "stride", "channels", "inner", "mode", "dtype", "layout"), CASES)
def test_skip(size, stride, channels, inner, mode, dtype, layout, device):
    inputs, outside = _prepared(size, stride, channels, inner, dtype, layout, device, grid=False)
    like = [inputs[0], outside[1]]
    found = kernels.skip_forward(*inputs, list(stride), mode)
    expected = reference.skip_forward(*_double(inputs), list(stride), mode)
    _same(found, expected, like, names=("y", "α"))
    found = kernels.skip_backward(*outside, *inputs, list(stride), mode)
    expected = reference.skip_backward(*_double(outside), *_double(inputs), list(stride), mode)
    _same(found, expected, inputs, names=NAMES)


@pytest.mark.parametrize(("size", "stride", "channels", "inner", "mode", "dtype", "layout"), CASES)
def test_grid(size, stride, channels, inner, mode, dtype, layout, device):
    inputs, outside = _prepared(size, stride, channels, inner, dtype, layout, device, grid=True)
    y, alpha, coarse, active = kernels.grid_forward(*inputs, mode)
    expected = reference.grid_forward(*_double(inputs), mode)
    _same((y, alpha), expected[:2], [inputs[0], outside[1]], names=("y", "α"))
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse.double(), expected[2], rtol=1e-5, atol=1e-5)
    assert torch.equal(active, expected[3])
    weights = inputs[2:]
    found = kernels.grid_backward(*outside, *inputs[:2], coarse, active, *weights, mode)
    expected = reference.grid_backward(
        *_double(outside), *_double(inputs[:2]), *expected[2:], *_double(weights), mode
    )
    _same(found, expected, inputs, names=NAMES)


def _y_and_gradients(form, inputs, outside, stride):
    """y and the five gradients, by the kernels."""
    if form == "skip":
        y, _ = kernels.skip_forward(*inputs, stride)
        return y, *kernels.skip_backward(*outside, *inputs, stride)
    y, _, *kept = kernels.grid_forward(*inputs)
    return y, *kernels.grid_backward(*outside, *inputs[:2], *kept, *inputs[2:])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["skip", "grid"])
def test_non_contiguous_inputs_and_gradients(form, device):
    grid = form == "grid"
    inputs, outside = _prepared(
        (4, 6, 5), (2, 2, 2), 6, 4, torch.float32, "first", device, grid=grid
    )
    turned = [inputs[0].transpose(1, 2).contiguous().transpose(1, 2), *inputs[1:]]
    turned[1] = inputs[1].transpose(1, 3).contiguous().transpose(1, 3)
    turned[2] = inputs[2].transpose(0, 1).contiguous().transpose(0, 1)
    strange = [one.transpose(2, 4).contiguous().transpose(2, 4) for one in outside]
    straight = _y_and_gradients(form, inputs, outside, [2, 2, 2])
    found = _y_and_gradients(form, turned, strange, [2, 2, 2])
    for one, other, like in zip(found, straight, (turned[0], *turned), strict=True):
        assert one.stride() == like.stride()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_a_gradient_of_stride_0(form, device):
    """As `y.sum().backward()` gives it: one number seen everywhere."""
    grid = form == "grid"
    inputs, _ = _prepared((5, 4), (2, 2), 4, 3, torch.float32, "last", device, grid=grid)
    one = torch.ones((), device=device)
    expanded = [one.expand(inputs[0].shape), one.expand(2, 1, 5, 4)]
    runs = [
        _y_and_gradients(form, inputs, outside, [2, 2])
        for outside in (expanded, [each.clone() for each in expanded])
    ]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_repeats_bit_for_bit(form, device):
    grid = form == "grid"
    inputs, outside = _prepared((9, 8), (2, 2), 6, 4, torch.float32, "first", device, grid=grid)
    runs = [_y_and_gradients(form, inputs, outside, [2, 2]) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("target", [("90", "bfloat16", "first"), ("80", "float32", "last")])
def test_every_kernel_compiles_without_a_gpu(target):
    """The interpreter forgives what the compiler does not; ptxas tells of registers that spill."""
    script = Path(__file__).with_name("compile_kernels.py")
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, script, *target], capture_output=True, text=True, env=plain, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert [line for line in lines if not line.endswith("spilled 0")] == []


@pytest.mark.gpu
@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_decoder_sized_inputs(form, dtype, device):
    grid, stride = form == "grid", (2, 2, 2)
    inputs, outside = _prepared((33, 40, 47), stride, 64, 32, dtype, "last", device, grid=grid)
    if grid:
        forward = kernels.grid_forward(*inputs)
        expected = reference.grid_forward(*_double(inputs))
        grads = kernels.grid_backward(*outside, *inputs[:2], *forward[2:], *inputs[2:])
        exact = reference.grid_backward(
            *_double(outside), *_double(inputs[:2]), *expected[2:], *_double(inputs[2:])
        )
    else:
        forward = kernels.skip_forward(*inputs, list(stride))
        expected = reference.skip_forward(*_double(inputs), list(stride))
        grads = kernels.skip_backward(*outside, *inputs, list(stride))
        exact = reference.skip_backward(*_double(outside), *_double(inputs), list(stride))
    _same(forward[:2], expected[:2], [inputs[0], outside[1]], names=("y", "α"))
    _same(grads, exact, inputs, names=NAMES)


@pytest.mark.gpu
def test_offsets_beyond_two_to_the_31(device):
    x = torch.zeros(1, 16, 512, 512, 520, dtype=torch.bfloat16, device=device)
    x[..., -1] = 1
    phi = torch.zeros(1, 8, 256, 256, 260, dtype=torch.bfloat16, device=device)
    theta = torch.full((8, 16), 1 / 16, device=device)
    y, alpha = kernels.skip_forward(
        x, phi, theta, torch.ones(8, device=device), torch.zeros(1, device=device), [2, 2, 2]
    )
    last = torch.sigmoid(torch.tensor(8.0))
    torch.testing.assert_close(alpha[0, 0, -1, -1, -1].float().cpu(), last, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(y[0, -1, -1, -1, -1].float().cpu(), last, rtol=5e-3, atol=5e-3)
    assert y[..., :-1].abs().max() == 0
