"""Which cases validate which fold: balanced, the same every time, and patients kept together."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from attnseg.errors import ConfigError, DataError
from attnseg.files import load_json, write_text
from attnseg.names import composed

Splits = list[list[str]]


def make_splits(
    names: Sequence[str],
    *,
    num_folds: int = 5,
    existing: Splits | None = None,
    patient_pattern: str | None = None,
    patients: Mapping[str, str] | None = None,
) -> Splits:
    """Validation cases of each fold.

    Cases that `existing` has already placed stay there. The other patients go, in an order given by
    the digest of their names, each to the fold that is smallest at that moment.

    Args:
        names: all cases, each once.
        num_folds: how many folds.
        existing: splits made earlier, perhaps for more or for fewer cases.
        patient_pattern: regular expression, matched from the start of a case name, whose first
            group is the patient; None takes `patients`.
        patients: case → patient, where the layout says so; any other case is a patient of its own.

    Raises:
        ConfigError: a pattern that cannot be used, or another number of folds than `existing` has.
        DataError: fewer patients than folds, or `existing` has a patient in two folds.

    Example:
        >>> make_splits(["a_1", "a_2", "b_1"], num_folds=2, patient_pattern="(.*)_")
        [['b_1'], ['a_1', 'a_2']]
    """
    cases = _patients(names, patient_pattern, patients or {})
    if len(cases) < num_folds:
        raise DataError(
            f"{len(cases)} patient(s) cannot fill {num_folds} folds; add cases or set "
            f"data.num_folds to {len(cases)} or less"
        )
    folds: Splits = [[] for _ in range(num_folds)]
    placed = _placed(cases, existing, num_folds)
    for patient, fold in placed.items():
        folds[fold] += cases[patient]
    new = sorted(cases.keys() - placed.keys(), key=_digest)
    for patient in new:
        min(folds, key=len).extend(cases[patient])
    if empty := [number for number, fold in enumerate(folds) if not fold]:
        raise DataError(
            f"fold {empty[0]} has no case left after cases were removed; start a new run, which "
            "makes new splits"
        )
    return [sorted(fold) for fold in folds]


def count_folds(
    names: Sequence[str],
    wanted: int,
    *,
    patient_pattern: str | None = None,
    patients: Mapping[str, str] | None = None,
) -> int:
    """How many folds the cases make: as many as are wanted, at most one for each patient.

    Args: as of `make_splits`.

    Raises:
        ConfigError: a pattern that cannot be used.
    """
    return min(wanted, len(_patients(names, patient_pattern, patients or {})))


def fold_cases(splits: Splits, names: Sequence[str], fold: int) -> tuple[list[str], list[str]]:
    """Training and validation cases of one fold, in the order of `names`.

    Raises:
        ConfigError: no such fold.
        DataError: a case that the splits do not know.
    """
    if not 0 <= fold < len(splits):
        raise ConfigError(f"fold {fold} does not exist; choose one of 0 to {len(splits) - 1}")
    known = {name for each in splits for name in each}
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"case {unknown[0]!r} is in no fold of the splits; make the splits anew")
    validation = set(splits[fold])
    return (
        [name for name in names if name not in validation],
        [name for name in names if name in validation],
    )


def save_splits(path: Path, splits: Splits) -> None:
    """Write splits as JSON."""
    content = {"version": 1, "folds": [{"validation": fold} for fold in splits]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def load_splits(path: Path) -> Splits:
    """Read what `save_splits` wrote.

    Raises:
        DataError: no such file, not splits, or a case in two folds.
    """
    try:
        content = load_json(Path(path))
        version = content["version"]
        splits: Splits = [_names(fold["validation"]) for fold in content["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: no readable splits ({type(error).__name__}: {error}); restore the file or "
            "start a new run"
        ) from None
    if version != 1:
        raise DataError(f"{path}: splits of version {version!r}; this attnseg reads version 1")
    names = [name for fold in splits for name in fold]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: case {twice!r} is listed twice; let it validate one fold only")
    return splits


def _names(found: object) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"a fold's cases are {found!r:.60}, and must be a list of names")
    return [composed(name) for name in found]


def _patients(
    names: Sequence[str], pattern: str | None, known: Mapping[str, str]
) -> dict[str, list[str]]:
    """Patient → its cases."""
    assert len(set(names)) == len(names), "case names must be unique"
    patients: dict[str, list[str]] = defaultdict(list)
    if pattern is None:
        for name in names:
            patients[known.get(name, name)].append(name)
        return dict(patients)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"patient pattern {pattern!r} is no regular expression ({error}); correct it"
        ) from None
    if compiled.groups < 1:
        raise ConfigError(
            f"patient pattern {pattern!r} has no group; put the patient's part in parentheses"
        )
    for name in names:
        match = compiled.match(name)
        if not match or not match[1]:
            raise ConfigError(
                f"patient pattern {pattern!r} finds no patient in case {name!r}; it must match "
                "the names of all cases"
            )
        patients[match[1]].append(name)
    return dict(patients)


def _placed(
    patients: dict[str, list[str]], existing: Splits | None, num_folds: int
) -> dict[str, int]:
    """Patient → fold, for patients of whom `existing` places at least one case."""
    if existing is None:
        return {}
    if len(existing) != num_folds:
        raise ConfigError(
            f"{num_folds} folds asked for where the splits have {len(existing)}; keep that number "
            "or start a new run"
        )
    fold_of = {name: number for number, fold in enumerate(existing) for name in fold}
    placed = {}
    for patient, cases in patients.items():
        folds = {fold_of[name] for name in cases if name in fold_of}
        if len(folds) > 1:
            raise DataError(
                f"patient {patient!r} has cases in the folds {sorted(folds)} of the splits; start "
                "a new run, which keeps patients together"
            )
        if folds:
            placed[patient] = folds.pop()
    return placed


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
