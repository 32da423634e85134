"""The errors a user can cause. Each message names value, rule and remedy in one line."""

from collections.abc import Collection


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


def refuse_unknown(what: str, value: object, allowed: Collection[str]) -> None:
    """Stop at a word that names nothing, before a chain of comparisons takes it for its last.

    Raises:
        UsageError: `value` is none of `allowed`, which are listed.
    """
    if value not in allowed:
        raise UsageError(f"{what} {value!r}: unknown; use {', '.join(allowed)}")
