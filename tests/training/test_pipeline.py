"""Random patches: where they lie, that draws repeat however the work is spread, what errors say."""

import os
import threading
from itertools import islice

import numpy as np
import pytest
import torch

from attnseg.config import AugmentationConfig, TrainingConfig
from attnseg.errors import DataError, RunError
from attnseg.spec import Architecture, Label, ModelSpec, Preprocessing, ZScore
from attnseg.training import pipeline
from attnseg.training.cache import CachedCase, foreground_sample
from attnseg.training.pipeline import PatchDataset, ahead, crop_around, make_loader, to_device

NO_AUGMENTATION = AugmentationConfig(spatial_probability=0, intensity_probability=0, mirror="none")
EVERYTHING = AugmentationConfig(
    spatial_probability=1, elastic_probability=1, intensity_probability=1, mirror="swap"
)
CPU = torch.device("cpu")
PLAIN = TrainingConfig(augmentation=NO_AUGMENTATION)
SHAPE = (20, 9, 14)


def make_spec(patch, *, channels=1, spatial_dims=3, spacing_mm=(1.0, 1.0, 1.0)) -> ModelSpec:
    net = Architecture(
        spatial_dims=spatial_dims,
        in_channels=channels,
        out_channels=3,
        channels=(4, 8),
        strides=((2,) * spatial_dims,),
        kernel_sizes=((3,) * spatial_dims,) * 2,
    )
    return ModelSpec(
        architecture=net,
        preprocessing=Preprocessing(spacing_mm=spacing_mm, normalization=(ZScore(),) * channels),
        channel_names=tuple(str(i) for i in range(channels)),
        labels=tuple(
            Label(value=i, name=name) for i, name in enumerate(("background", "left", "right"))
        ),
        patch=patch,
    )


@pytest.fixture
def make_case(tmp_path):
    def make(name, image, label, present=None) -> CachedCase:
        arrays = {"image": image, "label": label, "foreground": foreground_sample(label, 3, seed=0)}
        files = {part: tmp_path / f"{name}_{part}.npy" for part in arrays}
        for part, array in arrays.items():
            np.save(files[part], array)
        return CachedCase(name, **files, present=present)

    return make


@pytest.fixture
def cases(make_case):
    """Three cases whose image says where each voxel comes from."""
    made = []
    for number in range(3):
        label = np.zeros(SHAPE, dtype=np.int16)
        label[3:6, 2:5, 4:8] = 1
        label[18, 8, 13] = 2
        label[0, :, 0] = -1
        image = np.arange(label.size, dtype=np.float32).reshape(1, *SHAPE) + 1e5 * number
        made.append(make_case(str(number), image, label))
    return made


def batches(cases, spec, settings, count, **arguments):
    return list(islice(make_loader(cases, spec, settings, **arguments), count))


def assert_same(a, b):
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_crop_around_inside_and_beyond():
    volume = np.arange(24.0).reshape(1, 4, 6)
    np.testing.assert_array_equal(crop_around(volume, (2, 3), (2, 2)), volume[:, 1:3, 2:4])
    corner = crop_around(volume, (0, 0), (4, 4))
    np.testing.assert_array_equal(corner[:, 2:, 2:], volume[:, :2, :2])
    assert corner.sum() == volume[:, :2, :2].sum(), "zeros beyond the volume"


def test_foreground_sample_lists_every_class():
    labels = np.zeros((30, 20, 20), dtype=np.int16)
    labels[:15] = 1
    labels[29, 19, 19] = 2
    rows = foreground_sample(labels, 3, seed=0)
    assert (rows[:, 0] == 1).sum() == 2000
    np.testing.assert_array_equal(rows[rows[:, 0] == 2], [[2, 29, 19, 19]])
    np.testing.assert_array_equal(labels[tuple(rows[:, 1:].T)], rows[:, 0])
    assert len(foreground_sample(np.zeros((3, 3, 3), np.int16), 3, seed=0)) == 0


