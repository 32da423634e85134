"""The errors a user can cause. Each message names value, rule and remedy in one line."""

from collections.abc import Collection, Mapping


class AttnsegError(Exception):
    """Base of all errors that the user can mend; the command line prints it as one line."""

    exit_code = 1


class UsageError(AttnsegError):
    """Options that cannot go together or an argument that is missing."""

    exit_code = 2


class ConfigError(AttnsegError):
    """A configuration file or a `--set` that does not fit the schema."""


class DataError(AttnsegError):
    """A scan, a mask or a data set that cannot be used as it is."""


class ModelFileError(AttnsegError):
    """A model file that is missing, damaged, or not one of ours."""


class RunError(AttnsegError):
    """A run folder that cannot be started, resumed or found."""


FREE_SPACE = "free some space or write to another disk"
AGAIN = "then give the same command again"


class DiskFullError(AttnsegError):
    """There is no room for a file; what lay in its place before is as it was.

    Args:
        fault: which file or folder, and what is missing.
        relief: what makes room.
        further: what to do then.
    """

    def __init__(self, fault: str, relief: str = FREE_SPACE, further: str = AGAIN) -> None:
        super().__init__(fault, relief, further)
        self.fault, self.relief, self.further = fault, relief, further

    def __str__(self) -> str:
        return f"{self.fault}; {self.relief}, {self.further}"


def refuse_options(given: Mapping[str, object], why: str) -> None:
    """Stop where an option was given that would have no effect: none is dropped without a word.

    Args:
        given: option, as "--series", → its value; None, False and what is empty stand for "not
            given".
        why: why it does not apply, and what to do.

    Raises:
        UsageError: the first that was given.
    """
    for option, value in given.items():
        if value is None or value is False or value in ((), [], ""):
            continue
        shown = "" if value is True else f" {value if isinstance(value, str) else _shown(value)}"
        raise UsageError(f"{option}{shown}: {why}")


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def refuse_unknown(what: str, value: object, allowed: Collection[str]) -> None:
    """Stop at a word that names nothing, before a chain of comparisons takes it for its last.

    Raises:
        UsageError: `value` is none of `allowed`, which are listed.
    """
    if value not in allowed:
        raise UsageError(f"{what} {value!r}: unknown; use {', '.join(allowed)}")
