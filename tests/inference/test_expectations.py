"""Scans beside training: what is said, and above all what is not."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets import find_dataset, fingerprint, inspect_dataset
from attnseg.images import Geometry, Image, read_case
from attnseg.inference import surprises
from attnseg.spec import ModelSpec

CT = {"scheme": "ct", "low": -100.0, "high": 240.0, "mean": 80.0, "std": 30.0}
FINGERPRINT = {
    "min_spacing_mm": [0.6, 0.6, 0.7],
    "max_spacing_mm": [0.9, 0.9, 3.0],
    "min_extent_mm": [300.0, 300.0, 200.0],
    "max_extent_mm": [460.0, 460.0, 700.0],
    "intensity": [{"percentile_00_5": -100.0, "percentile_99_5": 240.0, "min": -1024.0}],
}


def spec(prints=FINGERPRINT, *, schemes=(CT,), names=("CT",)):
    return ModelSpec.model_validate(
        {
            "architecture": {
                "spatial_dims": 3,
                "in_channels": len(schemes),
                "out_channels": 2,
                "channels": (4, 8),
                "strides": ((2, 2, 2),),
                "kernel_sizes": ((3, 3, 3),) * 2,
            },
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": schemes},
            "channel_names": names,
            "labels": [{"value": 0, "name": "background"}, {"value": 1, "name": "liver"}],
            "patch": (8, 8, 8),
            "fingerprint": prints,
        }
    )


def scan(*, shape=(50, 50, 40), spacing=(7.5, 7.5, 7.5), axes=(0, 1, 2), values=None, path=None):
    """`axes` gives for I, J, K the world axis along which it runs."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for voxel, world in enumerate(axes):
        affine[world, voxel] = -spacing[voxel]
    if values is None:
        values = np.linspace(-1000, 1200, int(np.prod(shape))).reshape(shape)
    return Image(values[None].astype(np.float32), Geometry(shape, affine), None, path)


def empty(shape, spacing):
    """A scan of no channels: a place alone, however large."""
    return Image(np.empty((0, *shape)), Geometry(shape, np.diag([*spacing, 1.0])))


def told(image, model=None):
    return surprises(image, model or spec())


def test_a_scan_like_the_others_is_no_surprise():
    for spacing in ((0.7, 0.7, 1.0), (0.6, 0.9, 3.0), (1.3, 1.3, 4.4), (0.2, 0.7, 0.5)):
        shape = tuple(round(mm / each) for mm, each in zip((390, 390, 350), spacing, strict=True))
        assert told(empty(shape, spacing)) == []


def test_thick_slices_are_named():
    image = scan(shape=(50, 50, 40), spacing=(7.0, 7.0, 7.5))
    assert told(image) == [
        "spacing 7 mm along R; training 0.6–0.9 mm",
        "spacing 7 mm along A; training 0.6–0.9 mm",
        "spacing 7.5 mm along S; training 0.7–3 mm",
    ]
    values = np.linspace(-1000, 1000, 450 * 450 * 46).reshape(450, 450, 46)
    axial = scan(shape=(450, 450, 46), spacing=(0.8, 0.8, 7.5), values=values)
    assert told(axial) == ["slice thickness 7.5 mm along S; training 0.7–3 mm"]
    # The same stored with the slices first, and slices of another plane.
    first = scan(shape=(46, 450, 450), spacing=(7.5, 0.8, 0.8), axes=(2, 0, 1), values=values.T)
    assert told(first) == ["slice thickness 7.5 mm along S; training 0.7–3 mm"]
    coronal = scan(shape=(450, 46, 450), spacing=(0.8, 7.5, 0.8), values=values.swapaxes(1, 2))
    assert told(coronal) == ["slice thickness 7.5 mm along A; training 0.6–0.9 mm"]


def test_units_of_length():
    found = told(empty((500, 500, 400), (7e-4, 7e-4, 1e-3)))
    assert "spacing 0.0007 mm along R; training 0.6–0.9 mm" in found
    assert "field of view 0.35 mm along R; training 300–460 mm" in found


