"""attnseg: medical image segmentation with the Attention U-Net.

Nothing heavy is imported here; the public names are loaded when first used.
"""

from typing import Any

_PUBLIC = {
    "AttentionUNet": "attnseg.models",
    "Predictor": "attnseg.inference",
    "load_model": "attnseg.models",
    "save_model": "attnseg.models",
}

__all__ = ["AttentionUNet", "Predictor", "__version__", "load_model", "save_model"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        return import_module("importlib.metadata").version("attnseg")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'attnseg' has no attribute {name!r}")
