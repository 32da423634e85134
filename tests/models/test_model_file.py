"""The model file: exact round trip, and every way a file can be wrong."""

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from attnseg.errors import ModelFileError
from attnseg.figures import sound
from attnseg.models import (
    AttentionUNet,
    describe_model,
    load_model,
    load_spec,
    model_id,
    save_model,
    verify_model,
)
from attnseg.models.model_file import content_hash, sign
from attnseg.spec import ModelSpec


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,), gate_finest=True, norm="batch")
    net(torch.randn(2, 1, 8, 8, 8))  # gives the batch norms statistics of their own
    return net.channels_last()


@pytest.fixture
def spec(network):
    return ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 2.5), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["MRI"],
            "labels": [{"value": 0, "name": "background"}, {"value": 205, "name": "Herz ♥"}],
            "patch": (8, 8, 8),
            "provenance": {"dataset": "toy", "steps": 3},
        }
    )


@pytest.fixture
def path(tmp_path, network, spec):
    save_model(tmp_path / "model.safetensors", network, spec)
    return tmp_path / "model.safetensors"


def test_round_trip_is_exact(path, network, spec):
    again, their_spec = load_model(path)
    assert their_spec == spec == load_spec(path)
    assert not again.training
    ours, theirs = network.state_dict(), again.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    x = torch.randn(1, 1, 9, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(again(x), network.eval()(x))


def test_verify_and_show(path, spec):
    lines = verify_model(path)
    assert len(lines) == 4
    shown = describe_model(path)
    assert shown["labels"] == [label.model_dump() for label in spec.labels]
    assert shown["sha256"] == model_id(path)
    assert shown["sha256"] in lines[-1]


def test_others_may_read_the_file_as_the_umask_says(path):
    neighbour = path.with_name("neighbour")
    neighbour.touch()
    assert path.stat().st_mode == neighbour.stat().st_mode


def test_rules_of_after_processing_make_another_model(path, network, spec):
    def with_rules(*rules):
        changed = ModelSpec.model_validate(spec.model_dump() | {"after_processing": rules})
        save_model(path, network, changed)
        return model_id(path)

    plain = model_id(path)
    largest = with_rules({"value": 205, "largest_component": True})
    smaller = with_rules({"value": 205, "min_volume_mm3": 3})
    assert len({plain, largest, smaller}) == 3
    assert all(len(each) == 64 for each in (plain, largest, smaller))
    assert largest == with_rules({"value": 205, "largest_component": True, "fill_holes": False})
    assert with_rules() == plain
    assert verify_model(path)


def test_the_order_of_rules_is_no_matter(tmp_path, network, spec):
    labels = [{"value": v, "name": str(v)} for v in (0, 1, 2)]
    net = AttentionUNet(3, 1, 3, channels=(4, 6), strides=(2,))
    rules = [{"value": 1, "fill_holes": True}, {"value": 2, "fill_holes": True}]
    found = []
    for order in (rules, rules[::-1]):
        changes = {"architecture": net.architecture, "labels": labels, "after_processing": order}
        save_model(
            tmp_path / "m.safetensors", net, ModelSpec.model_validate(spec.model_dump() | changes)
        )
        found.append(model_id(tmp_path / "m.safetensors"))
    assert found[0] == found[1]


def test_a_file_from_before_there_were_rules(path):
    before = model_id(path)
    rewritten(path, spec_change=lambda raw: raw.pop("after_processing"))
    assert load_spec(path).after_processing == ()
    assert model_id(path) == before


def test_nothing_is_left_beside_the_file(path):
    assert [child.name for child in path.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_file_cut_short(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="not a whole safetensors file"):
        load_model(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_refused_unopened(tmp_path, network, legacy):
    file = tmp_path / "model.pt"
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelFileError, match=r"pickle .* can run code"):
        load_model(file)


def test_other_safetensors(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="no attnseg spec"):
        load_model(tmp_path / "other.safetensors")


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match="no such model file"):
        load_model(tmp_path / "none.safetensors")


def rewritten(path, *, spec_change=None, tensor_change=None):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    if spec_change:
        raw = json.loads(metadata["attnseg"])
        spec_change(raw)
        metadata |= sign(json.dumps(raw))
    if tensor_change:
        tensor_change(tensors)
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(extra=1), "extra: unknown key"),
        (lambda raw: raw.update(format=2), "format"),
        (lambda raw: raw["architecture"].update(gate="soft"), "architecture.gate"),
        (lambda raw: raw["labels"].pop(), "labels has 1 entries where the architecture needs 2"),
        (lambda raw: raw["labels"][0].update(value=3), "must be the background"),
        (lambda raw: raw["preprocessing"].update(spacing_mm=[1, 1, 0]), "greater than 0"),
    ],
)
def test_a_spec_that_breaks_the_schema(path, change, message):
    with pytest.raises(ModelFileError, match=message):
        load_model(rewritten(path, spec_change=change))


def test_weights_of_another_architecture(path):
    change = {"channels": [4, 8]}
    broken = rewritten(path, spec_change=lambda raw: raw["architecture"].update(change))
    with pytest.raises(ModelFileError, match="where the architecture needs"):
        load_model(broken)


