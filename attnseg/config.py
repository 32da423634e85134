"""The experiment configuration: YAML in, a frozen and checked object out, YAML back.

`auto` leaves a number to the plan (`attnseg.training.plan`), which takes it from the data.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml  # noqa: TID253
from pydantic import BeforeValidator, Field, PositiveInt, model_validator  # noqa: TID253

from attnseg import limits
from attnseg.errors import ConfigError
from attnseg.files import read_text
from attnseg.schema import Blocks, Count, Frozen, Spacing, validate
from attnseg.whereabouts import from_here, recalled

Auto = Literal["auto"]


def _no_path(value: object) -> object:
    """`Path("")` is the current folder, and nobody expands `~` in a file.

    Raises:
        ValueError: text that is no path.
    """
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("is empty, or holds a NUL; give a path, or leave the key out")
    if isinstance(value, str) and value.startswith("~"):
        raise ValueError("~ is not expanded here; write the whole path")
    return value


Place = Annotated[Path, BeforeValidator(_no_path)]
Text = Annotated[str, Field(min_length=1)]


class DataConfig(Frozen):
    """Which cases are trained on."""

    root: Place | None = None
    """Data set folder, or a .csv or .tsv file of cases; the command line's DATA comes first."""
    layout: Literal["auto", "msd", "nnunet", "paired", "bids", "table", "pattern"] = "auto"
    images: tuple[Text, ...] = ()
    """Which files are the channels, in their order: file name patterns ("{case}_t1.nii.gz"), of
    BIDS suffixes ("T1w"), of a table columns; nothing takes the only one there is."""
    labels: Text | None = None
    """Which files are the masks: a pattern ("{case}_seg.nii.gz"), of BIDS a derivative
    ("manual")."""
    patient_pattern: Text | None = None
    """Regular expression with one group: cases whose name gives the same text share a fold;
    without it the subjects of BIDS and the column `patient` of a table."""
    num_folds: int = Field(default=5, ge=2)
    cache: Place | None = None
    """Folder of preprocessed cases, which runs may share; default: `cache` in the run folder."""


class PreprocessingConfig(Frozen):
    """How scans become network input."""

    spacing_mm: Spacing | Auto = "auto"
    """Voxel spacing along R, A, S in mm; auto: the median of the training set."""
    normalization: Literal["auto", "zscore", "ct"] = "auto"
    """auto: ct for channels named CT, zscore for all others."""


class ModelConfig(Frozen):
    """The network; see `attnseg.models.AttentionUNet`."""

    dim: Literal["2d", "3d"] | Auto = "auto"
    """2d: slices across the coarsest axis; auto: 2d for pictures, 3d for volumes."""
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] | Auto = "auto"
    """Training and prediction window, voxels along R, A, S; of a 2d network one of them is 1."""
    channels: tuple[Count, ...] | Auto = "auto"
    """Feature channels of each level, finest first."""
    base_channels: int = Field(default=16, ge=2, le=4096)
    """Channels of the finest level when `channels` is auto; they double from level to level."""
    max_channels: int = Field(default=256, ge=2, le=4096)
    blocks_per_level: Blocks = 1
    block: Literal["plain", "residual"] = "residual"
    norm: Literal["instance", "batch"] = "instance"
    gate: Literal["grid", "skip", "none"] = "grid"
    gate_finest: bool = False
    deep_supervision: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels != "auto" and (len(self.channels) < 2 or min(self.channels) < 2):
            raise ValueError(
                f"channels {list(self.channels)} must be 2 levels or more of 2 channels or more"
            )
        return self


class AugmentationConfig(Frozen):
    """Random changes of training patches; probabilities per patch."""

    rotation_degrees: float = Field(default=15.0, ge=0, le=180)
    scale: float = Field(default=0.15, ge=0, lt=1)
    spatial_probability: float = Field(default=0.6, ge=0, le=1)
    elastic_probability: float = Field(default=0.0, ge=0, le=1)
    intensity_probability: float = Field(default=0.2, ge=0, le=1)
    """Of each of noise, blur, brightness, contrast, gamma and low resolution."""
    mirror: Literal["auto", "all", "swap", "none"] = "auto"
    """all: along every axis, but not left–right where a label or region is named by a side; swap:
    left–right as well, the labels of each pair of sides changing places, unless one with a side
    has no partner; auto: all for 2D networks, none for 3D ones, whose anatomy always lies the same
    way. docs/checking.md says how sides are recognised."""


