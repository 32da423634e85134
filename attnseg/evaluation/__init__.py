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
from attnseg.evaluation.verdicts import (
    GateJudgement,
    Judgement,
    judge_gates,
    mean_judgement,
    save_judgements,
)

__all__ = [
    "CaseResult",
    "Counts",
    "Difference",
    "Evaluation",
    "GateJudgement",
    "Judgement",
    "LabelResult",
    "Score",
    "bootstrap_interval",
    "compare_files",
    "dice",
    "evaluate",
    "find_label_names",
    "find_label_scheme",
    "judge_gates",
    "label_values",
    "match_files",
    "mean_judgement",
    "overlap_counts",
    "paired_difference",
    "print_table",
    "region_counts",
    "save_judgements",
    "table_lines",
    "volume_ml",
]
