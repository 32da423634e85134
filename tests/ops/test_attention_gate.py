"""The registered operator: PyTorch's own checks, compilation, export, awkward inputs."""

import subprocess
import sys

import pytest
import torch
from torch.library import opcheck

from attnseg.ops import attention_gate, reference, registration

ARGUMENTS = ("x", "phi", "theta_weight", "psi_weight", "psi_bias")


def inputs(size=(5, 4, 3), stride=(2, 2, 2), *, dtype=torch.float32, grad=True):
    generator = torch.Generator().manual_seed(1)
    coarse = [-(-n // step) for n, step in zip(size, stride, strict=True)]
    shapes = [(2, 4, *size), (2, 3, *coarse), (3, 4), (3,), (1,)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [tensor.requires_grad_(grad) for tensor in tensors]


@pytest.mark.parametrize(
    ("dtype", "layout", "size", "stride"),
    [
        (torch.float32, torch.contiguous_format, (5, 4, 3), (2, 2, 2)),
        (torch.float64, torch.channels_last_3d, (5, 4, 3), (1, 1, 1)),
        (torch.bfloat16, torch.contiguous_format, (5, 7), (2, 1)),
    ],
)
def test_opcheck_forward(dtype, layout, size, stride):
    x, *rest = inputs(size, stride, dtype=dtype)
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    opcheck(torch.ops.attnseg.attention_gate.default, (x, *rest, list(stride)))


@pytest.mark.parametrize("expanded", [False, True])
def test_opcheck_backward(expanded):
    tensors = inputs(grad=False)
    x = tensors[0]
    grad_alpha = torch.randn(2, 1, *x.shape[2:])
    # As `y.sum().backward()` gives it: one number seen everywhere, stride 0.
    grad_y = torch.ones(()).expand_as(x) if expanded else torch.randn_like(x)
    opcheck(
        torch.ops.attnseg.attention_gate_backward.default,
        (grad_y, grad_alpha, *tensors, [2, 2, 2]),
    )


@pytest.mark.parametrize(
    ("size", "stride"), [((4, 3), (1, 1)), ((5, 4), (2, 2)), ((1, 3, 2), (1, 2, 2))]
)
def test_gradcheck(size, stride):
    tensors = inputs(size, stride, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *arguments: attention_gate(*arguments, stride=stride), tensors
    )


def test_used_twice_in_one_graph_the_gradients_add():
    tensors = inputs(dtype=torch.float64)
    once = torch.autograd.grad(attention_gate(*tensors, stride=2)[0].sum(), tensors)
    both = sum(attention_gate(*tensors, stride=2)[0].sum() for _ in range(2))
    for single, double in zip(once, torch.autograd.grad(both, tensors), strict=True):
        torch.testing.assert_close(2 * single, double)


def test_non_contiguous_input_and_gradient():
    tensors = inputs((4, 4, 4), (1, 1, 1), dtype=torch.float64)
    turned = [tensors[0].detach().transpose(2, 4).requires_grad_(), *tensors[1:]]
    straight = [turned[0].detach().contiguous().requires_grad_(), *tensors[1:]]
    grad = torch.randn(2, 4, 4, 4, 4, dtype=torch.float64).transpose(2, 3)
    for found, expected in zip(
        torch.autograd.grad(attention_gate(*turned)[0], turned, grad),
        torch.autograd.grad(attention_gate(*straight)[0], straight, grad.contiguous()),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_inference_equals_the_operator_and_skips_the_dispatcher():
    tensors = inputs()
    expected = registration.attention_gate(*tensors, [2, 2, 2])
    with torch.no_grad():
        found = attention_gate(*tensors, stride=2)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    code = (
        "import sys, torch; from attnseg.ops import attention_gate; "
        "attention_gate(torch.rand(1, 4, 3, 3), torch.rand(1, 2, 3, 3), torch.rand(2, 4), "
        "torch.rand(2), torch.rand(1)); "
        "assert 'torch._dynamo' not in sys.modules, 'prediction would wait for torch._dynamo'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_autocast_region():
    tensors = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, alpha = attention_gate(tensors[0].bfloat16(), *tensors[1:], stride=2)
    assert y.dtype == torch.bfloat16
    expected, _ = reference.attention_gate_forward(*[t.detach() for t in tensors], [2, 2, 2])
    torch.testing.assert_close(y.float(), expected, atol=0.03, rtol=0.03)
    (y.float().sum() + alpha.float().sum()).backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors)


@pytest.mark.slow
def test_compiles_as_one_graph():
    tensors = inputs()
    compiled = torch.compile(
        lambda *arguments: attention_gate(*arguments, stride=2), fullgraph=True, backend="aot_eager"
    )
    expected, found = attention_gate(*tensors, stride=2), compiled(*tensors)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    grads = torch.autograd.grad(found[0].sum(), tensors)
    for ours, theirs in zip(grads, torch.autograd.grad(expected[0].sum(), tensors), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
def test_export_keeps_the_operator():
    class Gate(torch.nn.Module):
        def forward(self, x, phi, theta_weight, psi_weight, psi_bias):
            return attention_gate(x, phi, theta_weight, psi_weight, psi_bias, stride=2)

    tensors = tuple(inputs(grad=False))
    program = torch.export.export(Gate(), tensors)
    names = [str(node.target) for node in program.graph.nodes]
    assert names.count("attnseg.attention_gate.default") == 1
    for ours, theirs in zip(
        program.module()(*tensors), attention_gate(*tensors, stride=2), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("wrong", range(5))
def test_wrong_shapes_are_named(wrong):
    tensors = inputs(grad=False)
    tensors[wrong] = tensors[wrong][..., :-1] if wrong else tensors[0][:, :-1]
    name = ARGUMENTS[wrong] if wrong else "theta_weight"
    with pytest.raises(ValueError, match=rf"{name} is .* need"):
        attention_gate(*tensors, stride=2)


def test_wrong_stride_is_named():
    with pytest.raises(ValueError, match="stride"):
        attention_gate(*inputs(grad=False), stride=(2, 2))
