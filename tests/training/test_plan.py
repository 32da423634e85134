"""The plan against hand-derived numbers, and its file."""

from pathlib import Path

import pytest

from attnseg.config import load_config
from attnseg.datasets import Dataset, Fingerprint, Intensity
from attnseg.errors import DataError
from attnseg.spec import ClipZScore, ZScore
from attnseg.training.plan import load_plan, make_plan, save_plan

INTENSITY = Intensity(
    mean=100.0, std=25.0, percentile_00_5=-50.0, percentile_99_5=200.0, min=-1000.0, max=3000.0
)


def figures(shape, spacing, *, channels=1, values=(1, 2)):
    return Fingerprint(
        num_cases=10,
        median_shape=shape,
        median_spacing_mm=spacing,
        min_spacing_mm=spacing,
        max_spacing_mm=spacing,
        orientations={"RAS": 10},
        label_values=values,
        label_volumes_mm3=(1000.0,) * len(values),
        intensity=(INTENSITY,) * channels,
    )


def plan_for(shape, spacing, *, names=("MRI",), device="cpu", **settings):
    data = Dataset(Path("/data/toy"), "msd", (), names, {1: "front"})
    config = load_config(None, {k.replace("__", "."): v for k, v in settings.items()})
    return make_plan(config, data, figures(shape, spacing, channels=len(names)), device=device)


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
    assert 0.7 * 64**3 < voxels < 1.6 * 64**3
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


def test_every_number_has_a_reason_and_the_file_comes_back(tmp_path):
    plan = plan_for((35, 51, 35), (1.0, 1.0, 1.0))
    assert {"spacing_mm", "patch", "levels", "channels"} <= set(plan.reasons)
    save_plan(tmp_path / "plan.json", plan)
    assert load_plan(tmp_path / "plan.json") == plan
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match="start the run again"):
        load_plan(tmp_path / "plan.json")
