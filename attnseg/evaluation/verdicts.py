"""What a person is told of each gate: figures, and one sentence that follows from them by rules."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attnseg.evaluation import attention, faithfulness
from attnseg.evaluation.attention import (
    GateFigures,
    LabelFigures,
    gate_figures,
    mean_figures,
    nan_mean,
)
from attnseg.evaluation.faithfulness import Curve, Faithfulness, mean_faithfulness
from attnseg.evaluation.faithfulness import faithfulness as test_faithfulness
from attnseg.evaluation.metrics import label_values
from attnseg.files import write_text
from attnseg.images import Image
from attnseg.inference import Predictor

# A gate whose α differs by less than this from voxel to voxel is a number, not a map.
CONSTANT_SD = 0.01
# AUC from which a gate is said to follow a label; below 1 − this it holds it back.
FOLLOWS_AUC = 0.8
# Dice that is worth a word.
WORTH = 0.005
_NAMED = 3

RULES = {
    "constant": f"nearly constant: sd of α below {CONSTANT_SD}",
    "follows": f"follows a label: AUC of {FOLLOWS_AUC} or more; holds it back: "
    f"{1 - FOLLOWS_AUC:.1f} or less; by the labels of the reference where there is one",
    "worth": f"a change of Dice below {WORTH} is called none to speak of",
}


@dataclass(frozen=True)
class GateJudgement:
    """One gate: in a scan, or on average over scans.

    Args:
        gate: its level, "0" the finest of the network.
        figures: of α, on the labels that were predicted.
        true_labels: of α, on the labels of the reference; empty without one.
        agreement: of neighbouring windows.
        faithfulness: what becomes of the Dice without it; None where that was not tried.
        names: label value → name.
        against: what the Dice is taken with.
    """

    gate: str
    figures: GateFigures
    true_labels: dict[int, LabelFigures]
    agreement: float
    faithfulness: Faithfulness | None
    names: Mapping[int, str] = field(default_factory=dict)
    against: str = ""

    @property
    def mean(self) -> float:
        """Mean α."""
        return self.figures.mean

    @property
    def entropy(self) -> float:
        """Relative entropy of α over the voxels."""
        return self.figures.entropy

    @property
    def saturated(self) -> float:
        """Share of voxels that are quite open or quite closed."""
        return self.figures.saturated

    @property
    def labels(self) -> dict[int, LabelFigures]:
        """α and the predicted labels."""
        return self.figures.labels

    @property
    def dice(self) -> dict[str, float]:
        """Dice with the gate replaced; empty where that was not tried."""
        return self.faithfulness.dice if self.faithfulness else {}

    @property
    def deletion(self) -> Curve | None:
        """Dice by the share of voxels that is closed."""
        return self.faithfulness.deletion if self.faithfulness else None

    @property
    def insertion(self) -> Curve | None:
        """Dice by the share of voxels that is kept."""
        return self.faithfulness.insertion if self.faithfulness else None

    @property
    def constant(self) -> bool:
        """Whether α is the same everywhere, all but."""
        return self.figures.sd < CONSTANT_SD

    @property
    def verdict(self) -> str:
        """One sentence in plain language, by `RULES`."""
        if self.constant:
            does = "lets everything pass: it does nothing" if self.mean > 0.98 else "does nothing "
            does = does if self.mean > 0.98 else does + "that a fixed number would not do"
            return f"Gate {self.gate} is nearly constant (α = {self.mean:.2f}); it {does}."
        parts = [self._where()]
        if self.faithfulness:
            parts += [self._opening(self.faithfulness), self._place(self.faithfulness)]
        return "; ".join(parts) + "."

    def _where(self) -> str:
        found = {v: f for v, f in (self.true_labels or self.labels).items() if f.auc == f.auc}
        if not found:
            return f"Gate {self.gate} is open by {self.mean:.2f} on average; there is no label here"
        ranked = sorted(found, key=lambda value: -found[value].auc)
        followed = [value for value in ranked if found[value].auc >= FOLLOWS_AUC]
        if followed:
            return f"Gate {self.gate} follows {self._listed(found, followed)}"
        held_back = [value for value in ranked[::-1] if found[value].auc <= 1 - FOLLOWS_AUC]
        if held_back:
            return f"Gate {self.gate} holds back {self._listed(found, held_back)}"
        nearest = max(found, key=lambda value: abs(found[value].auc - 0.5))
        return f"Gate {self.gate} follows no label; nearest is {self._listed(found, [nearest])}"

    def _listed(self, found: Mapping[int, LabelFigures], values: Sequence[int]) -> str:
        """Names of labels and the figures of the first of them."""
        names = [self.names.get(value, f"label {value}") for value in values[:_NAMED]]
        more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
        first = found[values[0]]
        whose = f"{names[0]}: " if len(values) > 1 else ""
        return (
            f"{', '.join(names)}{more} ({whose}α {first.inside:.2f} inside, {first.outside:.2f} "
            f"outside, AUC {first.auc:.2f})"
        )

    def _opening(self, found: Faithfulness) -> str:
        cost = found.dice["as it is"] - found.dice["open"]
        if math.isnan(cost):
            return "what opening it costs cannot be told"
        if abs(cost) < WORTH:
            return "opening it changes Dice by nothing to speak of"
        return f"opening it {'costs' if cost > 0 else 'gains'} {abs(cost):.3f} Dice"

    def _place(self, found: Faithfulness) -> str:
        cost = found.dice["as it is"] - found.dice["shuffled"]
        more = found.deletion.advantage
        if math.isnan(cost) or math.isnan(more):
            return "what its places are worth cannot be told"
        if max(cost, more) < WORTH:
            return "where it is open makes no difference"
        told = f"shuffling it in space costs {cost:.3f}" if cost >= WORTH else "shuffling is free"
        if more >= WORTH:
            return f"{told}, and closing where it is most open costs {more:.3f} more than at random"
        return f"{told}, but closing where it is most open costs no more than at random"

    def to_json(self) -> dict[str, Any]:
        """Plain types; NaN becomes null."""
        figures = asdict(self.figures)
        plain = {
            "gate": self.gate,
            "verdict": self.verdict,
            "constant": self.constant,
            **{key: figures[key] for key in ("mean", "sd", "entropy", "saturated")},
            "agreement": self.agreement,
            "predicted_labels": _named(self.labels, self.names),
            "true_labels": _named(self.true_labels, self.names),
            "faithfulness": asdict(self.faithfulness) if self.faithfulness else None,
        }
        found = _without_nan(plain)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Judgement:
    """The gates of a model on one scan, or on several (`name` then says how many)."""

    name: str
    gates: tuple[GateJudgement, ...]
    against: str

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "name": self.name,
            "dice_against": self.against,
            "gates": [gate.to_json() for gate in self.gates],
        }


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
    on_pass: Callable[[], None] = lambda: None,
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
        on_pass: called after each pass with a gate replaced.
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
                nan_mean([gate.agreement for gate in each]),
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


def _named(labels: Mapping[int, LabelFigures], names: Mapping[int, str]) -> dict[str, Any]:
    return {
        str(value): {"name": names.get(value, str(value)), **asdict(each)}
        for value, each in labels.items()
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
