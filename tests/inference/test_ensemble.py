"""Several models, mirror images and regions: sums of logits, and what is written from them."""

from itertools import product

import numpy as np
import pytest
import torch

from attnseg.errors import UsageError
from attnseg.images import read_image
from attnseg.inference import Predictor, resample_rows, stream_windows
from attnseg.inference.backends import ensemble, mirrored, torch_backend
from attnseg.models import load_model, load_spec, save_model
from attnseg.preprocessing import preprocess

CPU = torch.device("cpu")
WINDOW = torch.randn(1, 1, 12, 16, 8, generator=torch.Generator().manual_seed(0))
# Overlapping structures: everything, a part of it, and one that lies elsewhere.
REGIONS = (
    {"name": "whole", "members": (1, 2), "value": 7},
    {"name": "core", "members": (2,), "value": 300},
    {"name": "other", "members": (3,), "value": 1},
)


def test_an_ensemble_is_the_mean_of_its_members(make_model):
    networks = [load_model(make_model(seed=seed))[0] for seed in range(3)]
    with torch.no_grad():
        expected = torch.stack([network(WINDOW) for network in networks]).mean(dim=0)
        found = ensemble([torch_backend(network, CPU) for network in networks])(WINDOW)
    torch.testing.assert_close(found, expected)


def test_the_outputs_of_the_members_are_left_alone():
    """A sum in place must not fall on what a network still holds."""
    ones, twos = torch.ones(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 2.0)
    run = ensemble([lambda patches: patches, lambda patches: twos])
    for _ in range(2):
        torch.testing.assert_close(run(ones), torch.full_like(ones, 1.5))
    assert ones.eq(1).all()
    assert twos.eq(2).all()


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1), (0, 1, 2)])
def test_mirrored_equals_flipping_by_hand(make_model, axes):
    network, _ = load_model(make_model())
    with torch.no_grad():
        runs = []
        for chosen in product((False, True), repeat=len(axes)):
            dims = [2 + axis for axis, turn in zip(axes, chosen, strict=True) if turn]
            runs.append(network(WINDOW.flip(dims)).flip(dims))
        found = mirrored(torch_backend(network, CPU), axes)(WINDOW)
    assert len(runs) == 2 ** len(axes)
    torch.testing.assert_close(found, torch.stack(runs).mean(dim=0))


def test_a_mirror_symmetric_network_stays_as_it_is():
    kernel = torch.randn(2, 1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    symmetric = (kernel + kernel.flip(2)) / 2

    def network(patches):
        return torch.nn.functional.conv3d(patches, symmetric, padding=1)

    torch.testing.assert_close(mirrored(network, [0])(WINDOW), network(WINDOW))
    assert not torch.allclose(mirrored(network, [1])(WINDOW), network(WINDOW))


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_mirrored_slices(make_model, slice_axis):
    network, _ = load_model(make_model(slice_axis=slice_axis))
    window = WINDOW.narrow(2 + slice_axis, 0, 1)
    axes = [axis for axis in range(3) if axis != slice_axis]
    section = window.squeeze(2 + slice_axis)
    with torch.no_grad():
        found = mirrored(torch_backend(network, CPU, slice_axis=slice_axis), axes)(window)
        runs = [network(section.flip(dims)).flip(dims) for dims in ([], [2], [3], [2, 3])]
    expected = torch.stack(runs).mean(dim=0).unsqueeze(2 + slice_axis)
    torch.testing.assert_close(found, expected)


def logits_of(predictor, image):
    """What the predictor decides by, on the scan's spacing."""
    volume, grid = preprocess(image, predictor.spec.preprocessing)
    with torch.no_grad():
        rows = stream_windows(
            volume, predictor.runner, patch=predictor.spec.patch, overlap=predictor.overlap
        )
        rows = list(resample_rows(rows, grid))
    return torch.cat([block for _, block in rows], dim=1), grid


def test_labels_of_an_ensemble(make_model, make_scan):
    """Blending and resampling are linear, so the mean may be taken before or after."""
    image = read_image(make_scan())
    models = [make_model(seed=seed, name=f"m{seed}", spacing=(1.2, 1.0, 2.0)) for seed in (0, 1)]
    single = [logits_of(Predictor.load(model, device="cpu"), image)[0] for model in models]
    together = Predictor.load(models, device="cpu")
    mean, grid = logits_of(together, image)
    torch.testing.assert_close(mean, (single[0] + single[1]) / 2, atol=1e-4, rtol=1e-4)
    expected = grid.axes.undo(mean.argmax(dim=0).numpy())
    np.testing.assert_array_equal(together.predict(image).labels, expected)


def test_members_may_differ_in_depth_and_gates(make_model, make_scan):
    models = [
        make_model(name="a"),
        make_model(name="b", channels=1, gate="none", blocks_per_level=2),
    ]
    predictor = Predictor.load(models)
    assert predictor.predict(make_scan()).labels.shape == (13, 17, 9)
    alone = Predictor.load(models[0]).attention(make_scan())["0"]
    np.testing.assert_array_equal(predictor.attention(make_scan())["0"], alone)


def test_attention_of_an_ensemble_is_the_mean(make_model, make_scan):
    models = [make_model(seed=seed, name=f"m{seed}") for seed in (0, 1)]
    scan = make_scan()
    single = [Predictor.load(model).attention(scan)["0"] for model in models]
    found = Predictor.load(models).attention(scan)["0"]
    np.testing.assert_allclose(found, (single[0] + single[1]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"spacing": (2.0, 1.0, 1.0)}, "preprocessing"),
        ({"patch": (16, 16, 8)}, "patch"),
        ({"values": (0, 1, 3)}, "labels"),
        ({"channels": 2}, "preprocessing, channels"),
        ({"slice_axis": 2}, "patch, dimensions"),
        ({"values": (0, 1, 2, 3), "regions": REGIONS}, "labels, regions"),
    ],
)
def test_models_that_cannot_be_averaged(make_model, changes, named):
    models = [make_model(name="one"), make_model(name="two", **changes)]
    rule = rf"one\.safetensors and .*two\.safetensors: .* differ in {named} \("
    with pytest.raises(UsageError, match=rule) as caught:
        Predictor.load(models)
    assert "\n" not in str(caught.value)


