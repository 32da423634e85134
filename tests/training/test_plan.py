"""The plan against hand-derived numbers, and its file."""

from math import prod
from pathlib import Path

import pytest

from attnseg.config import load_config
from attnseg.datasets import Case, Dataset, Fingerprint, Intensity
from attnseg.errors import ConfigError, DataError
from attnseg.spec import ClipZScore, Region, ZScore
from attnseg.training.plan import check_plan, load_plan, make_plan, save_plan

INTENSITY = Intensity(
    mean=100.0, std=25.0, percentile_00_5=-50.0, percentile_99_5=200.0, min=-1000.0, max=3000.0
)


def figures(shape, spacing, *, channels=1, values=(1, 2), finest=None):
    return Fingerprint(
        num_cases=10,
        median_shape=shape,
        median_spacing_mm=spacing,
        min_spacing_mm=spacing,
        max_spacing_mm=spacing,
        min_extent_mm=(300.0, 300.0, 200.0),
        max_extent_mm=(460.0, 460.0, 700.0),
        percentile_10_spacing_mm=finest or spacing,
        orientations={"RAS": 10},
        label_values=values,
        label_volumes_mm3=(1000.0,) * len(values),
        intensity=(INTENSITY,) * channels,
    )


def plan_for(
    shape, spacing, *, names=("MRI",), device="cpu", data=None, finest=None, gpu_bytes=None,
    base=None, **settings
):  # fmt: skip
    data = data or Dataset(Path("/data/toy"), "msd", (), names, {1: "front"})
    config = load_config(None, {k.replace("__", "."): v for k, v in settings.items()})
    found = figures(shape, spacing, channels=len(data.channel_names), finest=finest)
    return make_plan(config, data, found, device=device, gpu_bytes=gpu_bytes, base=base)


def test_hippocampus_sized_scans():
    spec = plan_for((35, 51, 35), (1.0, 1.0, 1.0)).spec
    assert spec.patch == (40, 56, 40)
    assert spec.architecture.strides == ((2, 2, 2),) * 3
    assert spec.architecture.channels == (16, 32, 64, 128)
    assert spec.architecture.deep_supervision == 2
    assert spec.preprocessing.spacing_mm == (1.0, 1.0, 1.0)


def test_strongly_anisotropic_scans_are_not_halved_across_slices():
    net = plan_for((256, 256, 9), (1.25, 1.25, 8.0)).spec.architecture
    assert net.strides[:2] == ((2, 2, 1), (2, 2, 1)), "8 mm slices wait until 1.25 has become 5"
    assert net.kernel_sizes[:2] == ((3, 3, 1), (3, 3, 1))
    assert net.kernel_sizes[2] == (3, 3, 3)
    assert net.strides[3] == (2, 2, 1), "9 slices leave fewer than 4 after two halvings"


def test_large_scans_are_cut_to_the_budget():
    plan = plan_for((400, 400, 300), (0.8, 0.8, 1.0))
    voxels = plan.spec.patch[0] * plan.spec.patch[1] * plan.spec.patch[2]
    assert 0.7 * 48**3 < voxels <= 48**3
    mm = [n * s for n, s in zip(plan.spec.patch, (0.8, 0.8, 1.0), strict=True)]
    assert max(mm) < 1.5 * min(mm), "about as deep as wide"
    totals = plan.spec.architecture.total_stride
    assert all(n % total == 0 for n, total in zip(plan.spec.patch, totals, strict=True))
    large = plan_for((400, 400, 300), (0.8, 0.8, 1.0), device="cuda").spec.patch
    assert large[0] > 1.5 * plan.spec.patch[0]


def test_ct_is_clipped_and_other_channels_are_not():
    schemes = plan_for(
        (40, 40, 40), (1, 1, 1), names=("CT", "PET")
    ).spec.preprocessing.normalization
    assert schemes == (ClipZScore(low=-50, high=200, mean=100, std=25), ZScore())
    forced = plan_for((40, 40, 40), (1, 1, 1), names=("CT",), preprocessing__normalization="zscore")
    assert forced.spec.preprocessing.normalization == (ZScore(),)


def test_what_the_configuration_says_is_kept():
    spec = plan_for(
        (100, 100, 100),
        (1, 1, 1),
        model__patch=[33, 20, 17],
        model__channels=[4, 8, 12],
        preprocessing__spacing_mm=[2, 2, 2],
        model__gate="skip",
        model__deep_supervision=False,
    ).spec
    assert spec.patch == (33, 20, 17)
    assert spec.architecture.channels == (4, 8, 12)
    assert len(spec.architecture.strides) == 2
    assert spec.preprocessing.spacing_mm == (2, 2, 2)
    assert (spec.architecture.gate, spec.architecture.deep_supervision) == ("skip", 0)


def test_labels_get_their_names():
    labels = plan_for((40, 40, 40), (1, 1, 1)).spec.labels
    assert [(label.value, label.name) for label in labels] == [
        (0, "background"), (1, "front"), (2, "label 2"),
    ]  # fmt: skip


