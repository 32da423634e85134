"""What a person is told of each gate: figures, and one sentence that follows from them by rules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from attnseg.evaluation.attention import GateFigures, LabelFigures
from attnseg.evaluation.faithfulness import Curve, Faithfulness
from attnseg.spec import unnamed

# A gate whose α differs by less than this from voxel to voxel is a number, not a map.
CONSTANT_SD = 0.01
# AUC from which a gate is said to follow a label; below 1 − this it holds it back.
FOLLOWS_AUC = 0.8
# Dice that is worth a word.
WORTH = 0.005
_NAMED = 3
_ALL = 0.98  # mean α from which a constant gate is called open

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
            does = "does nothing that a fixed number would not do"
            if self.mean > _ALL:
                does = "lets everything pass: it does nothing"
            return f"Gate {self.gate} is nearly constant (α = {self.mean:.2f}); it {does}."
        parts = [self._where()]
        if self.faithfulness:
            parts += [self._switching(self.faithfulness), self._place(self.faithfulness)]
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
        names = [self.names.get(value, unnamed(value)) for value in values[:_NAMED]]
        more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
        first = found[values[0]]
        whose = f"{names[0]}: " if len(values) > 1 else ""
        return (
            f"{', '.join(names)}{more} ({whose}α {first.inside:.2f} inside, {first.outside:.2f} "
            f"outside, AUC {first.auc:.2f})"
        )

    def _switching(self, found: Faithfulness) -> str:
        """What opening and closing it cost."""
        costs = {
            "opening": found.dice["as it is"] - found.dice["open"],
            "closing": found.dice["as it is"] - found.dice["closed"],
        }
        if any(map(math.isnan, costs.values())):
            return "what opening or closing it costs cannot be told"
        felt = {how: cost for how, cost in costs.items() if abs(cost) >= WORTH}
        if not felt:
            return "opening or closing it changes Dice by nothing to speak of"
        told = [
            f"{how} it {'costs' if cost > 0 else 'gains'} {abs(cost):.3f} Dice"
            for how, cost in felt.items()
        ]
        told += [f"{how} it nothing to speak of" for how in costs if how not in felt]
        return ", ".join(told)

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
