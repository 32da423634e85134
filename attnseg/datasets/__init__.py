"""Many scans: layouts → cases, facts, checks, splits, fingerprint; phantoms to try things on."""

from attnseg.datasets.cases import Case, Dataset
from attnseg.datasets.checks import find_problems
from attnseg.datasets.convert import Report, convert_dataset, convert_scans
from attnseg.datasets.facts import CaseFacts, inspect_case, inspect_dataset
from attnseg.datasets.findings import Finding, count_severities, raise_if_fatal
from attnseg.datasets.fingerprint import Fingerprint, fingerprint
from attnseg.datasets.layouts import find_dataset, find_layout
from attnseg.datasets.measures import Intensity
from attnseg.datasets.phantoms import make_phantoms
from attnseg.datasets.splits import (
    Splits,
    count_folds,
    fold_cases,
    load_splits,
    make_splits,
    save_splits,
)

__all__ = [
    "Case",
    "CaseFacts",
    "Dataset",
    "Finding",
    "Fingerprint",
    "Intensity",
    "Report",
    "Splits",
    "convert_dataset",
    "convert_scans",
    "count_folds",
    "count_severities",
    "find_dataset",
    "find_layout",
    "find_problems",
    "fingerprint",
    "fold_cases",
    "inspect_case",
    "inspect_dataset",
    "load_splits",
    "make_phantoms",
    "make_splits",
    "raise_if_fatal",
    "save_splits",
]