@pytest.mark.parametrize("patch", [(8, 9, 6), (7, 5, 3), (20, 9, 14)])
def test_without_augmentation_a_patch_is_a_piece_of_its_case(cases, patch):
    data = PatchDataset(cases, make_spec(patch), PLAIN)
    images = [np.load(case.image)[0] for case in cases]
    for number in range(12):
        sample = data[number]
        piece = sample["image"][0].numpy()
        case, first = divmod(int(piece[0, 0, 0]), 100_000)
        corner = np.unravel_index(first, SHAPE)
        where = tuple(slice(i, i + n) for i, n in zip(corner, patch, strict=True))
        np.testing.assert_array_equal(piece, images[case][where])
        np.testing.assert_array_equal(sample["label"][0].numpy(), np.load(cases[case].label)[where])
        assert sample["label"].dtype == torch.int64


@pytest.mark.parametrize("patch", [(8, 9, 1), (1, 5, 7), (6, 1, 6)])
def test_slices_are_pieces_of_their_case_too(cases, patch):
    spec = make_spec(patch, spatial_dims=2)
    data = PatchDataset(cases, spec, PLAIN)
    axis, slices = patch.index(1), set()
    for number in range(12):
        sample = data[number]
        piece = sample["image"].unsqueeze(axis + 1)[0].numpy()
        assert piece.shape == patch
        case, first = divmod(int(piece[0, 0, 0]), 100_000)
        corner = np.unravel_index(first, SHAPE)
        where = tuple(slice(i, i + n) for i, n in zip(corner, patch, strict=True))
        np.testing.assert_array_equal(piece, np.load(cases[case].image)[0][where])
        label = sample["label"].unsqueeze(axis + 1)[0].numpy()
        np.testing.assert_array_equal(label, np.load(cases[case].label)[where])
        slices.add(corner[axis])
    assert len(slices) > 3


