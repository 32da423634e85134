"""How well predicted masks agree with reference masks: numbers and tables, no drawing."""

from attnseg.evaluation.evaluate import (
    CaseResult,
    Evaluation,
    LabelResult,
    Score,
    compare_files,
    evaluate,
)
from attnseg.evaluation.matching import find_label_names, match_files
from attnseg.evaluation.metrics import Counts, dice, label_values, overlap_counts, volume_ml
from attnseg.evaluation.table import print_table

__all__ = [
    "CaseResult",
    "Counts",
    "Evaluation",
    "LabelResult",
    "Score",
    "compare_files",
    "dice",
    "evaluate",
    "find_label_names",
    "label_values",
    "match_files",
    "overlap_counts",
    "print_table",
    "volume_ml",
]
