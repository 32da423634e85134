"""The configuration: defaults, errors of one line, overrides, and YAML there and back."""

from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from attnseg.config import Config, dump_config, experiment, load_config, parse_override
from attnseg.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"


def saved(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_valid() -> None:
    config = load_config(None)
    assert config == Config()
    assert config.version == 1
    assert config.model.gate == "grid"
    assert config.model.patch == config.model.channels == config.preprocessing.spacing_mm == "auto"
    assert config.training.max_minutes is None
    assert config.inference.overlap == 0.5


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "training:\n", "training: {}\n"])
def test_an_empty_file_or_section_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(saved(tmp_path, text)) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainin: {}", "trainin: unknown key; remove it or correct its spelling"),
        (
            "training: {epoch: 3}",
            "training.epoch: unknown key; remove it or correct its spelling",
        ),
        (
            "training: {augmentation: {flip: true}}",
            "training.augmentation.flip: unknown key; remove it or correct its spelling",
        ),
        (
            "training: {epochs: many}",
            "training.epochs: Input should be a valid integer, unable to parse string as an "
            "integer, got 'many'",
        ),
        (
            "training: {epochs: 0}",
            "training.epochs: Input should be greater than or equal to 1, got 0",
        ),
        (
            "training: {learning_rate: .nan}",
            "training.learning_rate: Input should be a finite number, got nan",
        ),
        (
            "training: 5",
            "training: Input should be a valid dictionary or instance of TrainingConfig, got 5",
        ),
        ("model: {gate: soft}", "model.gate: Input should be 'grid', 'skip' or 'none', got 'soft'"),
        ("model: {patch: [32, 32]}", "model.patch.2: Field required"),
        (
            "model: {patch: [32, 32, -8]}",
            "model.patch.2: Input should be greater than 0, got -8",
        ),
        ("model: {patch: big}", "model.patch: Input should be a valid tuple, got 'big'"),
        (
            "model: {channels: [8]}",
            "model: channels [8] must be 2 levels or more of 2 channels or more",
        ),
        (
            "model: {channels: [8, 1]}",
            "model: channels [8, 1] must be 2 levels or more of 2 channels or more",
        ),
        (
            "preprocessing: {spacing_mm: [1, 0, 1]}",
            "preprocessing.spacing_mm.1: Input should be greater than 0, got 0",
        ),
        (
            "preprocessing: {spacing_mm: [1, 1, thin]}",
            "preprocessing.spacing_mm.2: Input should be a valid number, unable to parse string "
            "as a number, got 'thin'",
        ),
        ("inference: {overlap: 1}", "inference.overlap: Input should be less than 1, got 1"),
        ("version: 2", "version: Input should be 1, got 2"),
        (
            "training: {augmentation: {mirror: off}}",
            "training.augmentation.mirror: Input should be 'auto', 'all', 'swap' or 'none', got "
            "False",
        ),
    ],
)
def test_an_error_is_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value) == f"{path}: {message}"


def test_each_problem_has_its_line(tmp_path: Path) -> None:
    path = saved(tmp_path, "training: {epochs: 0}\nmodel: {gate: 3, norms: batch}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert sorted(str(error.value).splitlines()) == [
        f"{path}: model.gate: Input should be 'grid', 'skip' or 'none', got 3",
        f"{path}: model.norms: unknown key; remove it or correct its spelling",
        f"{path}: training.epochs: Input should be greater than or equal to 1, got 0",
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("- 1\n- 2\n", "holds a list; it must hold keys and values"),
        ("[]", "holds a list; it must hold keys and values"),
        ("false", "holds a bool; it must hold keys and values"),
        ("just text", "holds a str; it must hold keys and values"),
        ("a: [1, 2\nb: 3\n", "not valid YAML: "),
        ("a: b: c", "not valid YAML: "),
        ("data: {root: !!python/object:os.system x}", "not valid YAML: "),
        ("data: {root: 2026-02-31}", "not valid YAML: "),
        ("a: \x00", "not valid YAML: "),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, rule: str) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: {rule}")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none\.yaml: no such configuration file; check"
    ) as error:
        load_config(tmp_path / "none.yaml")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "half.yaml").write_bytes(b"\xff\xfed\0a")
    with pytest.raises(ConfigError, match=r"half\.yaml: cannot be read .*; save it as UTF-8"):
        load_config(tmp_path / "half.yaml")
    (tmp_path / "nul.yaml").write_bytes(b"data: {root: /a\0}")
    with pytest.raises(ConfigError, match=r"nul\.yaml: .*it holds NUL characters"):
        load_config(tmp_path / "nul.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-be"])
