"""Training: plan, cache, MONAI pipeline, loop, run folder."""

from attnseg.training.run import Run, resumed_config
from attnseg.training.train import train

__all__ = ["Run", "resumed_config", "train"]
