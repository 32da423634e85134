"""Batches: the same samples however the work is spread, and what errors say."""

import os
import pickle
import threading
from itertools import islice

import numpy as np
import pytest
import torch
from small_patches import make_case, make_spec, places_cases

from attnseg.config import AugmentationConfig, TrainingConfig
from attnseg.errors import DataError, RunError
from attnseg.training import pipeline
from attnseg.training.pipeline import PatchDataset, ahead, make_loader, to_device

EVERYTHING = AugmentationConfig(
    spatial_probability=1, elastic_probability=1, intensity_probability=1, mirror="swap"
)
SETTINGS = TrainingConfig(augmentation=EVERYTHING)
CPU = torch.device("cpu")
SHAPE = (20, 9, 14)


@pytest.fixture
def cases(tmp_path):
    return places_cases(tmp_path)


def batches(cases, spec, settings, count, **arguments):
    return list(islice(make_loader(cases, spec, settings, **arguments), count))


def assert_same(a, b):
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize(
    ("patch", "channels"),
    [((8, 9, 6), 1), ((7, 11, 1), 1), ((7, 11, 5), 2), ((16, 16, 1), 3), ((5, 1, 9), 5)],
)
def test_everything_at_once_stays_finite_and_repeats(tmp_path, patch, channels):
    draws = np.random.default_rng(0)
    made = [
        make_case(
            tmp_path,
            str(number),
            draws.normal(size=(channels, *SHAPE)).astype(np.float32),
            draws.integers(-1, 3, SHAPE).astype(np.int16),
            present=(0, 1) if number else None,
        )
        for number in range(2)
    ]
    dims = 2 if 1 in patch else 3
    spec = make_spec(patch, channels=channels, spatial_dims=dims)
    settings = SETTINGS
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
    spec, settings = make_spec(patch, spatial_dims=dims), SETTINGS
    alone = batches(cases, spec, settings, 3, batch_size=4, first=8)
    shares = [
        batches(cases, spec, settings, 3, batch_size=4, first=8, process=p, processes=2)
        for p in range(2)
    ]
    for whole, even, odd in zip(alone, *shares, strict=True):
        assert_same([{name: values[0::2] for name, values in whole.items()}], [even])
        assert_same([{name: values[1::2] for name, values in whole.items()}], [odd])


def test_a_resumed_loader_goes_on_where_it_stopped(cases):
    spec, settings = make_spec((8, 9, 6)), SETTINGS
    unbroken = batches(cases, spec, settings, 4, batch_size=2, first=0)
    assert_same(unbroken[3:], batches(cases, spec, settings, 1, batch_size=2, first=6))


@pytest.mark.parametrize(("patch", "dims"), [((8, 9, 6), 3), ((8, 9, 1), 2)])
def test_workers_that_start_from_nothing_can_be_sent_the_data(cases, patch, dims):
    """Where processes are spawned, the data set travels as a pickle."""
    data = PatchDataset(cases, make_spec(patch, spatial_dims=dims), SETTINGS)
    assert_same([data[3]], [pickle.loads(pickle.dumps(data))[3]])


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "dims"), [((8, 9, 6), 3), ((8, 9, 1), 2)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where one core is allowed
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
    settings = SETTINGS
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
    data = PatchDataset(cases, make_spec((8, 9, 6)), SETTINGS)
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
