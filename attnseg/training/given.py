"""What a command line asks for against what a run or a plan has settled: nothing is dropped without
a word.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnseg.config import Config, load_experiment, parse_override
from attnseg.errors import UsageError
from attnseg.schema import Frozen
from attnseg.training.plan import load_plan

# A run may be lengthened, and prepared by another number of processes: key → how.
_MAY_CHANGE = {
    "training.epochs": "; --epochs and --max-minutes lengthen a run",
    "training.max_minutes": "; --epochs and --max-minutes lengthen a run",
    "training.workers": "; --workers changes it",
}
# What a plan says, whatever the configuration says.
_OF_PLAN = ("model.", "preprocessing.", "training.batch_size")
# Of these, what its network records under the same name.
_AS_IN_PLAN = ("channels", "block", "norm", "gate", "gate_finest")


def refuse_other_settings(
    settings: Config,
    folder: Path,
    *,
    config: Path | None,
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    lengthened: bool,
) -> None:
    """Settings of a command line that are not those of the run it continues.

    The same command may be sent again: only what differs is refused.

    Args:
        settings: of the run.
        folder: of the run.
        config: the file of --config.
        overrides: texts of --set.
        flags: dotted key → value of dedicated options; None where one was not given.
        lengthened: whether --epochs or --max-minutes is given, which then says the length.

    Raises:
        UsageError: one that differs.
        ConfigError: a file or a text that cannot be used.
    """
    set_ = dict(parse_override(text) for text in overrides)
    given = {key: value for key, value in flags.items() if value is not None}
    wanted = dict(_flat(load_experiment(config, set_ | given)))
    running = dict(_flat(settings, everything=True))
    for key, value in wanted.items():
        told = key not in _MAY_CHANGE or (key in set_ and not lengthened)
        if key != "version" and told and _plain(running[key]) != _plain(value):
            raise UsageError(
                f"--resume: {folder} was started with {key}={running[key]}, and goes on with it, "
                f"not with {value}; leave that out, or start another run with -o"
                f"{_MAY_CHANGE.get(key, '')}"
            )


def refuse_contradictions(overrides: Sequence[str], flags: Mapping[str, Any]) -> None:
    """Keys that --set gives one value and an option of their own another.

    Args:
        overrides: texts of --set.
        flags: dotted key → value of dedicated options; None where one was not given.

    Raises:
        UsageError: one of them.
    """
    for text in overrides:
        key, value = parse_override(text)
        given = flags.get(key)
        if given not in (None, value) and str(given) != str(value):  # data.root is a path there
            raise UsageError(
                f"--set {text}: another option says {key}={given}; leave one of them out"
            )


def refuse_settled(overrides: Sequence[str], gates: str | None, path: Path) -> None:
    """Options on the network, the preprocessing or the batch that are not what the plan says.

    Args:
        overrides: texts of --set.
        gates: of --gates.
        path: of the plan, which settles all of these.

    Raises:
        UsageError: one of them.
    """
    plan = load_plan(path)
    network = plan.spec.architecture
    said = {f"model.{key}": getattr(network, key) for key in _AS_IN_PLAN}
    said |= {"model.base_channels": network.channels[0], "model.patch": plan.spec.patch}
    said |= {f"preprocessing.{key}": value for key, value in plan.spec.preprocessing}
    said["training.batch_size"] = plan.batch_size
    asked = {f"--set {key}": (key, value) for key, value in map(parse_override, overrides)}
    if gates is not None:
        asked["--gates"] = ("model.gate", gates)
    for option, (key, value) in asked.items():
        plain = tuple(value) if isinstance(value, list) else value
        # What the plan does not record, `note_of_settled` tells.
        if key in said and plain not in (said[key], "auto"):
            raise UsageError(
                f"{option}: {path} says {said[key]}, and settles it; edit the plan, or make it "
                "anew with `attnseg plan --set …`"
            )


def note_of_settled(settings: Config, plan: Path) -> str:
    """What is told of a configuration file whose keys a plan settles; "" where there are none."""
    keys = sorted(key for key, _ in _flat(settings) if f"{key}.".startswith(_OF_PLAN))
    if not keys:
        return ""
    return f"note: {plan} settles {', '.join(keys)}; the configuration's are not read"


def _flat(settings: Frozen, prefix: str = "", *, everything: bool = False) -> list[tuple[str, Any]]:
    """Dotted keys and values, those that were given or all of them."""
    rows: list[tuple[str, Any]] = []
    for name in type(settings).model_fields if everything else settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, Frozen):
            rows += _flat(value, f"{prefix}{name}.", everything=everything)
        else:
            rows.append((prefix + name, value))
    return rows


def _plain(value: Any) -> Any:
    return value.resolve() if isinstance(value, Path) else value
