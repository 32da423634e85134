"""What a model file says of its training set, as far as it can be shown."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError  # noqa: TID253

_Triple = tuple[float, float, float]
_NONE = (0.0, 0.0, 0.0)


class _Figures(BaseModel):
    """Those that are read; see `attnseg.datasets.fingerprint`. Others may stand beside them."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    num_cases: int = 0
    median_shape: _Triple = _NONE
    median_spacing_mm: _Triple = _NONE
    min_spacing_mm: _Triple = _NONE
    max_spacing_mm: _Triple = _NONE
    min_extent_mm: _Triple = _NONE
    max_extent_mm: _Triple = _NONE
    orientations: dict[str, int] = {}
    label_values: tuple[int, ...] = ()
    label_volumes_mm3: tuple[float, ...] = ()
    intensity: tuple[dict[str, float | None], ...] = ()


def sound(figures: dict[str, Any]) -> dict[str, Any]:
    """Those figures of a fingerprint that are what their names say; others are left out."""
    try:
        _Figures.model_validate_json(json.dumps(figures), strict=True)
    except ValidationError as error:
        wrong = {each["loc"][0] if each["loc"] else None for each in error.errors()}
        if None in wrong:
            return {}
        return {key: value for key, value in figures.items() if key not in wrong}
    return figures
