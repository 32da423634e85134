"""The network: sizes, gradients, options, state-dict keys, compilation."""

from itertools import product

import pytest
import torch

from attnseg.models import AttentionUNet, build_network


def network(dims=3, **changes):
    torch.manual_seed(0)
    arguments = {"channels": (4, 6, 8), "strides": (2, 2), **changes}
    return AttentionUNet(dims, 2, 3, **arguments)


SIZES = [(35, 51, 35), (33, 32, 32), (1, 32, 32), (32, 1, 5), (1, 1, 1), (2, 3, 64)]


@pytest.mark.parametrize("gate", ["grid", "skip", "none"])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_in_the_same_size_out(gate, size):
    net = network(gate=gate, channels=(4, 6, 8, 8), strides=(2, 2, 2)).eval()
    with torch.no_grad():
        logits = net(torch.randn(1, 2, *size))
    assert logits.shape == (1, 3, *size)
    assert torch.isfinite(logits).all()


CONFIGURATIONS = list(
    product(["grid", "skip", "none"], ["plain", "residual"], ["instance", "batch"], [2, 3])
)


@pytest.mark.parametrize(("gate", "block", "norm", "dims"), CONFIGURATIONS)
def test_every_parameter_receives_a_gradient(gate, block, norm, dims):
    net = network(
        dims,
        gate=gate,
        block=block,
        norm=norm,
        gate_finest=True,
        deep_supervision=1,
        blocks_per_level=2,
        strides=((2,) * dims, (1,) + (2,) * (dims - 1)),
        kernel_sizes=((3,) * dims, (3,) * (dims - 1) + (1,), (3,) * dims),
    )
    outputs, _ = net.forward_all(torch.randn(2, 2, *(9, 11, 7)[:dims]))
    sum((output**2).mean() for output in outputs).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_heads_lie_on_their_levels_grids():
    net = network(deep_supervision=2, channels=(4, 6, 8, 8), strides=(2, (1, 2, 2), 2))
    outputs, _ = net.forward_all(torch.randn(1, 2, 9, 11, 7))
    assert [tuple(o.shape[2:]) for o in outputs] == [(9, 11, 7), (5, 6, 4), (5, 3, 2)]


def test_the_first_head_is_the_prediction_and_attention_changes_nothing():
    net = network(deep_supervision=1).eval()
    x = torch.randn(1, 2, 9, 11, 7)
    with torch.no_grad():
        heads, maps = net.forward_all(x)
        torch.testing.assert_close(net(x), heads[0], rtol=0, atol=0)
    assert {name: tuple(a.shape) for name, a in maps.items()} == {"1": (1, 1, 5, 6, 4)}
    assert 0 < maps["1"].min() <= maps["1"].max() < 1


@pytest.mark.parametrize(
    ("gate", "finest", "expected"),
    [("grid", False, {"1"}), ("skip", True, {"0", "1"}), ("none", True, set())],
)
def test_which_skips_are_gated(gate, finest, expected):
    assert set(network(gate=gate, gate_finest=finest).gates) == expected


def test_a_closed_gate_closes_its_skip():
    """With ψ's bias at -∞ the decoder sees nothing of the skip: its weights cannot matter."""
    net = network(gate="grid", gate_finest=True).eval()
    for gate in net.gates.values():
        torch.nn.init.zeros_(gate.psi.weight)
        torch.nn.init.constant_(gate.psi.bias, -1e9)
    x = torch.randn(1, 2, 8, 8, 8)
    with torch.no_grad():
        before = net(x)
        for level, stack in enumerate(net.decoder):
            width = net.architecture.channels[level]
            stack[0].conv1.weight[:, :width] = 7.0  # the part that reads the skip
            stack[0].shortcut.weight[:, :width] = 7.0
        torch.testing.assert_close(net(x), before)


def test_state_dict_keys_are_stable():
    """Model files name their tensors so: renaming one breaks every file that is out there."""
    keys = set(network(channels=(4, 6), strides=(2,), gate_finest=True).state_dict())
    block = ["conv1.weight", "norm1.weight", "norm1.bias", "conv2.weight", "norm2.weight"]
    block += ["norm2.bias", "shortcut.weight"]
    expected = {
        f"{part}.0.{name}" for part in ("encoder.0", "encoder.1", "decoder.0") for name in block
    }
    expected |= {"upsamplings.0.weight", "upsamplings.0.bias", "heads.0.weight", "heads.0.bias"}
    expected |= {f"gates.0.{n}" for n in ("theta.weight", "phi.weight", "phi.bias")}
    expected |= {"gates.0.psi.weight", "gates.0.psi.bias"}
    assert keys == expected