class TrainingConfig(Frozen):
    """The training loop."""

    epochs: int = Field(default=100, ge=1, le=10**6)
    max_minutes: float | None = Field(default=None, gt=0, le=10**7)
    """Wall-clock budget; the learning-rate schedule is fitted to it instead of `epochs`."""
    steps_per_epoch: int = Field(default=50, ge=1, le=10**6)
    batch_size: Annotated[int, Field(ge=1, le=limits.LARGEST_BATCH)] | Auto = "auto"
    """Patches a step, over all processes together."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is cut into, one after another, where it does not fit into memory."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU that has it, fp16 on older ones, fp32 on a CPU."""
    gate_kernel: Literal["auto", "triton", "torch"] = "auto"
    """What computes the gates on a GPU; auto: Triton where it works, plain PyTorch otherwise."""
    loss: Literal["dice_ce", "dice_focal", "tversky", "generalized_dice"] = "dice_ce"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["cosine", "poly"] = "cosine"
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the run over which the learning rate rises linearly."""
    gradient_clip: float = Field(default=12.0, gt=0)
    """Largest norm of the gradient."""
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    """Decay per step of the averaged weights that are validated and kept."""
    gate_price: float = Field(default=0.05, ge=0)
    """Added to the loss times the gates' mean α: what is not worth its price is held back."""
    foreground_fraction: float = Field(default=0.5, ge=0, le=1)
    """Share of patches centred on a labelled voxel."""
    validation_cases: int = Field(default=4, ge=0)
    """Cases predicted at each validation during training; the end validates all."""
    validation_every_epochs: int = Field(default=10, ge=1)
    patience: PositiveInt | None = None
    """Validations without a better Dice after which a run ends early, its best weights kept."""
    after_processing: bool = True
    """Choose per label, on the held-out cases, what is done to finished masks; see
    `attnseg.training.after`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    workers: int = Field(default=0, ge=0, le=1024)
    deterministic: bool = False
    augmentation: AugmentationConfig = AugmentationConfig()


class InferenceConfig(Frozen):
    """Sliding-window prediction."""

    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window that its neighbour covers again."""


class Config(Frozen):
    """One experiment."""

    version: Literal[1] = 1
    data: DataConfig = DataConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a YAML file, lay overrides over it, check the whole.

    Args:
        path: the file; None starts from the defaults.
        overrides: dotted key → value, as from `parse_override`.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type, rule broken; one line a problem.
    """
    raw: Any = {}
    source = "configuration"
    if path is not None:
        source = str(path)
        try:
            raw = _load_yaml(read_text(path))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such configuration file; check --config") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); save it as UTF-8") from error
        except RecursionError:
            raise ConfigError(f"{path}: nested too deeply; a configuration has sections") from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date like 2026-02-31
            problem = " ".join(str(error).split())
            raise ConfigError(f"{path}: not valid YAML: {problem}") from None
        raw = {} if raw is None else raw
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: holds a {type(raw).__name__}; it must hold keys and values")
        # A section whose every line is commented out is null in YAML: it means the defaults.
        raw = {key: value for key, value in raw.items() if value is not None}
    for key, value in (overrides or {}).items():
        _lay_over(raw, key, value)
    return validate(Config, raw, source=source, error=ConfigError)


def parse_override(text: str) -> tuple[str, Any]:
    """`a.b=value` → (`a.b`, value), the right side read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: must be key=value, as in training.learning_rate=1e-3")
    try:
        return key.strip(), _load_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {text}: {value!r} is not valid YAML; quote it") from None


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: of two the last would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key_node.value!r} stands twice; keep one of them",
                    key_node.start_mark,
                )
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """A number; `1:30:00`, for which YAML 1.1 has 5400, stays the text that it looks like."""
    if ":" in node.value:
        return loader.construct_scalar(node)
    whole = node.tag.endswith(":int")
    return loader.construct_yaml_int(node) if whole else loader.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number)


def _load_yaml(text: str) -> Any:
    """What YAML holds.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: it is none, or a key stands twice.
    """
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: it makes plain data and nothing else


def dump_config(config: Config) -> str:
    """The configuration as YAML; `load_config` of it gives the same object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _lay_over(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    branch = raw
    for parent in parents:
        if branch.get(parent) is None:
            branch[parent] = {}
        child = branch[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {parent} holds a value, not keys; shorten the path")
        branch = child
    branch[last] = value


def experiment(path: Path | None, overrides: list[str], flags: dict[str, Any]) -> Config:
    """The configuration that a command line means.

    Args:
        path: YAML file; None takes `attnseg.yaml` of the current folder where there is one.
        overrides: texts of `--set`.
        flags: dotted key → value of dedicated options; None where one was not given. They win.
    """
    default = Path("attnseg.yaml")
    if path is None and default.exists():
        path = default
    given = {key: value for key, value in flags.items() if value is not None}
    laid_over = dict(parse_override(text) for text in overrides)
    if "training.epochs" in given:
        # An explicit length in epochs replaces a time budget that the file may hold.
        laid_over.setdefault("training.max_minutes", None)
    return load_experiment(path, laid_over | given)


def load_experiment(path: Path | None, overrides: dict[str, Any]) -> Config:
    """`load_config` of a file that --config names, which may be that of a run.

    Paths are relative to the current folder; runs keep theirs relative to themselves: a data set
    that does not lie here is looked for as seen from the file.
    """
    config = load_config(path, overrides)
    root = config.data.root
    if path is None or root is None or root.exists():
        return config
    place = recalled(str(root), path.parent)
    if not place.exists():
        return config
    data = config.data.model_copy(update={"root": from_here(place)})
    return config.model_copy(update={"data": data})
