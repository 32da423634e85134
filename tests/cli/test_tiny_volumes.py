"""Volumes, patches and spacings of a few voxels: planned, or one line with a remedy."""

import json

import numpy as np
import pytest

from attnseg.images import Geometry, Image, write_image, write_labels

SHAPES = [(1, 1, 1), (2, 3, 1), (1, 40, 40), (5, 5, 60), (3, 3, 3), (64, 1, 1), (6, 7, 5)]
QUICK = [
    "--set=training.epochs=1",
    "--set=training.steps_per_epoch=1",
    "--set=training.batch_size=1",
    "--set=training.validation_cases=1",
    "--set=model.base_channels=2",
    "--set=model.gate_finest=true",
]


@pytest.fixture
def write_set(tmp_path):
    """Make a data set `name` of cases of these shapes."""

    def write(shapes, spacing=(1.5, 1.5, 2.0)):
        generator = np.random.default_rng(0)
        for number, shape in enumerate(shapes):
            labels = np.zeros(shape, np.uint8)
            labels.flat[: max(1, labels.size // 3)] = 1
            array = generator.normal(50, 60, shape).astype(np.float32)
            image = Image(array[None], Geometry(shape, np.diag([*spacing, 1.0])))
            write_image(tmp_path / "set" / "images" / f"c{number}.nii.gz", image)
            path = tmp_path / "set" / "labels" / f"c{number}.nii.gz"
            write_labels(path, labels, like=image, dtype=labels.dtype)
        return tmp_path / "set"

    return write


@pytest.mark.parametrize(
    "shapes",
    [SHAPES, *(pytest.param([shape] * 2, marks=pytest.mark.slow) for shape in SHAPES)],
    ids=lambda shapes: f"{len(shapes)} of {shapes[0]}",
)
def test_from_check_to_report(write_set, attnseg, tmp_path, shapes):
    data = write_set(shapes)
    mixed = len(set(shapes)) > 1
    settings = [*QUICK, f"--set=data.num_folds={2 if mixed else 5}"]
    for command in (
        ("check", data),
        ("plan", data, "-o", "plan.json", "--no-probe", *settings),
        ("train", data, "-o", "run", *settings),
        ("predict", data / "images", "-m", "run", "-o", "masks"),
        ("evaluate", "masks", data / "labels", "--json", "scores.json"),
        ("attention", data / "images/c0.nii.gz", "-m", "run", "-o", "gates", "--replaced", "0"),
        ("view", data / "images/c0.nii.gz", "masks/c0.nii.gz", "-o", "view.html"),
        ("report", "run"),
        ("report", "masks", "--images", data / "images", "--ref", data / "labels"),
    ):
        result = attnseg(*command)
        assert result.code == 0, (command, result.err)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [case["name"] for case in scores["cases"]] == [f"c{n}" for n in range(len(shapes))]
    assert scores["failed"] == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["model.patch=[1,1,1]"],
        ["model.patch=[3,3,3]"],
        ["model.patch=[3,1,1]"],
        ["model.patch=[64,64,64]"],
        ["model.channels=[2,2,2,2,2,2,2]"],
        ["model.channels=[2,2,2]", "model.patch=[1,1,1]"],
        ["model.dim=2d"],
        ["model.dim=2d", "model.patch=[1,1,1]"],
        ["preprocessing.spacing_mm=[1000,1000,1000]"],
        ["training.augmentation.mirror=all", "model.deep_supervision=true"],
    ],
    ids=" ".join,
)
def test_patches_and_levels_that_were_given(write_set, attnseg, settings):
    data = write_set([(6, 7, 5)] * 2)
    chosen = [f"--set={each}" for each in settings]
    result = attnseg("train", data, "-o", "run", *QUICK, *chosen)
    assert result.code == 0, result.err


@pytest.mark.parametrize("spacing", [(1e-3,) * 3, (1e3,) * 3, (1e-3, 1.0, 1e3)], ids=str)
def test_spacings_far_from_a_millimetre(write_set, attnseg, spacing):
    data = write_set([(6, 7, 5)] * 2, spacing)
    result = attnseg("plan", data, "-o", "plan.json", "--no-probe", *QUICK)
    assert result.code == 0, result.err
    result = attnseg("train", data, "-o", "run", "--plan", "plan.json", *QUICK)
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["preprocessing.spacing_mm=[1e-9,1,1]"],
            "would become 9e+09×10×10 at the model's spacing",
        ),
        (["model.channels=[4]"], "channels [4] must be 2 levels or more"),
        (["model.norm=batch", "model.patch=[1,1,1]"], "one number has no deviation; give training"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(write_set, attnseg, settings, message):
    data = write_set([(6, 7, 5)] * 2)
    chosen = [f"--set={each}" for each in settings]
    for command in (("plan", data, "-o", "p.json", "--no-probe"), ("train", data, "-o", "run")):
        result = attnseg(*command, *QUICK, *chosen)
        assert result.code in (1, 2)
        (line,) = [each for each in result.err.splitlines() if each.startswith("attnseg: ")]
        assert message in line


def test_a_gpu_that_is_too_small_is_refused_in_one_line(write_set, attnseg):
    data = write_set([(1, 40, 40)] * 2)
    result = attnseg("plan", data, "-o", "p.json", "--gpu-memory", "1K")
    assert result.code == 1
    assert "not even a patch of one voxel fits; plan for a larger GPU" in result.err
    assert attnseg("plan", data, "-o", "p.json", "--gpu-memory", "64M").code == 0


def test_a_spacing_in_other_units_is_refused_by_check_and_train(write_set, attnseg):
    data = write_set([(16, 16, 16)] * 3)
    place = Geometry((32, 36, 24), np.diag([1500.0, 1500.0, 2000.0, 1.0]))
    image = Image(np.random.default_rng(1).random((1, 32, 36, 24)).astype(np.float32), place)
    write_image(data / "images" / "c1.nii.gz", image)
    labels = np.ones((32, 36, 24), np.uint8)
    write_labels(data / "labels" / "c1.nii.gz", labels, like=image, dtype=labels.dtype)
    problem = "its voxels of 1500×1500×2000 mm would become 3.2e+04×3.6e+04×2.4e+04 voxels"
    assert problem in " ".join(attnseg("check", data, "--json", "c.json").err.split()) + str(
        json.loads((data.parent / "c.json").read_text())["findings"]
    )
    result = attnseg("train", data, "-o", "run", *QUICK)
    assert result.code == 1
    assert f"c1: {problem} at the median spacing of 1.5×1.5×2 mm; correct" in result.err
