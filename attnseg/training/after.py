"""Which after-processing helps: tried on the masks of the held-out cases, label by label.

The rule: a step is taken where it raises the mean Dice of a label over the held-out cases by 0.001
or more and the 95 % bootstrap interval of the paired difference lies above 0, on five cases or
more. Steps are taken one after another, the one that gains most first, each judged by what it adds.

So three or four cases at the least must get better, and one gross error in many scans decides
nothing: what happens once says little of other scans.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnseg.evaluation import CaseResult, Counts, Difference, paired_difference
from attnseg.images import Geometry, Image, on_grid, read_labels
from attnseg.images.components import bounding_box, component_voxels
from attnseg.inference import after
from attnseg.spec import AfterProcessing, ModelSpec

# Tables show Dice with three decimals; a rule that they cannot show is not worth having.
_SMALLEST_GAIN = 1e-3
# A bootstrap of fewer cases says little of others.
_FEWEST_CASES = 5
# Smallest volumes that are tried: shares of what nineteen of twenty true components exceed, since
# organs smaller than any seen here exist, and a network may find but half of one.
_VOLUME_QUANTILE, _VOLUME_SHARES = 0.05, (0.1, 0.5)


@dataclass(frozen=True)
class Choice:
    """A rule that helped.

    Args:
        rule: for one label.
        gain: of the label's mean Dice, on the very cases on which the rule was chosen.
    """

    rule: AfterProcessing
    gain: Difference


def choose_rules(
    results: Sequence[CaseResult], spec: ModelSpec, *, ignore_label: int | None = None
) -> list[Choice]:
    """Try rules on predicted masks and keep those that help, at most one a label.

    One case is in memory at a time.

    Args:
        results: the compared cases; labels without a score in a case play no part there.
        spec: of the model that made the masks; one of regions gets no rules, since its masks hold
            only the last region of each voxel.
        ignore_label: value in the references of voxels that are not counted.
    """
    if spec.regions:
        return []
    ignored = () if ignore_label is None else (ignore_label,)

    def reference_of(result: CaseResult) -> Image:
        return read_labels(result.reference, label_values=(*spec.label_values, *ignored))

    volumes_mm3: dict[int, list[np.ndarray]] = defaultdict(list)
    for result in results:
        reference = reference_of(result)
        for value in result.scores:
            volumes_mm3[value].append(_component_volumes_mm3(reference, value))
    candidates = {
        value: candidate_rules(value, np.concatenate(volumes))
        for value, volumes in volumes_mm3.items()
        if value in spec.output_names
    }
    scores: dict[AfterProcessing, list[float]] = defaultdict(list)
    for result in results:
        mask = read_labels(result.prediction, label_values=spec.label_values)
        reference = on_grid(reference_of(result), mask.geometry)
        for value in candidates.keys() & result.scores.keys():
            rules = candidates[value]
            dices = dice_after(
                mask.array[0],
                reference.array[0],
                rules,
                geometry=mask.geometry,
                ignore_label=ignore_label,
            )
            for rule, dice in zip(rules, dices, strict=True):
                scores[rule].append(dice)
    choices = [
        choose({rule: np.array(scores[rule]) for rule in rules}) for rules in candidates.values()
    ]
    return [choice for choice in choices if choice]


def candidate_rules(value: int, volumes_mm3: np.ndarray) -> list[AfterProcessing]:
    """What is tried for a label, the mask as it is first, milder rules before stronger ones.

    Args:
        value: the label.
        volumes_mm3: `[n]` of the true components.
    """
    removals: list[dict] = [{}, {"largest_component": True}]
    if len(volumes_mm3):
        small = float(np.quantile(volumes_mm3, _VOLUME_QUANTILE))
        removals += [{"min_volume_mm3": float(f"{share * small:.3g}")} for share in _VOLUME_SHARES]
    return [
        AfterProcessing(value=value, fill_holes=fill, **removal)
        for fill in (False, True)
        for removal in removals
    ]


def dice_after(
    prediction: np.ndarray,
    reference: np.ndarray,
    rules: Sequence[AfterProcessing],
    *,
    geometry: Geometry,
    ignore_label: int | None = None,
) -> list[float]:
    """Dice of one label after each of the rules, all of which are for that label.

    Where neither mask has the label it is 1: a rule that removes what is not there has done well,
    and a mean that leaves such cases out would not see it.

    Args:
        prediction: `[I, J, K]` label values.
        reference: the same shape.
        rules: one or more.
        geometry: of both.
        ignore_label: value in the reference of voxels that are not counted.
    """
    value = rules[0].value
    assert all(rule.value == value for rule in rules), rules
    drawn = int(np.count_nonzero(reference == value))
    box = bounding_box(prediction, value)
    if box is None:
        return [0.0 if drawn else 1.0] * len(rules)
    # A voxel more on each side, so that a thin label in a volume is not taken for a picture.
    around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
    part, true_part = prediction[around], reference[around]
    place = Geometry(part.shape, geometry.affine)
    truth = true_part == value
    counted = np.True_ if ignore_label is None else true_part != ignore_label
    volumes_mm3 = component_voxels(part == value) * geometry.voxel_volume_mm3
    known: dict[AfterProcessing, float] = {}
    dices = []
    for rule in rules:
        acting = _acting(rule, volumes_mm3)
        if acting not in known:
            found = (after.apply(part, [acting], geometry=place) == value) & counted
            both, size = int(np.count_nonzero(found & truth)), int(np.count_nonzero(found))
            known[acting] = Counts(both, size, drawn).dice if size or drawn else 1.0
        dices.append(known[acting])
    return dices


def choose(scores: Mapping[AfterProcessing, np.ndarray]) -> Choice | None:
    """The rule of one label that the module's head describes; None where nothing helps.

    Args:
        scores: rule → `[cases]` Dice; the first rule leaves the mask as it is.
    """
    plain = chosen = next(iter(scores))
    while True:
        gains = {
            rule: gain
            for rule in scores
            if _adds_a_step(rule, chosen) and (gain := _gain(scores[rule], scores[chosen]))
        }
        if not gains:
            break
        chosen = max(gains, key=lambda rule: gains[rule].mean)
    if chosen == plain:
        return None
    return Choice(chosen, paired_difference(scores[chosen], scores[plain]))


def in_words(choices: Sequence[Choice], names: Mapping[int, str], *, scans: int) -> str:
    """What was chosen, and the gain on the very scans it was chosen on, in one line."""
    if not choices:
        return f"after-processing: no rule helped on these {scans} scans"
    each = ", ".join(
        f"{names[choice.rule.value]} {_rule_in_words(choice.rule)} ({choice.gain.mean:+.3f})"
        for choice in choices
    )
    return f"after-processing, with its gain in Dice on the {scans} scans it was chosen on: {each}"


def _rule_in_words(rule: AfterProcessing) -> str:
    parts = ["largest component only"] * rule.largest_component
    if rule.min_volume_mm3:
        parts.append(f"components of {rule.min_volume_mm3:g} mm³ or more")
    parts += ["holes filled"] * rule.fill_holes
    return " and ".join(parts)


def _component_volumes_mm3(labels: Image, value: int) -> np.ndarray:
    box = bounding_box(labels.array[0], value)
    if box is None:
        return np.zeros(0)
    return component_voxels(labels.array[0][box] == value) * labels.geometry.voxel_volume_mm3


def _acting(rule: AfterProcessing, volumes_mm3: np.ndarray) -> AfterProcessing:
    """The rule without what cannot change a mask of these components: most masks have but one."""
    small = bool((volumes_mm3 < rule.min_volume_mm3).any())
    return rule.model_copy(
        update={
            "largest_component": rule.largest_component and len(volumes_mm3) > 1,
            "min_volume_mm3": rule.min_volume_mm3 if small else 0.0,
        }
    )


def _adds_a_step(rule: AfterProcessing, chosen: AfterProcessing) -> bool:
    more, less = (set(each.model_dump(exclude_defaults=True).items()) for each in (rule, chosen))
    return less < more and len(more - less) == 1


def _gain(ours: np.ndarray, theirs: np.ndarray) -> Difference | None:
    """What is gained, if it is enough and sure."""
    if len(ours) < _FEWEST_CASES or (ours - theirs).mean() < _SMALLEST_GAIN:
        return None
    gain = paired_difference(ours, theirs)
    return gain if gain.low > 0 else None
