"""What all schemas have in common, and how it is told that data do not fit one."""

import json
from typing import Annotated, Any, TypeVar

from pydantic import (  # noqa: TID253
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from attnseg import limits
from attnseg.errors import AttnsegError

# Of a value in a message, and of messages about one file.
_SHOWN, _MOST_LINES = 60, 12

Ints = tuple[int, ...]
Blocks = Annotated[int, Field(ge=1, le=limits.MOST_BLOCKS)]
Count = Annotated[int, Field(ge=1, le=limits.MOST_CHANNELS)]
Name = Annotated[str, AfterValidator(limits.printable)]
LabelValue = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Millimetres = Annotated[float, Field(gt=0), AfterValidator(limits.real_spacing)]
Intensity = Annotated[float, Field(ge=-limits.LARGEST_NUMBER, le=limits.LARGEST_NUMBER)]
Spacing = tuple[Millimetres, Millimetres, Millimetres]
_Schema = TypeVar("_Schema", bound=BaseModel)


class Frozen(BaseModel):
    """Base of all schemas: immutable, unknown keys and numbers that are none (NaN, infinity)
    refused, defaults checked as well."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


def validate(
    schema: type[_Schema],
    raw: Any,
    *,
    source: str,
    error: type[AttnsegError],
    exact: bool = False,
) -> _Schema:
    """Build `schema` from plain data; each problem becomes `source: dotted.path: message`.

    Args:
        schema: what it must be.
        raw: plain data.
        source: where they come from, named in the message.
        error: raised where they do not fit.
        exact: of data from JSON, where "3" and true are no numbers; YAML and people are less exact.
    """
    try:
        if not exact:
            return schema.model_validate(raw)
        return schema.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as problem:
        lines = _explain(problem, source)
        more = len(lines) - _MOST_LINES
        told = [
            *lines[:_MOST_LINES],
            *([f"{source}: {more:,} more of the kind"] if more > 0 else []),
        ]
        raise error("\n".join(told)) from None


def _explain(problem: ValidationError, source: str) -> list[str]:
    lines = []
    for item in problem.errors():
        parts = [str(part) for part in item["loc"]]
        if any(part.startswith("literal[") for part in parts):
            continue  # the other half of a `… | "auto"`; the first half says what is wrong
        path = ".".join(part for part in parts if "[" not in part)
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key; remove it or correct its spelling"
        elif item["type"] != "missing" and not isinstance(item["input"], dict | BaseModel):
            message = f"{message}, got {_shortened(item['input'])}"
        lines.append(f"{source}: {path}: {message}" if path else f"{source}: {message}")
    return lines


def _shortened(value: object) -> str:
    """A value as a message shows it: a lie of a megabyte is still one line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
