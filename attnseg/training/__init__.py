"""From a folder of scans and masks to a model file."""

from attnseg.training.given import (
    note_of_settled,
    refuse_contradictions,
    refuse_other_settings,
    refuse_settled,
)
from attnseg.training.plan import load_plan
from attnseg.training.plan_dataset import plan_dataset
from attnseg.training.run import Run, resumed_config
from attnseg.training.train import train

__all__ = [
    "Run",
    "load_plan",
    "note_of_settled",
    "plan_dataset",
    "refuse_contradictions",
    "refuse_other_settings",
    "refuse_settled",
    "resumed_config",
    "train",
]
