"""Fine-tuning: what is copied, averaged and made anew."""

import pytest
import torch

from attnseg.models import build_network
from attnseg.spec import Architecture, Label, ModelSpec, Preprocessing, ZScore
from attnseg.training.adapt import adapt_weights, summary


def spec_of(inputs, labels, **architecture):
    net = Architecture(
        spatial_dims=3, in_channels=len(inputs), out_channels=1 + len(labels),
        **{"channels": (4, 8, 8), "strides": ((2, 2, 2),) * 2, "kernel_sizes": ((3, 3, 3),) * 3,
           "deep_supervision": 1} | architecture,
    )  # fmt: skip
    return ModelSpec(
        architecture=net,
        preprocessing=Preprocessing(
            spacing_mm=(1.0, 1.0, 1.0), normalization=(ZScore(),) * len(inputs)
        ),
        channel_names=inputs,
        labels=tuple(Label(value=i, name=n) for i, n in enumerate(("background", *labels))),
        patch=(16, 16, 16),
    )


def adapt(spec, source_spec):
    torch.manual_seed(1)
    source = build_network(source_spec.architecture)
    torch.manual_seed(2)
    network = build_network(spec.architecture)
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    told = {each.tensor: each.how for each in adapt_weights(network, spec, source, source_spec)}
    return network, source, fresh, told


def test_the_same_task_is_the_same_network():
    spec = spec_of(("T1",), ("liver", "spleen"))
    network, source, _, told = adapt(spec, spec)
    assert set(told.values()) == {"copied"}
    x = torch.randn(1, 1, 9, 11, 7)
    assert torch.equal(network(x), source(x))


def test_labels_are_found_by_name_and_new_ones_start_fresh():
    source_spec = spec_of(("T1",), ("liver", "spleen", "kidney"))
    spec = spec_of(("T1",), ("Kidney", "tumour"))
    network, source, fresh, told = adapt(spec, source_spec)
    for head in ("heads.0.weight", "heads.1.bias"):
        ours, theirs = network.state_dict()[head], source.state_dict()[head]
        assert torch.equal(ours[0], theirs[0]), "background"
        assert torch.equal(ours[1], theirs[3]), "kidney"
        assert torch.equal(ours[2], fresh[head][2]), "tumour"
        assert told[head] == "2 row(s) copied by label name, 1 re-initialised"


def test_channels_are_found_by_name_and_unknown_ones_get_the_mean():
    source_spec = spec_of(("T1", "T2"), ("liver",))
    spec = spec_of(("FLAIR", "T2", "T1"), ("liver",))
    network, source, _, told = adapt(spec, source_spec)
    for name in ("encoder.0.0.conv1.weight", "encoder.0.0.shortcut.weight"):
        ours, theirs = network.state_dict()[name], source.state_dict()[name]
        assert torch.equal(ours[:, 1], theirs[:, 1])
        assert torch.equal(ours[:, 2], theirs[:, 0])
        torch.testing.assert_close(ours[:, 0], theirs.mean(dim=1))
        assert told[name] == "2 channel(s) copied by name, 1 averaged"


def test_a_grey_model_sees_in_three_equal_colours_what_it_saw_in_grey():
    source_spec = spec_of(("image",), ("nucleus",))
    spec = spec_of(("red", "green", "blue"), ("nucleus",))
    network, source, _, told = adapt(spec, source_spec)
    assert told["encoder.0.0.conv1.weight"] == "0 channel(s) copied by name, 3 averaged"
    grey = torch.randn(2, 1, 8, 9, 10)
    torch.testing.assert_close(network(grey.expand(-1, 3, -1, -1, -1)), source(grey))


def test_another_name_for_the_only_channel_is_no_other_channel():
    _, _, _, told = adapt(spec_of(("MRI",), ("liver",)), spec_of(("T1",), ("liver",)))
    assert set(told.values()) == {"copied"}


@pytest.mark.parametrize("change", [{"channels": (4, 8, 12)}, {"gate": "none"}])
def test_what_has_another_shape_is_told(change):
    network, _, fresh, told = adapt(
        spec_of(("T1",), ("liver",), **change), spec_of(("T1",), ("liver",))
    )
    new = [name for name, how in told.items() if how == "re-initialised"]
    for name in new:
        assert torch.equal(network.state_dict()[name], fresh[name])
    assert bool(new) == ("channels" in change), "without gates nothing is missing"


def test_the_summary_names_what_is_not_copied():
    spec, source_spec = spec_of(("T1",), ("a", "b")), spec_of(("T1",), ("a",))
    rows = adapt_weights(
        build_network(spec.architecture), spec, build_network(source_spec.architecture), source_spec
    )
    text = summary(rows)
    assert text[0] == f"{len(rows) - 4} of {len(rows)} tensors copied"
    assert len(text) == 5, "weights and biases of two heads"
