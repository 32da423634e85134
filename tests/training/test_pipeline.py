"""Random patches: where they lie, that image and label stay together, that draws repeat."""

import numpy as np
import pytest
import torch

from attnseg.config import AugmentationConfig, TrainingConfig
from attnseg.training.cache import CachedCase, foreground_sample
from attnseg.training.pipeline import PatchDataset, augmentation, crop_around, make_loader

NO_AUGMENTATION = AugmentationConfig(spatial_probability=0, intensity_probability=0)


@pytest.fixture
def cases(tmp_path):
    """Three cases whose image says where each voxel comes from."""
    made = []
    for number in range(3):
        shape = (20, 9, 14)
        label = np.zeros(shape, dtype=np.int16)
        label[3:6, 2:5, 4:8] = 1
        label[18, 8, 13] = 2
        image = np.arange(label.size, dtype=np.float32).reshape(1, *shape) + 1e5 * number
        arrays = {"image": image, "label": label, "foreground": foreground_sample(label, 3, seed=0)}
        files = {name: tmp_path / f"{number}_{name}.npy" for name in arrays}
        for name, array in arrays.items():
            np.save(files[name], array)
        made.append(CachedCase(**files))
    return made


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


def test_without_augmentation_a_patch_is_a_piece_of_its_case(cases):
    settings = TrainingConfig(augmentation=NO_AUGMENTATION)
    data = PatchDataset(cases, (8, 9, 6), settings)
    images = [np.load(case.image)[0] for case in cases]
    for number in range(12):
        sample = data[number]
        piece = sample["image"][0].numpy()
        case, first = divmod(int(piece[0, 0, 0]), 100_000)
        i, j, k = np.unravel_index(first, images[case].shape)
        np.testing.assert_array_equal(piece, images[case][i : i + 8, j : j + 9, k : k + 6])
        labels = np.load(cases[case].label)[i : i + 8, j : j + 9, k : k + 6]
        np.testing.assert_array_equal(sample["label"][0].numpy(), labels)


def test_each_round_visits_every_case_once(cases):
    data = PatchDataset(cases, (8, 9, 6), TrainingConfig(augmentation=NO_AUGMENTATION))
    order = [int(data[number]["image"].max()) // 100_000 for number in range(12)]
    rounds = [order[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1, "in changing order"


def test_foreground_patches_hold_rare_classes_as_often(cases):
    settings = TrainingConfig(foreground_fraction=1.0, augmentation=NO_AUGMENTATION)
    data = PatchDataset(cases, (4, 4, 4), settings)
    with_class = dict.fromkeys((1, 2), 0)
    for number in range(60):
        found = data[number]["label"].unique().tolist()
        assert set(found) - {0.0}
        for value in with_class:
            with_class[value] += value in found
    assert min(with_class.values()) > 15, "the single voxel of class 2 counts like class 1"


def test_a_volume_smaller_than_the_patch_is_centred(cases):
    data = PatchDataset(cases, (32, 16, 16), TrainingConfig(augmentation=NO_AUGMENTATION))
    piece = data[0]["label"][0]
    assert piece.shape == (32, 16, 16)
    assert torch.nonzero(piece == 2)[0].tolist() == [18 + 6, 8 + 4, 13 + 1]


def test_image_and_label_move_together(cases):
    """Rotated and scaled together: where the label says 1 the image shows it."""
    settings = AugmentationConfig(
        spatial_probability=1, intensity_probability=0, rotation_degrees=30, scale=0.2
    )
    augment = augmentation(settings, (24, 24, 24))
    label = torch.zeros(1, 30, 30, 30)
    label[:, 8:22, 10:20, 12:18] = 1
    agreement = []
    for seed in range(5):
        augment.set_random_state(seed=seed)
        sample = augment({"image": label * 10, "label": label})
        assert set(sample["label"].unique().tolist()) == {0.0, 1.0}
        agreement.append(((sample["image"] > 5) == (sample["label"] > 0)).float().mean().item())
        assert not torch.equal(sample["label"], label[:, 3:27, 3:27, 3:27])
    assert min(agreement) > 0.99


def test_intensity_changes_leave_the_label_alone(cases):
    settings = TrainingConfig(
        augmentation=AugmentationConfig(spatial_probability=0, intensity_probability=1)
    )
    plain = TrainingConfig(augmentation=NO_AUGMENTATION)
    changed, kept = (PatchDataset(cases, (8, 9, 6), s)[0] for s in (settings, plain))
    torch.testing.assert_close(changed["label"], kept["label"])
    assert not torch.allclose(changed["image"], kept["image"])


def test_draws_are_functions_of_seed_and_number(cases):
    def sample(number, *, seed=0):
        settings = TrainingConfig(seed=seed, augmentation=AugmentationConfig(spatial_probability=1))
        data = PatchDataset(cases, (8, 9, 6), settings)
        data[number + 1]  # what was drawn before must not matter
        return data[number]["image"]

    assert torch.equal(sample(5), sample(5))
    assert not torch.equal(sample(5), sample(6))
    assert not torch.equal(sample(5), sample(5, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_loader_goes_on_where_it_stopped(cases, workers):
    settings = TrainingConfig(batch_size=2, workers=workers)
    unbroken = iter(make_loader(cases, (8, 9, 6), settings, first=0))
    batches = [next(unbroken) for _ in range(4)]
    resumed = next(iter(make_loader(cases, (8, 9, 6), settings, first=6)))
    for name in ("image", "label"):
        assert torch.equal(batches[3][name], resumed[name])
