"""How well predicted masks agree with reference masks: numbers and tables, no drawing."""

from attnseg.evaluation.evaluate import compare_files, evaluate
from attnseg.evaluation.matching import find_label_names, find_label_scheme, match_files
from attnseg.evaluation.metrics import (
    Counts,
    dice,
    label_values,
    overlap_counts,
    region_counts,
    volume_ml,
)
from attnseg.evaluation.results import CaseResult, Evaluation, LabelResult, Score
from attnseg.evaluation.statistics import Difference, bootstrap_interval, paired_difference
from attnseg.evaluation.table import print_table, table_lines

__all__ = [
    "CaseResult",
    "Counts",
    "Difference",
    "Evaluation",
    "LabelResult",
    "Score",
    "bootstrap_interval",
    "compare_files",
    "dice",
    "evaluate",
    "find_label_names",
    "find_label_scheme",
    "label_values",
    "match_files",
    "overlap_counts",
    "paired_difference",
    "print_table",
    "region_counts",
    "table_lines",
    "volume_ml",
]