def test_mirroring_along_the_axes_of_training(make_model, make_scan):
    image = read_image(make_scan())
    model = make_model(mirror_axes=(1, 2))
    plain = Predictor.load(model, device="cpu")
    turned = Predictor.load(model, device="cpu", mirror=True)
    assert plain.mirror_axes == []
    assert turned.mirror_axes == [1, 2]
    assert not torch.allclose(logits_of(plain, image)[0], logits_of(turned, image)[0])
    # Windows lie symmetrically where one covers the volume: then the whole is mirrored.
    small = read_image(make_scan("small", shape=(12, 16, 8), affine=np.eye(4)))
    _, grid = logits_of(plain, small)
    volume, _ = preprocess(small, plain.spec.preprocessing)
    with torch.no_grad():
        network = load_model(model)[0]
        runs = [network(volume[None].flip(dims)).flip(dims)[0] for dims in ([], [3], [4], [3, 4])]
    expected = grid.axes.undo(torch.stack(runs).mean(dim=0).argmax(dim=0).numpy())
    np.testing.assert_array_equal(turned.predict(small).labels, expected)


def test_mirroring_a_model_that_never_saw_it(make_model):
    with pytest.raises(UsageError, match="not trained with mirroring"):
        Predictor.load(make_model(), mirror=True)
    with pytest.raises(UsageError, match="not trained with mirroring"):
        Predictor.load(make_model(slice_axis=2, mirror_axes=(2,)), mirror=True)
    models = [make_model(name=f"m{axis}", mirror_axes=(axis, 2)) for axis in (0, 1)]
    assert Predictor.load(models, mirror=True).mirror_axes == [2]


def test_regions_are_written_in_order(make_model, make_scan):
    """Later regions overwrite earlier ones; what belongs to none is 0."""
    model = make_model(values=(0, 1, 2, 3), regions=REGIONS, seed=2)
    predictor = Predictor.load(model, device="cpu")
    image = read_image(make_scan())
    logits, grid = logits_of(predictor, image)
    expected = np.zeros(grid.source_shape, dtype=np.uint16)
    for region, channel in zip(REGIONS, logits, strict=True):
        expected[channel.numpy() > 0] = region["value"]
    segmentation = predictor.predict(image)
    np.testing.assert_array_equal(segmentation.labels, grid.axes.undo(expected))
    assert set(np.unique(segmentation.labels)) == {0, 1, 7, 300}, "each region occurs"
    assert segmentation.labels.dtype == predictor.label_type == np.uint16
    assert segmentation.names == {7: "whole", 300: "core", 1: "other"}


def test_a_region_is_where_its_sigmoid_exceeds_a_half(make_model, make_scan):
    """Networks forced to one logit a region: only their signs count."""
    model = make_model(values=(0, 1, 2, 3), regions=REGIONS)
    network, spec = load_model(model)
    torch.nn.init.zeros_(network.heads[0].weight)
    for logits, value in [((1, 1, -1), 300), ((1, -2, -1), 7), ((-9, 9, 1e-3), 1), ((0, 0, 0), 0)]:
        network.heads[0].bias.data = torch.tensor(logits, dtype=torch.float32)
        save_model(model, network, spec)
        labels = Predictor.load(model, device="cpu").predict(make_scan()).labels
        assert set(np.unique(labels)) == {value}


def test_one_network_needs_no_list(make_model):
    network, spec = load_model(make_model())
    assert Predictor(network, spec).networks == (network,)
    assert Predictor([network, network], spec).networks == (network, network)
    assert load_spec(make_model()) == spec
