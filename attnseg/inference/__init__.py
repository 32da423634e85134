"""Prediction: windows, streaming to the scan's own grid, cohorts."""

from attnseg.inference import after
from attnseg.inference.after import shared_rules, volumes_ml
from attnseg.inference.cohort import Outcome, predict_cohort
from attnseg.inference.expectations import surprises
from attnseg.inference.predict import predict
from attnseg.inference.predictor import Predictor, Segmentation
from attnseg.inference.sources import MODEL_NAME, Scan, find_models, find_scans
from attnseg.inference.stream import resample_rows, stream_windows

__all__ = [
    "MODEL_NAME",
    "Outcome",
    "Predictor",
    "Scan",
    "Segmentation",
    "after",
    "find_models",
    "find_scans",
    "predict",
    "predict_cohort",
    "resample_rows",
    "shared_rules",
    "stream_windows",
    "surprises",
    "volumes_ml",
]