def test_field_of_view():
    whole = {"min_extent_mm": [31.0, 40.0, 24.0], "max_extent_mm": [43.0, 59.0, 47.0]}
    assert told(empty((180, 220, 180), (1, 1, 1)), spec(whole)) == [
        "field of view 180 mm along R; training 31–43 mm",
        "field of view 220 mm along A; training 40–59 mm",
        "field of view 180 mm along S; training 24–47 mm",
    ]
    few = empty((450, 450, 4), (0.8, 0.8, 3.0))
    assert told(few) == ["field of view 12 mm along S; training 200–700 mm"]
    one = {"min_extent_mm": [10, 10, 10], "max_extent_mm": [10, 10, 10]}
    assert told(empty((2, 10, 10), (1, 1, 1)), spec(one)) == [
        "field of view 2 mm along R; training 10 mm"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hu: hu + 1024, "no value below 24; training's scans reach down to -1024"),
        (lambda hu: (hu + 1000) / 2200 * 255, "no value below 0; training's"),
        (lambda hu: hu / 1000 - 0.5, "no value below -1.5; training's"),
        (lambda hu: np.where(hu < 0, hu, hu + 3000), None),
        (lambda hu: hu * 20000 - 7, "% of the voxels from -100 to 240, where training's labels"),
        (lambda hu: hu, None),
        (lambda hu: np.maximum(hu, -950), None),
        (lambda hu: np.where(hu < -900, -3024, hu), None),
    ],
)
def test_units_of_ct(change, message):
    prints = {"intensity": FINGERPRINT["intensity"]}
    hu = np.random.default_rng(0).uniform(-1000, 1200, (40, 50, 30))
    hu[0, 0, 0] = -1000
    found = told(scan(shape=hu.shape, values=change(hu)), spec(prints))
    if message is None:
        assert found == []
    else:
        assert len(found) == 1
        assert message in found[0]


def test_channels_of_no_fixed_unit_are_not_judged():
    prints = {"intensity": FINGERPRINT["intensity"] * 2}
    model = spec(prints, schemes=({"scheme": "zscore"}, CT), names=("MRI", "CT"))
    array = np.stack([np.full((9, 9, 9), 5.0), np.full((9, 9, 9), 7.0)])
    found = surprises(Image(array, Geometry((9, 9, 9), np.eye(4))), model)
    assert len(found) == 1
    assert found[0].startswith("channel CT: no value below 7; ")


def test_pictures_have_no_millimetres():
    prints = {"max_extent_mm": [9.0] * 3, "min_extent_mm": [1.0] * 3} | {
        "min_spacing_mm": [5.0] * 3, "max_spacing_mm": [5.0] * 3,
    }  # fmt: skip
    values = np.zeros((40, 30, 1))
    image = scan(shape=values.shape, spacing=(1, 1, 1), values=values)
    assert told(image, spec(prints))
    named = Image(image.array, image.geometry, None, Path("nuclei.PNG"))
    assert told(named, spec(prints)) == []


@pytest.mark.parametrize(
    "prints",
    [
        {},
        {"num_cases": 7},
        {"min_spacing_mm": [1, 1, 1]},
        {"min_spacing_mm": [1, 1], "max_spacing_mm": [1, 1]},
        {"min_spacing_mm": "abc", "max_spacing_mm": None},
        {"min_extent_mm": [0, 0, 0], "max_extent_mm": [None, 1, 1]},
        {"intensity": []},
        {"intensity": [{}]},
        {"intensity": ["x"]},
        {"intensity": [{"min": None, "percentile_00_5": float("nan")}]},
    ],
)
def test_fingerprints_that_lack_figures(prints):
    assert told(scan(), spec(prints)) == []


def test_voxels_that_are_not_finite_are_left_out():
    prints = {"intensity": FINGERPRINT["intensity"]}
    values = np.full((9, 9, 9), np.nan)
    assert told(scan(shape=(9, 9, 9), values=values), spec(prints)) == []
    values[::2] = 5
    assert len(told(scan(shape=(9, 9, 9), values=values), spec(prints))) == 1


@pytest.mark.parametrize("folder", ["hippocampus", "head_neck_ct"])
def test_no_scan_of_a_real_set_surprises_a_model_of_the_others(real_data, folder):
    """Trained on ten, shown ten others."""
    dataset = find_dataset(real_data / folder)
    few = replace(dataset, cases=dataset.cases[:10])
    figures = asdict(fingerprint(inspect_dataset(few)))
    model = spec(figures, schemes=({"scheme": "zscore"} if folder == "hippocampus" else CT,))
    for case in dataset.cases[10:20]:
        assert surprises(read_case(case.images), model) == [], case.name
