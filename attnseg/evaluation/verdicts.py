"""The gates of a model judged on scans: one by one, on average, and as files."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from attnseg.evaluation import attention, faithfulness
from attnseg.evaluation.attention import (
    GateFigures,
    LabelFigures,
    gate_figures,
    mean_figures,
)
from attnseg.evaluation.faithfulness import Faithfulness, mean_faithfulness
from attnseg.evaluation.faithfulness import faithfulness as test_faithfulness
from attnseg.evaluation.judgement import RULES, GateJudgement, Judgement
from attnseg.evaluation.metrics import label_values, mean
from attnseg.files import write_text
from attnseg.images import Image
from attnseg.inference import Predictor


def judge_gates(
    predictor: Predictor,
    image: Image,
    *,
    reference: np.ndarray | None = None,
    seed: int = 0,
    replace_gates: bool = True,
    alpha: Mapping[str, np.ndarray] | None = None,
    agreement: Mapping[str, float] | None = None,
    labels: np.ndarray | None = None,
    on_pass: Callable[[float], None] = lambda passes: None,
) -> Judgement:
    """Judge every gate of a model on one scan.

    Args:
        predictor: the model.
        image: the scan.
        reference: `[I, J, K]` label values as predictions write them; None: figures and Dice go by
            the model's own prediction.
        seed: of the random masks and shuffles.
        replace_gates: try what becomes of the Dice, some twenty passes a gate.
        alpha: gate → α on the scan's grid, where it was read already, with `agreement`.
        agreement: of windows, of each gate.
        labels: the prediction, where it was made already.
        on_pass: as of `faithfulness`.
    """
    if alpha is None:
        maps = predictor.gates.maps(image)
        alpha, agreement = maps.alpha, maps.agreement
    if labels is None:
        labels = predictor.predict(image).labels
    names = predictor.spec.output_names
    replaced: dict[str, Faithfulness] = {}
    if replace_gates and alpha:
        replaced = test_faithfulness(
            predictor, image, reference=reference, seed=seed, on_pass=on_pass
        )
    against = "own prediction" if reference is None else "reference"
    gates = tuple(
        GateJudgement(
            gate,
            gate_figures(values, labels, sorted(set(names) & label_values(labels))),
            {}
            if reference is None
            else gate_figures(values, reference, sorted(label_values(reference))).labels,
            (agreement or {}).get(gate, math.nan),
            replaced.get(gate),
            names,
            against,
        )
        for gate, values in alpha.items()
    )
    return Judgement(str(image.path.name if image.path else "scan"), gates, against)


def mean_judgement(judged: Sequence[Judgement]) -> Judgement:
    """The average over scans, whose verdicts hold for all of them together."""
    gates = []
    for each in zip(*[one.gates for one in judged], strict=True):
        replaced = [gate.faithfulness for gate in each if gate.faithfulness]
        truths = [GateFigures(0, 0, 0, 0, gate.true_labels) for gate in each if gate.true_labels]
        gates.append(
            GateJudgement(
                each[0].gate,
                mean_figures([gate.figures for gate in each]),
                mean_figures(truths).labels if truths else {},
                mean([gate.agreement for gate in each]),
                mean_faithfulness(replaced) if replaced else None,
                each[0].names,
                each[0].against,
            )
        )
    return Judgement(f"{len(judged)} scan(s)", tuple(gates), judged[0].against)


def save_judgements(judged: Sequence[Judgement], json_path: Path, csv_path: Path) -> None:
    """`attention.json`: the average, every scan, what numbers mean; and a table of all scans."""
    content = {
        "definitions": attention.DEFINITIONS | faithfulness.DEFINITIONS | RULES,
        **mean_judgement(judged).to_json(),
        "scans": [each.to_json() for each in judged],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(json_path, text + "\n")
    write_text(csv_path, _table(judged))


def _table(judged: Sequence[Judgement]) -> str:
    """One row a scan, gate and predicted label."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    switched = ("as it is", "open", "mean", "shuffled", "closed")
    dice = [f"dice_{key.replace(' ', '_')}" for key in switched]
    table.writerow(
        ["scan", "gate", "mean", "sd", "entropy", "saturated", "agreement", *dice,
         "label", "label_name", "inside", "outside", "auc"]
    )  # fmt: skip
    for scan in judged:
        for gate in scan.gates:
            f = gate.figures
            row = [f.mean, f.sd, f.entropy, f.saturated, gate.agreement]
            row += [gate.dice.get(key, math.nan) for key in switched]
            for value, label in (gate.labels or {0: LabelFigures(*[math.nan] * 3)}).items():
                ends = [label.inside, label.outside, label.auc]
                table.writerow(
                    [
                        scan.name,
                        gate.gate,
                        *map(_cell, row),
                        value,
                        gate.names.get(value, ""),
                        *map(_cell, ends),
                    ]
                )
    return stream.getvalue()


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"
