"""How well predicted masks agree with reference masks: numbers and tables, no drawing."""

from attnseg.evaluation.calibration import Calibration, Tally, calibrate, tally
from attnseg.evaluation.evaluate import compare_files, evaluate
from attnseg.evaluation.figures import FIGURES
from attnseg.evaluation.judgement import GateJudgement, Judgement
from attnseg.evaluation.lesions import Lesions, count_lesions
from attnseg.evaluation.matching import find_label_names, find_label_scheme, match_files
from attnseg.evaluation.metrics import (
    Counts,
    dice,
    label_values,
    overlap_counts,
    region_counts,
    volume_ml,
)
from attnseg.evaluation.results import CaseResult, Evaluation, LabelResult, Score, Summary
from attnseg.evaluation.statistics import Difference, bootstrap_interval, paired_difference
from attnseg.evaluation.surface import Surface, surface_figures
from attnseg.evaluation.table import print_table, table_lines
from attnseg.evaluation.verdicts import judge_gates, mean_judgement, save_judgements

__all__ = [
    "FIGURES",
    "Calibration",
    "CaseResult",
    "Counts",
    "Difference",
    "Evaluation",
    "GateJudgement",
    "Judgement",
    "LabelResult",
    "Lesions",
    "Score",
    "Summary",
    "Surface",
    "Tally",
    "bootstrap_interval",
    "calibrate",
    "compare_files",
    "count_lesions",
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
    "surface_figures",
    "table_lines",
    "tally",
    "volume_ml",
]
