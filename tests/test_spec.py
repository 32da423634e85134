"""The spec of a model: every rule broken once, and JSON there and back."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from attnseg.errors import ModelFileError
from attnseg.schema import validate
from attnseg.spec import (
    Architecture,
    ClipZScore,
    Label,
    ModelSpec,
    Normalization,
    Preprocessing,
    ZScore,
)

ARCHITECTURE: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 2,
    "out_channels": 3,
    "channels": (4, 8, 16),
    "strides": ((2, 2, 1), (2, 2, 2)),
    "kernel_sizes": ((3, 3, 1), (3, 3, 3), (3, 3, 3)),
}
SPEC: dict[str, Any] = {
    "architecture": ARCHITECTURE,
    "preprocessing": {
        "spacing_mm": (1.0, 1.0, 2.5),
        "normalization": (
            {"scheme": "ct", "low": -100.0, "high": 900.0, "mean": 80.0, "std": 120.0},
            {"scheme": "zscore"},
        ),
    },
    "channel_names": ("CT", "PET"),
    "labels": (
        {"value": 0, "name": "background"},
        {"value": 205, "name": "liver"},
        {"value": -1, "name": "tumour"},
    ),
    "patch": (32, 32, 16),
    "fingerprint": {"num_cases": 7},
    "provenance": {"seed": 0, "versions": {"attnseg": "0.1.0"}},
}


def refusal(schema: type, raw: dict[str, Any]) -> str:
    """The one line that `validate` makes of what is wrong."""
    with pytest.raises(ModelFileError) as error:
        validate(schema, raw, source="m.safetensors", error=ModelFileError)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"strides": ((2, 2, 2),)},
            "3 channels need 2 strides and 3 kernel_sizes, got 1 and 3",
        ),
        (
            {"kernel_sizes": ((3, 3, 3),) * 4},
            "3 channels need 2 strides and 3 kernel_sizes, got 2 and 4",
        ),
        (
            {"strides": ((2, 2), (2, 2, 2))},
            "(2, 2) needs 3 positive numbers, one an axis",
        ),
        (
            {"strides": ((2, 0, 2), (2, 2, 2))},
            "(2, 0, 2) needs 3 positive numbers, one an axis",
        ),
        (
            {"kernel_sizes": ((3, 3, 3), (3, 3, -1), (3, 3, 3))},
            "(3, 3, -1) needs 3 positive numbers, one an axis",
        ),
        (
            {"kernel_sizes": ((3, 3, 3), (3, 2, 3), (3, 3, 3))},
            "kernel_sizes ((3, 3, 3), (3, 2, 3), (3, 3, 3)) must be odd, to keep the grid",
        ),
        (
            {"channels": (1, 8, 16)},
            "channels (1, 8, 16) must be 2 or more at every level",
        ),
        (
            {"deep_supervision": 2},
            "deep_supervision 2 exceeds the 1 decoder levels below the finest of a network of 3 "
            "levels",
        ),
    ],
)
def test_architecture_rules(change: dict[str, Any], message: str) -> None:
    assert refusal(Architecture, ARCHITECTURE | change) == f"m.safetensors: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims: Input should be 2 or 3, got 4"),
        ({"in_channels": 0}, "in_channels: Input should be greater than or equal to 1, got 0"),
        ({"gate": "soft"}, "gate: Input should be 'grid', 'skip' or 'none', got 'soft'"),
        ({"gates": "grid"}, "gates: unknown key; remove it or correct its spelling"),
        (
            {"strides": ((2, 2, "x"), (2, 2, 2))},
            "strides.0.2: Input should be a valid integer, unable to parse string as an integer, "
            "got 'x'",
        ),
    ],
)
def test_architecture_fields(change: dict[str, Any], message: str) -> None:
    assert refusal(Architecture, ARCHITECTURE | change) == f"m.safetensors: {message}"


def test_architecture_with_a_field_missing() -> None:
    raw = {key: value for key, value in ARCHITECTURE.items() if key != "channels"}
    assert refusal(Architecture, raw) == "m.safetensors: channels: Field required"


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        (((2, 2, 1), (2, 2, 2)), (4, 4, 2)),
        (((1, 1, 1), (1, 1, 1)), (1, 1, 1)),
        (((3, 2, 1), (2, 2, 5)), (6, 4, 5)),
    ],
)
def test_total_stride(strides: Any, expected: tuple[int, ...]) -> None:
    assert Architecture(**ARCHITECTURE | {"strides": strides}).total_stride == expected


def test_total_stride_in_2d() -> None:
    flat = {"spatial_dims": 2, "strides": ((2, 2), (2, 1)), "kernel_sizes": ((3, 3),) * 3}
    assert Architecture(**ARCHITECTURE | flat).total_stride == (4, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": SPEC["labels"][:2]},
            "labels has 2 entries where the architecture needs 3",
        ),
        (
            {"channel_names": ("CT",)},
            "channel_names has 1 entries where the architecture needs 2",
        ),
        (
            {"patch": (32, 32)},
            "patch.2: Field required",
        ),
        (
            {"patch": (32, 0, 32)},
            "patch (32, 0, 32) must be 1 or more along every axis",
        ),
        (
            {"preprocessing": SPEC["preprocessing"] | {"normalization": ({"scheme": "zscore"},)}},
            "preprocessing.normalization has 1 entries where the architecture needs 2",
        ),
        (
            {"labels": SPEC["labels"][::-1]},
            "labels[0] is -1; it must be the background, 0",
        ),
        (
            {"labels": (*SPEC["labels"][:2], {"value": 205, "name": "other"})},
            "label values must differ from each other",
        ),
        (
            {"after_processing": ({"value": 7, "fill_holes": True},)},
            "after_processing of 7: masks hold [-1, 205] only",
        ),
        (
            {"after_processing": ({"value": 0, "fill_holes": True},)},
            "after_processing of 0: masks hold [-1, 205] only",
        ),
        (
            {"after_processing": ({"value": -1}, {"value": -1, "min_volume_mm3": 3})},
            "after_processing of -1 comes twice; put it into one entry",
        ),
        (
            {
                "architecture": ARCHITECTURE | {"out_channels": 1},
                "regions": ({"name": "all", "members": (205, -1), "value": 1},),
                "after_processing": ({"value": 1, "fill_holes": True},),
            },
            "after_processing of [1]: a model of regions has none, since its masks hold only the "
            "last region of each voxel",
        ),
    ],
)
def test_model_spec_rules(change: dict[str, Any], message: str) -> None:
    assert refusal(ModelSpec, SPEC | change) == f"m.safetensors: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format: Input should be 1, got 2"),
        (
            {"architecture": ARCHITECTURE | {"deep_supervision": 9}},
            "architecture: deep_supervision 9 exceeds the 1 decoder levels below the finest of a "
            "network of 3 levels",
        ),
        (
            {"after_processing": ({"value": -1, "min_volume_mm3": -2.0},)},
            "after_processing.0.min_volume_mm3: Input should be greater than or equal to 0, got "
            "-2.0",
        ),
        (
            {"after_processing": ({"value": -1, "min_volume_mm3": float("inf")},)},
            "after_processing.0.min_volume_mm3: Input should be a finite number, got inf",
        ),
        (
            {"preprocessing": SPEC["preprocessing"] | {"spacing_mm": (1.0, 0.0, 1.0)}},
            "preprocessing.spacing_mm.1: Input should be greater than 0, got 0.0",
        ),
        (
            {"preprocessing": SPEC["preprocessing"] | {"spacing_mm": (1.0, 1.0)}},
            "preprocessing.spacing_mm.2: Field required",
        ),
        (
            {"preprocessing": SPEC["preprocessing"] | {"orientation": "LPS"}},
            "preprocessing.orientation: Input should be 'RAS', got 'LPS'",
        ),
    ],
)
def test_model_spec_fields(change: dict[str, Any], message: str) -> None:
    assert refusal(ModelSpec, SPEC | change) == f"m.safetensors: {message}"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_spacing_is_a_positive_number(bad: float) -> None:
    with pytest.raises(ValidationError):
        Preprocessing(spacing_mm=(1.0, bad, 1.0), normalization=(ZScore(),))


def test_json_there_and_back() -> None:
    spec = ModelSpec.model_validate(SPEC)
    text = spec.model_dump_json()
    assert ModelSpec.model_validate_json(text) == spec
    assert validate(ModelSpec, json.loads(text), source="x", error=ModelFileError) == spec
    assert spec.label_values == (0, 205, -1)
    assert json.loads(text)["labels"][1] == {"value": 205, "name": "liver"}
    assert json.loads(text)["format"] == 1


def test_a_spec_from_before_there_was_after_processing() -> None:
    rules = ({"value": -1, "largest_component": True}, {"value": 205, "min_volume_mm3": 40})
    spec = ModelSpec.model_validate(SPEC | {"after_processing": rules})
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.after_processing[1].min_volume_mm3 == 40.0
    older = json.loads(spec.model_dump_json())
    del older["after_processing"]
    assert ModelSpec.model_validate(older) == ModelSpec.model_validate(SPEC)
    assert ModelSpec.model_validate(older).after_processing == ()


def test_normalization_is_told_apart_by_its_scheme() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Normalization)
    ct = adapter.validate_python({"scheme": "ct", "low": 0, "high": 1, "mean": 0.5, "std": 0.2})
    assert ct == ClipZScore(low=0.0, high=1.0, mean=0.5, std=0.2)
    assert adapter.validate_python({"scheme": "zscore"}) == ZScore()
    assert json.loads(ZScore().model_dump_json()) == {"scheme": "zscore"}


@pytest.mark.parametrize(
    ("scheme", "path"),
    [
        ({"scheme": "minmax"}, "normalization.1: "),
        (
            {"scheme": "ct", "low": 0, "high": 1, "mean": 0},
            "normalization.1.ct.std: Field required",
        ),
        (
            {"scheme": "ct", "low": 0, "high": 1, "mean": 0, "std": 0},
            "normalization.1.ct.std: Input should be greater than 0, got 0",
        ),
        ({"scheme": "zscore", "low": 0}, "normalization.1.zscore.low: unknown key"),
    ],
)
def test_bad_normalization(scheme: dict[str, Any], path: str) -> None:
    preprocessing = SPEC["preprocessing"] | {"normalization": ({"scheme": "zscore"}, scheme)}
    message = refusal(Preprocessing, preprocessing)
    assert message.startswith(f"m.safetensors: {path}")


def test_frozen() -> None:
    spec = ModelSpec.model_validate(SPEC)
    with pytest.raises(ValidationError, match="frozen"):
        spec.patch = (1, 1, 1)  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        spec.labels[0].value = 3  # type: ignore[misc]
    assert Label(value=1, name="a") == Label(value=1, name="a")
