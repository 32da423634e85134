"""The registered operators: PyTorch's own checks, compilation, export, awkward inputs."""

import subprocess
import sys

import pytest
import torch
from gate_inputs import gate_inputs, gradients_for, grid_equations, skip_equations
from torch import nn
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from attnseg.ops import attention_gate, blocked, grid_attention_gate, reference, registration

ARGUMENTS = ("x", "phi", "theta_weight", "psi_weight", "psi_bias")
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def inputs(size=(5, 4, 3), stride=(2, 2, 2), *, dtype=torch.float32, form="skip", grad=True):
    tensors = gate_inputs(size, stride, grid=form == "grid", channels=4, dtype=dtype)
    return [tensor.requires_grad_(grad) for tensor in tensors]


def gate(form, *tensors, stride=2, mode="linear"):
    if form == "grid":
        return grid_attention_gate(*tensors, mode=mode)
    return attention_gate(*tensors, stride=stride, mode=mode)


@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize(
    ("dtype", "last", "size", "stride", "mode"),
    [
        (torch.float32, False, (5, 4, 3), (2, 2, 2), "linear"),
        (torch.float64, True, (5, 4, 3), (1, 1, 1), "linear"),
        (torch.bfloat16, False, (5, 7), (2, 1), "nearest"),
    ],
)
def test_opcheck_forward(form, dtype, last, size, stride, mode):
    x, *rest = inputs(size, stride, dtype=dtype, form=form)
    if last:
        x = x.detach().contiguous(memory_format=LAST[len(size)]).requires_grad_()
    if form == "skip":
        opcheck(torch.ops.attnseg.attention_gate.default, (x, *rest, list(stride), mode))
    else:
        opcheck(torch.ops.attnseg.grid_attention_gate.default, (x, *rest, mode))


@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize("expanded", [False, True])
def test_opcheck_backward(form, expanded):
    tensors = inputs(grad=False, form=form)
    grad_y, grad_alpha = gradients_for(tensors[0])
    if expanded:  # as `y.sum().backward()` gives it: one number seen everywhere, stride 0
        grad_y = torch.ones(()).expand_as(tensors[0])
    if form == "skip":
        backward = torch.ops.attnseg.attention_gate_backward.default
        opcheck(backward, (grad_y, grad_alpha, *tensors, [2, 2, 2], "linear"))
    else:
        kept = reference.grid_forward(*tensors)[2:]
        backward = torch.ops.attnseg.grid_attention_gate_backward.default
        opcheck(backward, (grad_y, grad_alpha, *tensors[:2], *kept, *tensors[2:], "linear"))


@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("size", "stride"), [((4, 3), (1, 1)), ((5, 4), (2, 2)), ((1, 3, 2), (1, 2, 2))]
)
def test_gradcheck(form, mode, size, stride):
    tensors = inputs(size, stride, dtype=torch.float64, form=form)
    assert torch.autograd.gradcheck(
        lambda *arguments: gate(form, *arguments, stride=stride, mode=mode), tensors
    )


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_used_twice_in_one_graph_the_gradients_add(form):
    tensors = inputs(dtype=torch.float64, form=form)
    once = torch.autograd.grad(gate(form, *tensors)[0].sum(), tensors)
    both = sum(gate(form, *tensors)[0].sum() for _ in range(2))
    for single, double in zip(once, torch.autograd.grad(both, tensors), strict=True):
        torch.testing.assert_close(2 * single, double)


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_activation_checkpointing_gives_the_same_gradients(form):
    tensors = inputs(dtype=torch.float64, form=form)
    plain = torch.autograd.grad(gate(form, *tensors)[0].square().sum(), tensors)
    y, _ = checkpoint(lambda *arguments: gate(form, *arguments), *tensors, use_reentrant=False)
    for one, other in zip(plain, torch.autograd.grad(y.square().sum(), tensors), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_non_contiguous_input_and_gradient(form):
    tensors = inputs((4, 4, 4), dtype=torch.float64, form=form)
    turned = [tensors[0].detach().transpose(2, 4).requires_grad_(), *tensors[1:]]
    straight = [turned[0].detach().contiguous().requires_grad_(), *tensors[1:]]
    grad = torch.randn(2, 4, 4, 4, 4, dtype=torch.float64).transpose(2, 3)
    for found, expected in zip(
        torch.autograd.grad(gate(form, *turned)[0], turned, grad),
        torch.autograd.grad(gate(form, *straight)[0], straight, grad.contiguous()),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("size", "stride"),
    [((1, 1), (1, 1)), ((7, 9), (2, 2)), ((31, 5, 3), (2, 2, 2)), ((6, 5, 7), (1, 2, 3))],
)
def test_training_inference_and_tracing_agree(form, last, mode, size, stride):
    tensors = inputs(size, stride, dtype=torch.float64, form=form)
    if last:
        tensors[0] = tensors[0].detach().contiguous(memory_format=LAST[len(size)])
        tensors[0].requires_grad_()
    equations = grid_equations if form == "grid" else skip_equations
    places = () if form == "grid" else (stride,)
    expected = equations(*tensors, *places, mode)
    trained = gate(form, *tensors, stride=stride, mode=mode)
    with torch.no_grad():
        inferred = gate(form, *tensors, stride=stride, mode=mode)
        traced = torch.jit.trace(
            lambda *arguments: gate(form, *arguments, stride=stride, mode=mode),
            tuple(t.detach() for t in tensors), check_trace=False,
        )  # fmt: skip
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not any(kind.startswith("attnseg::") for kind in kinds)
    for found in (trained, inferred, traced(*tensors)):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert found[0].stride() == tensors[0].stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(40, 33, 70), (300, 200)])