def test_each_round_visits_every_case_once(cases):
    data = PatchDataset(cases, make_spec((8, 9, 6)), PLAIN)
    order = [int(data[number]["image"].max()) // 100_000 for number in range(12)]
    rounds = [order[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1, "in changing order"


@pytest.mark.parametrize(("patch", "dims"), [((4, 4, 4), 3), ((4, 4, 1), 2)])
def test_foreground_patches_hold_rare_classes_as_often(cases, patch, dims):
    settings = TrainingConfig(foreground_fraction=1.0, augmentation=NO_AUGMENTATION)
    data = PatchDataset(cases, make_spec(patch, spatial_dims=dims), settings)
    with_class = dict.fromkeys((1, 2), 0)
    for number in range(60):
        found = data[number]["label"].unique().tolist()
        assert set(found) & {1, 2}
        for value in with_class:
            with_class[value] += value in found
    assert min(with_class.values()) > 15, "the single voxel of class 2 counts like class 1"


def test_a_volume_smaller_than_the_patch_is_centred(cases):
    data = PatchDataset(cases, make_spec((32, 16, 16)), PLAIN)
    piece = data[0]["label"][0]
    assert piece.shape == (32, 16, 16)
    assert torch.nonzero(piece == 2)[0].tolist() == [18 + 6, 8 + 4, 13 + 1]


@pytest.mark.parametrize(
    ("patch", "dims"), [((9, 7, 5), 3), ((30, 4, 25), 3), ((11, 9, 1), 2), ((1, 3, 30), 2)]
)
def test_warped_patches_show_what_lies_where_they_look(make_case, patch, dims):
    """An image that says where it lies: whatever is in the volume is there, and its label."""
    shape = (26, 22, 30)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    label = (index[0] > 12).astype(np.int16)
    label[index[1] < 4] = -1
    case = make_case("places", index.astype(np.float32), label)
    warps = AugmentationConfig(
        spatial_probability=1, elastic_probability=1, intensity_probability=0, mirror="none"
    )
    data = PatchDataset(
        [case], make_spec(patch, channels=3, spatial_dims=dims), TrainingConfig(augmentation=warps)
    )
    compared = 0
    for number in range(10):
        crop = data.crop(number)
        sample = data.finish(crop)
        places = crop.warp.coordinates(crop.middle, device=CPU).flip(-1) + crop.image[:, 0, 0, 0]
        places = places.movedim(-1, 0).reshape(sample["image"].shape)
        last = torch.tensor(shape).reshape(3, *[1] * dims) - 1
        inside = ((places >= 0) & (places <= last)).all(dim=0)
        # OpenCV rounds positions to 1/32 voxel.
        shown, expected = sample["image"][:, inside], places[:, inside]
        torch.testing.assert_close(shown, expected, rtol=0, atol=1e-3 if dims == 3 else 0.02)
        r, a, _ = expected
        labels = torch.where(a < 3.5, -1, torch.where(r > 12.5, 1, 0))
        clear = ((r - 12.5).abs() > 0.02) & ((a - 3.5).abs() > 0.02)
        assert torch.equal(sample["label"][0, inside][clear], labels[clear])
        far = ((places < -1) | (places > last + 1)).any(dim=0)
        assert not sample["image"][:, far].any()
        assert not sample["label"][0, far].any()
        compared += int(clear.sum())
    assert compared > 100


def test_intensity_changes_leave_the_label_alone(cases):
    settings = TrainingConfig(
        augmentation=AugmentationConfig(
            spatial_probability=0, intensity_probability=1, mirror="none"
        )
    )
    changed, kept = (PatchDataset(cases, make_spec((8, 9, 6)), s)[0] for s in (settings, PLAIN))
    torch.testing.assert_close(changed["label"], kept["label"])
    assert not torch.allclose(changed["image"], kept["image"])


@pytest.mark.parametrize(
    ("patch", "channels"),
    [((8, 9, 6), 1), ((7, 11, 1), 1), ((7, 11, 5), 2), ((16, 16, 1), 3), ((5, 1, 9), 5)],
)
def test_everything_at_once_stays_finite_and_repeats(make_case, patch, channels):
    draws = np.random.default_rng(0)
    made = [
        make_case(
            str(number),
            draws.normal(size=(channels, *SHAPE)).astype(np.float32),
            draws.integers(-1, 3, SHAPE).astype(np.int16),
            present=(0, 1) if number else None,
        )
        for number in range(2)
    ]
    dims = 2 if 1 in patch else 3
    spec = make_spec(patch, channels=channels, spatial_dims=dims)
    settings = TrainingConfig(augmentation=EVERYTHING)
    found = batches(made, spec, settings, 6, batch_size=2, first=0)
    shape = tuple(n for n in patch if n > 1)
    for batch in found:
        assert batch["image"].shape == (2, channels, *shape)
        assert batch["image"].isfinite().all()
        assert batch["image"].dtype == torch.float32
        assert batch["label"].shape == (2, 1, *shape)
        assert set(batch["label"].unique().tolist()) <= {-1, 0, 1, 2}
        assert batch["present"].shape == (2, 3)
        assert sorted(batch["present"].sum(dim=1).tolist()) == [2, 3]
    assert (torch.cat([batch["label"] for batch in found]) == -1).any()
    swapped = {tuple(row) for batch in found for row in batch["present"].tolist()}
    mirrored = dims == 3 or patch[0] > 1
    assert ((True, False, True) in swapped) == mirrored, "right instead of left was drawn"
    assert_same(found, batches(made, spec, settings, 6, batch_size=2, first=0))


def test_draws_are_functions_of_seed_and_number(cases):
    def sample(number, *, seed=0):
        settings = TrainingConfig(seed=seed, augmentation=EVERYTHING)
        data = PatchDataset(cases, make_spec((8, 9, 6)), settings)
        data[number + 1]  # what was drawn before must not matter
        return data[number]["image"]

    assert torch.equal(sample(5), sample(5))
    assert not torch.equal(sample(5), sample(6))
    assert not torch.equal(sample(5), sample(5, seed=1))


@pytest.mark.parametrize(("patch", "dims"), [((8, 9, 6), 3), ((8, 9, 1), 2)])
def test_processes_share_the_samples_of_one(cases, patch, dims):
    spec, settings = make_spec(patch, spatial_dims=dims), TrainingConfig(augmentation=EVERYTHING)
    alone = batches(cases, spec, settings, 3, batch_size=4, first=8)
    shares = [
        batches(cases, spec, settings, 3, batch_size=4, first=8, process=p, processes=2)
        for p in range(2)
    ]
    for whole, even, odd in zip(alone, *shares, strict=True):
        assert_same([{name: values[0::2] for name, values in whole.items()}], [even])
        assert_same([{name: values[1::2] for name, values in whole.items()}], [odd])


def test_a_resumed_loader_goes_on_where_it_stopped(cases):
    spec, settings = make_spec((8, 9, 6)), TrainingConfig(augmentation=EVERYTHING)
    unbroken = batches(cases, spec, settings, 4, batch_size=2, first=0)
    assert_same(unbroken[3:], batches(cases, spec, settings, 1, batch_size=2, first=6))


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "dims"), [((8, 9, 6), 3), ((8, 9, 1), 2)])
def test_workers_give_the_same_samples_in_the_same_order(cases, patch, dims):
    spec = make_spec(patch, spatial_dims=dims)
    here, there = (
        batches(
            cases,
            spec,
            TrainingConfig(augmentation=EVERYTHING, workers=n),
            6,
            batch_size=2,
            first=3,
        )
        for n in (0, 2)
    )
    assert_same(here, there)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 4.0)])
