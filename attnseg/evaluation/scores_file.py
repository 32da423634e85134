"""Scores that `Evaluation.save_json` wrote, read back."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attnseg.errors import DataError
from attnseg.files import load_json
from attnseg.whereabouts import recalled

_Figure = float | None
_Pair = Annotated[list[_Figure], Field(min_length=2, max_length=2)] | None


class _Part(BaseModel):
    """What is read of such a file; whatever else stands there is left as it is."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Label(_Part):
    value: int
    name: str
    mean: _Figure = None
    sd: _Figure = None
    median: _Figure = None
    min: _Figure = None
    ci95: _Pair = None
    cases: int = 0


class _Case(_Part):
    name: str
    prediction: str
    reference: str
    mean_dice: _Figure = None
    labels: dict[str, dict[str, Any]] = {}


class _Scores(_Part):
    mean_dice: _Figure = None
    sd: _Figure = None
    ci95: _Pair = None
    labels: list[_Label]
    cases: list[_Case]
    not_predicted: list[str] = []
    failed: dict[str, str] = {}


def read_scores(path: Path) -> dict[str, Any] | None:
    """Scores as `Evaluation.to_json` gives them, paths as they are found from here.

    Returns:
        None where the file is not there yet.

    Raises:
        DataError: it is none of ours, or damaged.
    """
    if not path.is_file():
        return None
    try:
        found = load_json(path)
        _Scores.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: no scores of attnseg evaluate ({where}: {first['msg']}); make it again or "
            "remove it"
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); make it again or remove it") from None
    scores: dict[str, Any] = found
    for case in scores["cases"]:
        for key in ("prediction", "reference"):
            place = recalled(case[key], path.parent)
            # Older versions wrote paths relative to the folder that they were run in.
            case[key] = str(place if place.exists() else case[key])
    return scores
