"""Sides of names and mirroring: training, prediction and the check of data agree on every name."""

from pathlib import Path

import pytest
from side_names import PAIRS

from attnseg.config import AugmentationConfig, load_config
from attnseg.datasets import Dataset, Fingerprint, Intensity
from attnseg.sides import find_sides
from attnseg.spec import Region
from attnseg.training.mirroring import (
    exchange,
    mirroring_reason,
    prediction_mirror_axes,
    training_mirror_axes,
)
from attnseg.training.plan import Plan, make_plan

FLAT, DEEP = (8, 8, 1), (8, 8, 8)


def axes(names, mirror, patch=DEEP, regions=()):
    settings = AugmentationConfig(mirror=mirror)
    return tuple(
        find(names, settings, patch=patch, regions=regions)
        for find in (training_mirror_axes, prediction_mirror_axes)
    )


def plan(names: dict[int, str], *, regions=(), shape=(40, 40, 40), **settings: object) -> Plan:
    data = Dataset(Path("/d"), "msd", (), ("MRI",), names, (), None, tuple(regions))
    figures = Fingerprint(
        num_cases=10,
        median_shape=shape,
        median_spacing_mm=(1.0, 1.0, 1.0),
        min_spacing_mm=(1.0, 1.0, 1.0),
        max_spacing_mm=(1.0, 1.0, 1.0),
        min_extent_mm=(40.0, 40.0, 40.0),
        max_extent_mm=(40.0, 40.0, 40.0),
        percentile_10_spacing_mm=(1.0, 1.0, 1.0),
        orientations={"RAS": 10},
        label_values=tuple(names),
        label_volumes_mm3=(1000.0,) * len(names),
        intensity=(Intensity(100.0, 25.0, -50.0, 200.0, -1000.0, 3000.0),),
    )
    config = load_config(None, {key.replace("__", "."): value for key, value in settings.items()})
    return make_plan(config, data, figures, device="cpu")


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_what_the_check_calls_a_pair_is_never_mirrored(left: str, right: str) -> None:
    names = {0: "background", 3: left, 4: "spleen", 7: right}
    assert find_sides(names).pairs == ((3, 7),)
    assert axes(names, "all") == ((1, 2), (1, 2))
    assert axes(names, "auto", FLAT) == ((1,), (1,))
    assert axes(names, "swap") == ((0, 1, 2), (1, 2))
    assert exchange(names).pairs == ((3, 7),)


@pytest.mark.parametrize("dim", ["2d", "3d"])
@pytest.mark.parametrize("names", [("kidney_lt", "kidney_rt"), ("lung LT", "lung RT")])
def test_models_of_lt_and_rt_average_over_no_sides(names: tuple[str, str], dim: str) -> None:
    """What `predict --tta` mirrors along is the plan's `mirror_axes`."""
    labels = dict(enumerate(names, start=1))
    mirrored = {"training__augmentation": {"mirror": "auto" if dim == "2d" else "all"}}
    found = plan(labels, model__dim=dim, **mirrored)
    assert 0 not in found.spec.mirror_axes
    assert 1 in found.spec.mirror_axes
    assert found.reasons["mirroring"] == (
        f"not left–right, since labels are named by a side: {names[0]}, {names[1]}"
    )


def test_a_single_side_forbids_mirroring_and_exchange() -> None:
    names = {0: "background", 1: "liver", 2: "kidney_left"}
    assert axes(names, "all") == axes(names, "swap") == ((1, 2), (1, 2))
    reason = mirroring_reason(names, AugmentationConfig(mirror="swap"), patch=DEEP)
    assert reason is not None
    assert reason.startswith("not left–right, since nothing is the mirror image of kidney_left: ")
    assert axes({1: "liver"}, "all") == axes({1: "liver"}, "swap") == ((0, 1, 2), (0, 1, 2))


def test_regions_named_by_a_side_forbid_mirroring() -> None:
    """nnU-Net's regions: the labels have no names, and "label 1" says no side."""
    regions = (
        Region(name="lung_left", members=(1, 2), value=1),
        Region(name="lung_right", members=(3,), value=2),
    )
    names = {1: "label 1", 2: "label 2", 3: "label 3"}
    assert axes(names, "all", regions=regions) == ((1, 2), (1, 2))
    assert axes(names, "swap", regions=regions) == ((1, 2), (1, 2)), "two labels for one"
    assert {*exchange(names, regions).obstacles} == {"lung_left", "lung_right"}
    flat = plan(names, regions=regions, model__dim="2d")
    assert flat.spec.mirror_axes == (1,)


def test_regions_are_exchanged_with_their_labels() -> None:
    regions = [
        Region(name="kidneys", members=(1, 2), value=1),
        Region(name="kidney_left", members=(1,), value=2),
        Region(name="kidney_right", members=(2,), value=3),
    ]
    names = {0: "background", 1: "label 1", 2: "label 2"}
    found = exchange(names, regions)
    assert (found.pairs, found.obstacles) == (((1, 2),), ())
    assert axes(names, "swap", regions=regions) == ((0, 1, 2), (1, 2))
    one_sided = [*regions, Region(name="tumour", members=(1,), value=4)]
    assert exchange(names, one_sided).obstacles == ("tumour",)
    assert axes(names, "swap", regions=one_sided) == ((1, 2), (1, 2))


def test_the_plan_says_which_labels_change_places() -> None:
    found = plan({1: "LV", 2: "RV"}, training__augmentation={"mirror": "swap"})
    assert found.reasons["mirroring"].startswith("left–right too; change places: LV with RV; ")
    assert "mirroring" not in plan({1: "LV", 2: "RV"}).reasons, "3D: auto mirrors nothing"