def test_build_network_rebuilds_the_same():
    net = network(gate="skip", block="plain", norm="batch", deep_supervision=1, gate_finest=True)
    again = build_network(net.architecture)
    assert again.architecture == net.architecture
    again.load_state_dict(net.state_dict())
    x = torch.randn(2, 2, 8, 9, 7)
    torch.testing.assert_close(again(x), net(x))


def test_channels_last_gives_the_same_numbers():
    net = network().eval()
    x = torch.randn(1, 2, 9, 11, 7)
    with torch.no_grad():
        expected = net(x)
        found = net.channels_last()(x.contiguous(memory_format=torch.channels_last_3d))
    assert net.encoder[1][0].conv1.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, expected)


def test_instance_norm_equals_pytorchs():
    from attnseg.models.blocks import InstanceNorm

    ours, theirs = InstanceNorm(5), torch.nn.InstanceNorm3d(5, affine=True)
    torch.nn.init.normal_(ours.weight)
    torch.nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 4, 3, 2)
    torch.testing.assert_close(ours(x), theirs(x))
    one = ours(torch.randn(1, 5, 1, 1, 1))
    torch.testing.assert_close(one.flatten(), ours.bias)


@pytest.mark.parametrize("size", [(4, 3, 2), (5, 7), (1, 1, 1), (1, 1)])
@pytest.mark.parametrize("channels", [1, 5])
def test_instance_norm_has_the_gradient_of_group_norm_in_every_layout(size, channels):
    from attnseg.models.blocks import InstanceNorm, channels_last

    x = torch.randn(3, channels, *size, dtype=torch.float64)
    upstream = torch.randn_like(x)
    found = []
    for layout in (lambda t: t, channels_last):
        torch.manual_seed(1)
        norm = InstanceNorm(channels).double()
        torch.nn.init.normal_(norm.weight)
        given = layout(x.clone()).requires_grad_()
        norm(given).backward(upstream)
        found.append([given.grad, norm.weight.grad, norm.bias.grad])
    for plain, by_sample in zip(*found, strict=True):
        torch.testing.assert_close(by_sample, plain)


def test_gradients_of_the_network_do_not_depend_on_the_layout():
    x = torch.randn(2, 2, 9, 11, 7)
    nets = [network(), network()]
    nets[1].load_state_dict(nets[0].state_dict())
    first = nets[1].channels_last().encoder[0][0]
    assert "BySample" in type(first.norm1(first.conv1(x)).grad_fn).__name__
    for net in nets:
        logits, _ = net.forward_all(x)
        sum(each.square().mean() for each in logits).backward()
    for plain, last in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(last.grad, plain.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": (2,)}, "3 channels need 2 strides"),
        ({"strides": ((2, 2), 2)}, "needs 3 positive numbers"),
        ({"kernel_sizes": 2}, "must be odd"),
        ({"deep_supervision": 3}, "deep_supervision 3 exceeds"),
        ({"gate": "soft"}, "gate"),
        ({"channels": (1, 2, 4)}, "must be 2 or more"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        network(**changes)


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["grid", "skip"])
def test_compiles_as_one_graph_and_exports(gate):
    net = network(gate=gate).eval()
    x = torch.randn(1, 2, 9, 11, 7)
    with torch.no_grad():
        expected = net(x)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), expected)
        torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), expected)


@pytest.mark.parametrize("gate", ["grid", "skip"])
@pytest.mark.parametrize("size", [(16, 16), (13, 10, 9)])
def test_a_trace_holds_plain_operators_and_gives_the_same_logits(gate, size):
    dims = len(size)
    net = AttentionUNet(dims, 1, 2, channels=(4, 8, 8), strides=(2, 2), gate=gate, gate_finest=True)
    x = torch.randn(1, 1, *size)
    with torch.no_grad():
        traced = torch.jit.trace(net.eval(), x, check_trace=False)
        torch.testing.assert_close(traced(x), net(x))
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert all(kind.startswith(("aten::", "prim::")) for kind in kinds), kinds


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["grid", "skip"])
def test_an_export_keeps_one_node_for_each_gate(gate):
    net = AttentionUNet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2), gate=gate, gate_finest=True)
    x = torch.randn(1, 1, 13, 10, 9)
    program = torch.export.export(net.eval(), (x,))
    names = [str(node.target) for node in program.graph.nodes]
    assert sum("attention_gate" in name for name in names) == 2
    torch.testing.assert_close(program.module()(x), net(x))
