"""Pictures of scans, labels and attention.

Importing this package loads neither matplotlib nor ipyniivue: the functions that draw are loaded
when first used.
"""

from typing import TYPE_CHECKING, Any

from attnseg.visualization.palette import colour_of
from attnseg.visualization.slices import Plane, display_planes, window_of

if TYPE_CHECKING:
    from attnseg.visualization.figures import figure_to_array, overlay_figure, save_figure
    from attnseg.visualization.gate_curves import faithfulness_figure
    from attnseg.visualization.widget import show_volume

__all__ = [
    "Plane",
    "colour_of",
    "display_planes",
    "faithfulness_figure",
    "figure_to_array",
    "overlay_figure",
    "save_figure",
    "show_volume",
    "window_of",
]


_DRAWS = {
    "faithfulness_figure": "gate_curves",
    "figure_to_array": "figures",
    "overlay_figure": "figures",
    "save_figure": "figures",
    "show_volume": "widget",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _DRAWS:
        return getattr(import_module(f"attnseg.visualization.{_DRAWS[name]}"), name)
    raise AttributeError(f"module 'attnseg.visualization' has no attribute {name!r}")