def test_files_of_other_editors(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.yaml").write_bytes("data: {root: /größe}\r\n".encode(encoding))
    assert load_config(tmp_path / "x.yaml").data.root == Path("/größe")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epochs=3", ("training.epochs", 3)),
        ("model.patch=[64, 64, 32]", ("model.patch", [64, 64, 32])),
        ("data.patient_pattern=(.*)_ph=\\d+", ("data.patient_pattern", "(.*)_ph=\\d+")),
        ("training.max_minutes=null", ("training.max_minutes", None)),
        ("training.max_minutes=", ("training.max_minutes", None)),
        ("training.deterministic=true", ("training.deterministic", True)),
        ("a = 1.5", ("a", 1.5)),
    ],
)
def test_parse_override(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize(
    "text", ["training.epochs", "", "=3", " =3", "a=[1", "a={b: c: d}", "a=2026-02-31"]
)
def test_overrides_that_cannot_be_parsed(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_override(text)
    assert str(error.value).startswith(f"--set {text}: ")
    assert "\n" not in str(error.value)


def test_a_power_of_ten_without_a_point_is_a_number() -> None:
    """PyYAML reads 1e-4 as text; the schema must take it nevertheless."""
    assert parse_override("training.learning_rate=1e-4")[1] == "1e-4"
    config = experiment(None, ["training.learning_rate=1e-4"], {})
    assert config.training.learning_rate == 1e-4


def test_overrides_reach_every_depth_and_leave_the_rest(tmp_path: Path) -> None:
    path = saved(tmp_path, "training:\n  epochs: 7\n  augmentation:\nmodel: {gate: skip}\n")
    config = load_config(
        path,
        {
            "training.seed": 4,
            "training.augmentation.mirror": "swap",
            "inference.overlap": 0.25,
            "model.patch": [16, 24, 32],
        },
    )
    assert (config.training.epochs, config.training.seed) == (7, 4)
    assert config.training.augmentation.mirror == "swap"
    assert config.training.augmentation.scale == Config().training.augmentation.scale
    assert config.inference.overlap == 0.25
    assert (config.model.gate, config.model.patch) == ("skip", (16, 24, 32))


def test_an_override_below_a_value() -> None:
    with pytest.raises(ConfigError, match=r"--set training\.epochs\.x: epochs holds a value"):
        load_config(None, {"training.epochs": 3, "training.epochs.x": 1})


def test_an_override_that_breaks_a_rule_is_named_by_its_path() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, {"training.epoch": 3})
    assert str(error.value) == (
        "configuration: training.epoch: unknown key; remove it or correct its spelling"
    )


OVERRIDES: list[dict[str, Any]] = [
    {},
    {"data.root": "/data/größe", "data.layout": "msd", "data.patient_pattern": r"(.*)_ph\d+"},
    {"model.patch": [64, 48, 32], "model.channels": [8, 16, 32]},
    {"preprocessing.spacing_mm": [0.7, 1.1, 1e-3], "training.learning_rate": 1e-4},
    {"training.max_minutes": 12.5, "training.augmentation.rotation_degrees": 0},
]


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_round_trip(tmp_path: Path, overrides: dict[str, Any]) -> None:
    config = load_config(None, overrides)
    text = dump_config(config)
    assert load_config(saved(tmp_path, text)) == config
    assert list(yaml.safe_load(text)) == list(Config.model_fields)


def test_the_configuration_is_frozen() -> None:
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.training = config.training  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3  # type: ignore[misc]


def test_experiment_takes_the_file_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert experiment(None, [], {}) == Config()
    (tmp_path / "attnseg.yaml").write_text("training: {epochs: 7}\n")
    assert experiment(None, [], {}).training.epochs == 7
    other = saved(tmp_path, "training: {epochs: 8}\n")
    assert experiment(other, [], {}).training.epochs == 8


def test_flags_win_over_set_which_wins_over_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, "training: {epochs: 1, seed: 1, batch_size: 1}\n")
    overrides = ["training.seed=2", "training.batch_size=2", "training.batch_size=5"]
    flags = {"training.batch_size": 3, "training.warmup": None}
    training = experiment(path, overrides, flags).training
    assert (training.epochs, training.seed, training.batch_size) == (1, 2, 3)
    assert training.warmup == Config().training.warmup
    assert experiment(path, overrides, {}).training.batch_size == 5


def test_the_flag_of_epochs_replaces_a_time_budget(tmp_path: Path) -> None:
    path = saved(tmp_path, "training: {max_minutes: 30}\n")
    flags: dict[str, Any] = {"training.epochs": 9, "training.max_minutes": None}
    training = experiment(path, [], flags).training
    assert (training.epochs, training.max_minutes) == (9, None)
    flags["training.max_minutes"] = 5.0
    assert experiment(path, [], flags).training.max_minutes == 5.0


def test_the_configurations_that_come_with_attnseg() -> None:
    paths = sorted(CONFIGS.glob("*.yaml"))
    assert {"default.yaml", "hippocampus.yaml", "smoke.yaml"} <= {path.name for path in paths}
    for path in paths:
        load_config(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        head = " ".join(takewhile(lambda line: line.startswith("#"), lines)).lower()
        for word in ("data", "hardware", "time", "dice"):
            assert word in head, (path, word)


def test_the_default_file_holds_every_key_with_its_default() -> None:
    expected = yaml.safe_load(dump_config(Config()))
    del expected["data"]["root"]  # the command line's argument
    assert yaml.safe_load((CONFIGS / "default.yaml").read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training:\n  seed: 1\n  seed: 2\n", "the key 'seed' stands twice; keep one of them"),
        ("training: {learning_rate: .inf}\n", "learning_rate: Input should be a finite number"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("training: {seed: " + "9" * 5000 + "}", "not valid YAML"),
        ("training: {max_minutes: 1:30:00}", "max_minutes: .*got '1:30:00'"),
        ("training: {epochs: 1:30}", "epochs: .*got '1:30'"),
        ("model: {blocks_per_level: 1000000000}", "less than or equal to 32, got 1000000000"),
        ("model: {channels: [8, 100000000]}", "less than or equal to 4096, got 100000000"),
    ],
)
def test_what_no_experiment_says(tmp_path, text, message):
    path = tmp_path / "lies.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