def test_crops_augmented_after_loading_are_the_same_samples(cases, spacing_mm):
    """The way of a GPU, walked on the CPU."""
    spec = make_spec((8, 9, 6), spacing_mm=spacing_mm)
    settings = TrainingConfig(augmentation=EVERYTHING)
    data = PatchDataset(cases, spec, settings, raw=True)
    crops = iter([[data[0], data[1]], [data[2], data[3]]])
    later = list(to_device(crops, data, CPU))
    assert_same(later, batches(cases, spec, settings, 2, batch_size=2, first=0))


def test_ahead_keeps_the_order_and_passes_errors_on():
    def items():
        yield from (1, 2)
        raise DataError("the third")

    found = ahead(items())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(DataError, match="the third"):
        next(found)


def test_ahead_ends_its_thread():
    before = threading.active_count()
    found = ahead(iter(range(100)))
    assert next(found) == 0
    assert threading.active_count() == before + 1
    found.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_errors_name_the_case(cases, workers, damage):
    path = cases[1].image
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.unlink()
    settings = TrainingConfig(augmentation=EVERYTHING, workers=workers)
    loader = make_loader(cases, make_spec((8, 9, 6)), settings, batch_size=1, first=0)
    with pytest.raises(DataError) as caught:
        list(islice(loader, 3))
    message = str(caught.value)
    assert str(path) in message
    assert "--resume" in message
    assert "\n" not in message


def test_errors_of_augmentation_name_the_case_too(cases, monkeypatch):
    def fail(*_):
        raise MemoryError("no memory")

    monkeypatch.setattr(pipeline.Augmentation, "__call__", fail)
    data = PatchDataset(cases, make_spec((8, 9, 6)), PLAIN)
    with pytest.raises(DataError, match=r"[012]_image\.npy: .*MemoryError: no memory"):
        data.finish(data.crop(0))
    assert isinstance(data[0], DataError)


@pytest.mark.slow
def test_a_killed_worker_is_named(cases, monkeypatch):
    monkeypatch.setattr(PatchDataset, "__getitem__", lambda self, number: os.kill(os.getpid(), 9))
    loader = make_loader(
        cases, make_spec((8, 9, 6)), TrainingConfig(workers=1), batch_size=1, first=0
    )
    with pytest.raises(RunError, match=r"training\.workers \(now 1\)"):
        next(loader)
