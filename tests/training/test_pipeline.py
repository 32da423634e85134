"""Random patches: where they lie, and that each shows what lies there."""

import numpy as np
import pytest
import torch
from small_patches import make_case, make_spec, places_cases

from attnseg.config import AugmentationConfig, TrainingConfig
from attnseg.training.cache import foreground_sample
from attnseg.training.pipeline import PatchDataset, crop_around

NO_AUGMENTATION = AugmentationConfig(spatial_probability=0, intensity_probability=0, mirror="none")
PLAIN = TrainingConfig(augmentation=NO_AUGMENTATION)
CPU = torch.device("cpu")
SHAPE = (20, 9, 14)


@pytest.fixture
def cases(tmp_path):
    return places_cases(tmp_path)


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
def test_warped_patches_show_what_lies_where_they_look(tmp_path, patch, dims):
    """An image that says where it lies: whatever is in the volume is there, and its label."""
    shape = (26, 22, 30)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    label = (index[0] > 12).astype(np.int16)
    label[index[1] < 4] = -1
    case = make_case(tmp_path, "places", index.astype(np.float32), label)
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
