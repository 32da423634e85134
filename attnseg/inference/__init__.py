"""Prediction: windows, streaming to the scan's own grid, cohorts."""

from attnseg.inference import after
from attnseg.inference.after import shared_rules, volumes_ml
from attnseg.inference.cohort import predict_cohort
from attnseg.inference.expectations import surprises
from attnseg.inference.export import label_rows, resample_rows
from attnseg.inference.manifest import MANIFEST, Outcome
from attnseg.inference.masks import MaskFormat
from attnseg.inference.predict import predict
from attnseg.inference.predictor import Predictor, Segmentation
from attnseg.inference.sources import MODEL_NAME, Scan, find_models, find_scans
from attnseg.inference.stream import stream_windows
from attnseg.inference.work import Job, Work, plan_cohort

__all__ = [
    "MANIFEST",
    "MODEL_NAME",
    "Job",
    "MaskFormat",
    "Outcome",
    "Predictor",
    "Scan",
    "Segmentation",
    "Work",
    "after",
    "find_models",
    "find_scans",
    "label_rows",
    "plan_cohort",
    "predict",
    "predict_cohort",
    "resample_rows",
    "shared_rules",
    "stream_windows",
    "surprises",
    "volumes_ml",
]
