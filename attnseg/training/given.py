"""What a command line asks for against what a run or a plan has settled: nothing is dropped without
a word.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnseg.config import Config, load_config, parse_override
from attnseg.errors import UsageError
from attnseg.spec import Frozen

# A run may be lengthened, and prepared by another number of processes: key → how.
_MAY_CHANGE = {
    "training.epochs": "; --epochs and --max-minutes lengthen a run",
    "training.max_minutes": "; --epochs and --max-minutes lengthen a run",
    "training.workers": "; --workers changes it",
}
# What a plan says, whatever the configuration says.
_OF_PLAN = ("model.", "preprocessing.", "training.batch_size")


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
    wanted = dict(_flat(load_config(config, set_ | given)))
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
        if flags.get(key) not in (None, value):
            raise UsageError(
                f"--set {text}: another option says {key}={flags[key]}; leave one of them out"
            )


def refuse_settled(overrides: Sequence[str], gates: str | None, plan: Path) -> None:
    """Options on the network, the preprocessing or the batch beside a plan, which settles them.

    Raises:
        UsageError: one of them.
    """
    keys = [parse_override(text)[0] for text in overrides]
    asked = [f"--set {key}" for key in keys if f"{key}.".startswith(_OF_PLAN)]
    if gates is not None:
        asked.append("--gates")
    if asked:
        raise UsageError(
            f"{asked[0]}: {plan} settles it; edit the plan, or make it anew with `attnseg plan "
            "--set …`"
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