def test_thick_slices_are_brought_to_the_finer_scans():
    """nnU-Net's rule: slices over three times as thick as pixels, and few of them."""
    thick = plan_for((256, 256, 20), (1.0, 1.0, 8.0), finest=(0.8, 0.8, 5.0))
    assert thick.spec.preprocessing.spacing_mm == (1.0, 1.0, 5.0)
    assert "10th percentile" in thick.reasons["spacing_mm"]
    many = plan_for((256, 256, 200), (1.0, 1.0, 8.0), finest=(0.8, 0.8, 5.0))
    assert many.spec.preprocessing.spacing_mm == (1.0, 1.0, 8.0)
    mild = plan_for((256, 256, 60), (1.0, 1.0, 3.0), finest=(0.8, 0.8, 1.0))
    assert mild.spec.preprocessing.spacing_mm == (1.0, 1.0, 3.0)


def test_slices_lie_across_the_coarsest_axis():
    spec = plan_for((12, 256, 200), (6.0, 1.0, 1.2), model__dim="2d").spec
    assert spec.architecture.spatial_dims == 2
    assert spec.slice_axis == 0
    assert spec.patch[0] == 1
    assert min(spec.patch[1:]) > 100
    assert all(len(step) == 2 for step in spec.architecture.strides)
    with pytest.raises(ConfigError, match="must be 1 there"):
        plan_for((12, 64, 64), (6.0, 1.0, 1.0), model__dim="2d", model__patch=[8, 32, 32])


def test_pictures_are_2d():
    cases = (Case("a", (Path("a.png"),), Path("a_mask.png")),)
    data = Dataset(Path("/data"), "paired", cases, ("red", "green", "blue"), {1: "nucleus"})
    plan = plan_for((320, 256, 1), (1.0, 1.0, 1.0), data=data)
    assert plan.spec.patch[2] == 1
    assert plan.spec.architecture.in_channels == 3
    assert plan.batch_size == 4
    with pytest.raises(ConfigError, match="these are pictures"):
        plan_for((320, 256, 1), (1.0, 1.0, 1.0), data=data, model__dim="3d")


def test_regions_have_one_channel_each_and_no_background():
    regions = (
        Region(name="whole", members=(1, 2), value=1),
        Region(name="core", members=(2,), value=2),
    )
    data = Dataset(Path("/d"), "msd", (), ("MRI",), {}, (), None, regions)
    spec = plan_for((40, 40, 40), (1, 1, 1), data=data).spec
    assert spec.architecture.out_channels == 2
    assert spec.regions == regions
    assert spec.label_values == (0, 1, 2)


def test_more_gpu_memory_gives_a_larger_patch_and_then_a_larger_batch():
    voxels = {
        size: prod(plan_for((400, 400, 300), (1, 1, 1), device="cuda", gpu_bytes=size << 30)
                   .spec.patch)
        for size in (4, 8, 24)
    }  # fmt: skip
    assert voxels[4] < voxels[8] < voxels[24]
    small, large = (
        plan_for((40, 56, 40), (1, 1, 1), device="cuda", gpu_bytes=size << 20).batch_size
        for size in (256, 8192)
    )
    assert small < large == 16


def test_a_model_to_start_from_lends_its_network_and_grid():
    base = plan_for((64, 64, 64), (2.0, 2.0, 2.0), model__base_channels=8).spec
    spec = plan_for((35, 51, 35), (1.0, 1.0, 1.0), names=("MRI", "T2"), base=base).spec
    assert spec.architecture.channels == base.architecture.channels
    assert spec.architecture.in_channels == 2
    assert spec.patch == base.patch
    assert spec.preprocessing.spacing_mm == (2.0, 2.0, 2.0)


def test_left_and_right_forbid_mirroring_across_them():
    pair = Dataset(Path("/d"), "msd", (), ("CT",), {1: "RightParotid", 2: "LeftParotid"})
    everywhere = {"training__augmentation": {"mirror": "all"}}
    assert plan_for((40, 40, 40), (1, 1, 1), data=pair, **everywhere).spec.mirror_axes == (1, 2)
    assert plan_for((40, 40, 40), (1, 1, 1), **everywhere).spec.mirror_axes == (0, 1, 2)
    assert plan_for((40, 40, 40), (1, 1, 1)).spec.mirror_axes == (), "3D: anatomy lies one way"
    assert plan_for((40, 40, 40), (1, 1, 1), model__dim="2d").spec.mirror_axes == (0, 1)


def test_a_plan_for_other_data_is_refused(tmp_path):
    plan = plan_for((40, 40, 40), (1, 1, 1))
    data = Dataset(Path("/data/toy"), "msd", (), ("MRI",), {1: "front"})
    check_plan(plan, data, (1, 2), source="plan.json")
    with pytest.raises(ConfigError, match=r"plan.json: its labels are .*front"):
        check_plan(plan, data, (1,), source="plan.json")


def test_every_number_has_a_reason_and_the_file_comes_back(tmp_path):
    plan = plan_for((35, 51, 35), (1.0, 1.0, 1.0))
    assert {"spacing_mm", "patch", "levels", "channels", "batch_size", "dim"} <= set(plan.reasons)
    assert plan.disk_mb == pytest.approx(10 * 35 * 51 * 35 * 6 / 1e6, abs=0.1)
    save_plan(tmp_path / "plan.json", plan)
    assert load_plan(tmp_path / "plan.json") == plan
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match="attnseg plan DATA"):
        load_plan(tmp_path / "plan.json")
