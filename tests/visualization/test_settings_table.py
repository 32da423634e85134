"""What a run was planned and set to be, told in words."""

import re
from html import unescape

from attnseg.config import load_config
from attnseg.spec import Architecture, ClipZScore, Label, ModelSpec, Preprocessing, ZScore
from attnseg.visualization.settings_table import plan_table, training_table


def volumes() -> ModelSpec:
    return ModelSpec(
        architecture=Architecture(
            spatial_dims=3,
            in_channels=1,
            out_channels=2,
            channels=(16, 32, 64),
            strides=((2, 2, 2), (2, 2, 2)),
            kernel_sizes=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
            deep_supervision=1,
        ),
        preprocessing=Preprocessing(
            spacing_mm=(2.0, 2.0, 4.0),
            normalization=(ClipZScore(low=-900.0, high=1500.0, mean=160.0, std=400.0),),
        ),
        channel_names=("CT",),
        labels=(Label(value=0, name="background"), Label(value=1, name="liver")),
        patch=(40, 40, 20),
        fingerprint={"median_shape": [90, 90, 40], "median_spacing_mm": [2.0, 2.0, 4.0]},
    )


def pictures() -> ModelSpec:
    return ModelSpec(
        architecture=Architecture(
            spatial_dims=2,
            in_channels=2,
            out_channels=2,
            channels=(16, 32),
            strides=((2, 2),),
            kernel_sizes=((3, 3), (3, 3)),
        ),
        preprocessing=Preprocessing(spacing_mm=(1.0, 1.0, 1.0), normalization=(ZScore(), ZScore())),
        channel_names=("red", "green"),
        labels=(Label(value=0, name="background"), Label(value=1, name="nucleus")),
        patch=(256, 192, 1),
        mirror_axes=(0, 1),
        fingerprint={"median_shape": [288, 256, 1], "median_spacing_mm": [1.0, 1.0, 1.0]},
    )


def cells(html: str) -> dict[str, list[str]]:
    """First cell of a row → the others."""
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", html):
        texts = [re.sub("<[^>]+>", "", part) for part in re.findall(r"<td.*?</td>", row)]
        first, *rest = (unescape(text).replace("\xa0", " ") for text in texts or [""])
        found[first] = rest
    return found


def test_a_plan_of_volumes_has_units_and_reasons() -> None:
    reasons = {
        "spacing_mm": "median of 30 cases",
        "dim": "3d: the scans are volumes",
        "new_one": "x",
    }
    probe = {"device": "cpu", "seconds_per_step": 0.51, "peak_memory_mb": 1234.0}
    plan = {"batch_size": 2, "disk_mb": 1377.5, "probe": probe, "reasons": reasons}
    told = cells(plan_table(volumes(), plan))
    assert told["voxel spacing"] == ["2 × 2 × 4 mm along R, A, S", "median of 30 cases"]
    assert told["intensities of CT"][0] == "clipped to −900 to 1500, less 160, over 400"
    assert told["network"] == [
        "3D, 1 residual block a level, instance norm",
        "the scans are volumes",
    ]
    assert told["patch"][0] == "40 × 40 × 20 voxels (80 × 80 × 80 mm)"
    assert told["downsampling"][0] == "2 × 2 × 2 (2 times)"
    assert told["kernels"][0] == "3 × 3 × 1, 3 × 3 × 3 (2 times)"
    assert told["deep supervision"][0] == "the loss is taken on 1 coarser levels too"
    assert told["disk"][0] == "1,378 MB"
    assert told["time"] == ["0.51 s a step", "measured on the cpu"]
    assert told["memory"][0] == "1.23 GB at most"
    assert told["new one"] == ["–", "x"]
    assert not any("_" in name for name in told)


def test_a_plan_of_pictures_speaks_of_pixels() -> None:
    told = cells(plan_table(pictures(), {"reasons": {"spacing_mm": "median of 40 cases"}}))
    assert "voxel spacing" not in told
    assert told["intensities of red, green"][0] == "mean 0 and deviation 1 in each scan"
    assert told["patch"][0] == "256 × 192 pixels"
    assert told["prediction may mirror"][0] == "left–right, up–down"
    assert "batch" not in told


def test_settings_that_matter_come_first_and_the_rest_is_folded() -> None:
    config = load_config(None, {"training.max_minutes": 15, "training.gate_price": 0})
    first, _, folded = training_table(config).partition("<details>")
    told, every = cells(first), cells(folded)
    assert told["length"] == ["15 minutes"]
    assert told["loss"] == ["Dice + cross-entropy"]
    assert told["learning rate"] == ["0.002, reached after 3 % of the run, then down by a cosine"]
    assert every["training.max_minutes"] == ["15"]
    assert every["training.deterministic"] == ["false"]
    assert every["data.labels"] == ["null"]
    assert every["training.augmentation.scale"] == ["0.15"]
    epochs = load_config(None, {"training.epochs": 12, "training.gate_price": 0.05})
    told = cells(training_table(epochs).partition("<details>")[0])
    assert told["length"] == ["12 epochs of 50 steps"]
    assert told["loss"] == ["Dice + cross-entropy, and 0.05 × the gates' mean α"]