def test_verify_finds_changed_and_broken_weights(path):
    def nudge(tensors):
        tensors["heads.0.bias"][0] += 1e-3

    def poison(tensors):
        tensors["heads.0.bias"][0] = float("nan")

    with pytest.raises(ModelFileError, match="SHA-256"):
        verify_model(rewritten(path, tensor_change=nudge))
    with pytest.raises(ModelFileError, match="NaN"):
        verify_model(rewritten(path, tensor_change=poison))


def _set(spec, value, *path):
    for key in path[:-1]:
        spec = spec[key]
    spec[path[-1]] = value


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("architecture", "blocks_per_level"), 10**9, "less than or equal to 32, got 1000000000"),
        (("architecture", "channels"), [10**6, 6], "less than or equal to 4096"),
        (("architecture", "channels"), [4] * 1000, "at most 16 items"),
        (("architecture", "kernel_sizes"), [[100_001] * 3, [3] * 3], "must be 31 or less"),
        (("architecture", "strides"), [[10**6] * 3], "must be 64 or less"),
        (("patch",), [10**6] * 3, "must hold 134,217,728 voxels or fewer"),
        (("preprocessing", "spacing_mm"), [1, 1, float("inf")], "finite number"),
        (("labels", 1, "value"), 2**70, "less than 9223372036854775808"),
        (("labels", 1, "name"), "x" * 100_000, "a name of 100,000 characters; give it 200"),
        (("labels", 1, "name"), "a\x1b[2Jb", "the control character '.x1b'"),
        (("channel_names", 0), "a\nb", "the control character '.n'"),
        (("labels", 1, "value"), "9" * 5000, "integer"),
    ],
)
def test_a_lie_in_the_spec_is_one_line_before_memory_is_asked_for(path, where, value, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(rewritten(path, spec_change=lambda spec: _set(spec, value, *where)))
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}", "{", "[]", "3"])
def test_a_spec_that_is_no_json_object(path, text):
    tensors = load_file(path)
    save_file(tensors, path, metadata={"attnseg": text, "sha256": ""})
    with pytest.raises(ModelFileError, match=r"model\.safetensors: "):
        load_spec(path)


@pytest.mark.parametrize("damage", ["one bit", "NaN", "no hash"])
def test_weights_that_are_not_those_that_were_saved_predict_nothing(path, damage):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = max(tensors, key=lambda each: tensors[each].numel())
    flat = tensors[name].reshape(-1)
    if damage == "one bit":
        flat.view(torch.int32)[3] ^= 1
    elif damage == "NaN":
        flat[3] = torch.nan
    else:
        del metadata["sha256"]
    save_file(tensors, path, metadata=metadata)
    message = "holds NaN" if damage == "NaN" else "do not match the SHA-256 in the file"
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


def test_a_spec_that_is_not_the_one_that_was_saved(path):
    content = path.read_bytes()
    assert content.count(b"Herz") == 1
    path.write_bytes(content.replace(b"Herz", b"Harz"))
    with pytest.raises(ModelFileError, match="spec does not match the SHA-256"):
        load_spec(path)


def test_a_file_from_before_specs_were_signed(path, spec):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata["spec_sha256"]
    save_file(load_file(path), path, metadata)
    assert load_model(path)[1] == spec


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("format",), "1", "format"),
        (("architecture", "in_channels"), True, "valid integer"),
        (("architecture", "out_channels"), "2", "valid integer"),
        (("patch",), ["8", 8, 8], "valid integer"),
        (("patch",), [8.0, 8, 8], "valid integer"),
        (("mirror_axes",), [0, 0], "each once"),
        (("mirror_axes",), [0] * 50_000, "each once"),
        (("architecture", "channels"), [4096, 4096], "parameters must have"),
        (("preprocessing", "spacing_mm"), [1e-300, 1, 1], "a spacing must lie between"),
    ],
)
def test_what_is_nearly_right_is_not_taken_for_it(path, where, value, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(rewritten(path, spec_change=lambda spec: _set(spec, value, *where)))
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


def test_a_key_that_stands_twice_in_the_spec(path):
    metadata = sign('{"format": 1, "format": 2}')
    save_file(load_file(path), path, metadata)
    with pytest.raises(ModelFileError, match="'format' is there twice"):
        load_spec(path)


@pytest.mark.parametrize("kind", ["half", "double"])
def test_weights_of_another_type(path, kind):
    tensors = {name: getattr(value, kind)() for name, value in load_file(path).items()}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata | {"sha256": content_hash(tensors)})
    with pytest.raises(ModelFileError, match="where weights are torch"):
        load_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for place in (pipe, folder):
        with pytest.raises(ModelFileError, match="not a file"):
            load_spec(place)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("median_shape", "<script>"),
        ("min_spacing_mm", [1, 2]),
        ("label_volumes_mm3", ["1"]),
        ("orientations", {"RAS": "many"}),
        ("intensity", [{"mean": "high"}]),
        ("label_volumes_mm3", None),
    ],
)
def test_figures_that_cannot_be_shown_are_left_out(key, value):
    right = {"median_spacing_mm": [1.0, 1, 2], "scanner": "ours"}
    assert sound(right | {key: value}) == right
    assert sound(right) == right