@pytest.mark.parametrize("elements", [5000, 90_000])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("step", [2, 3])
def test_blocks_smaller_than_the_scan_give_the_values_of_the_reference(
    monkeypatch, dtype, size, elements, mode, step
):
    monkeypatch.setattr(blocked, "_ELEMENTS", elements)
    stride = [step] * len(size)
    tensors = inputs(size, tuple(stride), dtype=dtype, grad=False)
    found = blocked.skip_forward(*tensors, stride, mode)
    expected = reference.skip_forward(*tensors, stride, mode)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
def test_inference_skips_the_dispatcher():
    code = (
        "import sys, torch; from attnseg.ops import attention_gate, grid_attention_gate; "
        "x, phi, psi, b = torch.rand(1, 4, 3, 3), torch.rand(1, 2, 3, 3), torch.rand(2), "
        "torch.rand(1); "
        "attention_gate(x, phi, torch.rand(2, 4), psi, b); "
        "grid_attention_gate(x, phi, torch.rand(2, 4, 1, 1), psi, b); "
        "assert 'torch._dynamo' not in sys.modules, 'prediction would wait for torch._dynamo'; "
        "assert 'triton' not in sys.modules, 'a CPU needs no kernels'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_autocast_region(form):
    tensors = inputs(form=form)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, alpha = gate(form, tensors[0].bfloat16(), *tensors[1:])
    assert (y.dtype, alpha.dtype) == (torch.bfloat16, torch.bfloat16)
    # Only the inputs are rounded: what is inside the operator stays float32.
    with torch.no_grad():
        expected, _ = gate(form, tensors[0].bfloat16().float(), *tensors[1:])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inferred, _ = gate(form, tensors[0].bfloat16(), *tensors[1:])
    torch.testing.assert_close(y, expected.bfloat16())
    torch.testing.assert_close(inferred, y)
    (y.float().sum() + alpha.float().sum()).backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors)


class Gated(nn.Module):
    """One gate with its own weights, as a network holds it."""

    def __init__(self, form):
        super().__init__()
        _, _, *weights = inputs(grad=False, form=form)
        self.form, self.weights = form, nn.ParameterList(weights)

    def forward(self, x, phi):
        return gate(self.form, x, phi, *self.weights)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize("autocast", [False, True])
def test_compiles_as_one_graph(form, autocast):
    tensors = inputs(form=form)
    module = Gated(form)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        expected, found = module(*tensors[:2]), compiled(*tensors[:2])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    leaves = [*tensors[:2], *module.parameters()]
    grads = torch.autograd.grad(found[0].sum(), leaves)
    for ours, theirs in zip(grads, torch.autograd.grad(expected[0].sum(), leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["skip", "grid"])
def test_export_keeps_the_operator(form):
    module, tensors = Gated(form), tuple(inputs(grad=False, form=form)[:2])
    program = torch.export.export(module, tensors)
    names = [str(node.target) for node in program.graph.nodes]
    operator = "grid_attention_gate" if form == "grid" else "attention_gate"
    assert names.count(f"attnseg.{operator}.default") == 1
    for ours, theirs in zip(program.module()(*tensors), module(*tensors), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["skip", "grid"])
def test_data_parallel_gives_the_same_gradients(form, tmp_path):
    module, tensors = Gated(form), inputs(form=form)[:2]
    module(*tensors)[0].square().sum().backward()
    expected = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(module)
        wrapped(*tensors)[0].square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    for parameter, theirs in zip(module.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, theirs)


@pytest.mark.parametrize("form", ["skip", "grid"])
def test_nothing_large_is_kept_for_the_backward(form):
    """At most one element per voxel beyond the operator's inputs."""
    tensors = inputs((16, 16, 16), form=form)
    own = {tensor.data_ptr() for tensor in tensors}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        gate(form, *tensors)
    beyond = sum(tensor.numel() for tensor in kept if tensor.data_ptr() not in own)
    assert len(kept) >= 5
    assert beyond <= 2 * 16**3


@pytest.mark.parametrize("form", ["skip", "grid"])
@pytest.mark.parametrize("wrong", range(5))
def test_wrong_shapes_are_named(form, wrong):
    tensors = inputs(grad=False, form=form)
    tensors[wrong] = tensors[wrong][..., :-1] if wrong else tensors[0][:, :-1]
    name = ARGUMENTS[wrong] if wrong else "theta_weight"
    if form == "grid" and wrong == 2:
        name = "phi"  # a kernel of another size asks for another grid
    with pytest.raises(ValueError, match=rf"{name} is .* need"):
        gate(form, *tensors)


def test_wrong_stride_is_named():
    with pytest.raises(ValueError, match="stride"):
        attention_gate(*inputs(grad=False), stride=(2, 2))


def test_where_the_gate_is_computed_follows_the_device():
    x = torch.zeros(1)
    assert registration.forward_on(x, "skip") is blocked.skip_forward
    assert registration.forward_on(x, "grid") is reference.grid_forward
