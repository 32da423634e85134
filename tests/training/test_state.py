"""Running average and checkpoints."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from attnseg.config import TrainingConfig
from attnseg.errors import RunError
from attnseg.models import AttentionUNet
from attnseg.training.state import (
    GATE_PACE,
    make_optimizer,
    new_state,
    set_learning_rate,
    update_average,
)


def small(seed=0, **changes):
    torch.manual_seed(seed)
    return AttentionUNet(3, 1, 2, channels=(2, 4), strides=(2,), **changes)


def train_a_step(state):
    state.optimizer.zero_grad()
    state.network(torch.randn(1, 1, 8, 8, 8)).square().mean().backward()
    state.optimizer.step()
    state.step += 1


def test_average_closed_form():
    average, network = small(0, norm="batch"), small(1, norm="batch")
    before = {name: value.clone() for name, value in average.state_dict().items()}
    update_average(average, network, decay=0.9, step=10_000)
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            expected = 0.9 * before[name] + 0.1 * network.state_dict()[name]
            torch.testing.assert_close(value, expected)


def test_a_young_average_forgets_faster():
    average, network = small(0), small(1)
    before = average.heads[0].weight.clone()
    update_average(average, network, decay=0.99, step=0)
    expected = 0.1 * before + 0.9 * network.heads[0].weight
    torch.testing.assert_close(average.heads[0].weight, expected)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_checkpoint_continues_exactly(tmp_path, optimizer):
    settings = TrainingConfig(optimizer=optimizer)
    state = new_state(small(), settings)
    train_a_step(state)
    state.save(tmp_path / "last.ckpt")
    again = new_state(small(seed=5), settings)
    again.load(tmp_path / "last.ckpt")
    assert again.step == 1
    for each in (state, again):
        torch.manual_seed(3)
        train_a_step(each)
    for ours, theirs in zip(state.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_norms_and_biases_are_not_decayed():
    network = small(gate_finest=True)
    optimizer = make_optimizer(network, TrainingConfig(weight_decay=0.3))
    groups = optimizer.param_groups
    for group in groups:
        ndims = {min(p.ndim, 2) for p in group["params"]}
        assert ndims == {2 if group["weight_decay"] else 1}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_gates_learn_at_their_own_pace():
    network = small(gate_finest=True)
    optimizer = make_optimizer(network, TrainingConfig())
    set_learning_rate(optimizer, 0.1)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        expected = 0.1 * GATE_PACE if name.startswith("gates.") else 0.1
        assert rates[id(parameter)] == pytest.approx(expected), name


@pytest.mark.parametrize("damage", ["cut", "pickle", "missing", "other"])
def test_a_checkpoint_that_cannot_be_used(tmp_path, damage):
    path = tmp_path / "last.ckpt"
    state = new_state(small(), TrainingConfig())
    train_a_step(state)
    state.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "pickle":
        import pickle

        path.write_bytes(pickle.dumps(print))
    elif damage == "missing":
        path.unlink()
    else:
        state = new_state(AttentionUNet(3, 1, 2, channels=(3, 4), strides=(2,)), TrainingConfig())
    with pytest.raises(RunError, match="--overwrite") as caught:
        state.load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", torch.tensor(-1)),
        ("step", torch.tensor(2**62)),
        ("step", torch.tensor([1, 2])),
        ("seconds", torch.tensor(torch.nan)),
        ("seconds", torch.tensor(-1.0)),
        ("stale", torch.tensor(torch.inf)),
        ("network.heads.0.bias", torch.full((2,), torch.nan)),
        ("network.heads.0.bias", torch.zeros(2, dtype=torch.float64)),
        ("optimizer.0.exp_avg", torch.zeros(7)),
        ("optimizer.0.exp_avg", None),
    ],
)
def test_a_checkpoint_that_lies(tmp_path, name, value):
    path = tmp_path / "last.ckpt"
    state = new_state(small(), TrainingConfig())
    train_a_step(state)
    state.save(path)
    tensors = load_file(path)
    assert name in tensors
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    save_file(tensors, path)
    before = {key: each.clone() for key, each in state.network.state_dict().items()}
    with pytest.raises(RunError, match="--overwrite") as caught:
        state.load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert all(torch.equal(before[key], each) for key, each in state.network.state_dict().items())
