"""The choice of after-processing: what helps is kept, what does not or might not is left out."""

import importlib
import json

import numpy as np
import pytest

from attnseg.evaluation import compare_files, overlap_counts
from attnseg.images import Geometry, Image, write_labels
from attnseg.inference import Predictor, after, find_scans, predict_cohort
from attnseg.models import load_spec, model_id
from attnseg.spec import AfterProcessing, ModelSpec
from attnseg.training import Run, train
from attnseg.training.after import (
    Choice,
    candidate_rules,
    choose,
    choose_rules,
    dice_after,
    in_words,
)

FINISH = importlib.import_module("attnseg.training.finish")
SPACING = (1.0, 2.0, 2.5)
GEOMETRY = Geometry((24, 20, 12), np.diag([*SPACING, 1.0]))
PLAIN = AfterProcessing(value=1)
LARGEST = AfterProcessing(value=1, largest_component=True)
SMALL = AfterProcessing(value=1, min_volume_mm3=20)
FILL = AfterProcessing(value=1, fill_holes=True)
BOTH = AfterProcessing(value=1, largest_component=True, fill_holes=True)


@pytest.fixture
def spec():
    return ModelSpec.model_validate(
        {
            "architecture": {
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 3,
                "channels": (4, 8),
                "strides": ((2, 2, 2),),
                "kernel_sizes": ((3, 3, 3),) * 2,
            },
            "preprocessing": {"spacing_mm": SPACING, "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["MRI"],
            "labels": [{"value": v, "name": n} for v, n in ((0, "none"), (1, "organ"), (7, "two"))],
            "patch": (8, 8, 8),
        }
    )


@pytest.fixture
def compare(tmp_path, spec):
    """Masks in memory → results of comparing their files; (prediction, reference) a case."""

    def run(pairs, *, ignore_label=None, present=None):
        files = []
        for number, masks in enumerate(pairs):
            paths = [tmp_path / kind / f"case{number}.nii.gz" for kind in ("pred", "ref")]
            for path, mask in zip(paths, masks, strict=True):
                image = Image(np.zeros((1, *mask.shape), np.float32), GEOMETRY)
                write_labels(path, mask, like=image, dtype=np.dtype(np.uint8))
            files.append((f"case{number}", *paths))
        return compare_files(
            files, label_names=spec.output_names, label_values=spec.label_values,
            ignore_label=ignore_label, labels_present=present,
        ).cases  # fmt: skip

    return run


def organ(shift=0):
    """Label 1: one block of 8 × 6 × 4; label 7: two blocks of 3 × 3 × 3."""
    mask = np.zeros(GEOMETRY.shape, dtype=np.uint8)
    mask[4 + shift : 12 + shift, 4:10, 4:8] = 1
    mask[18:21, 2:5, 2:5] = 7
    mask[18:21, 12:15, 6:9] = 7
    return mask


def specks(mask, *, value=1, seed=0, count=3):
    found = mask.copy()
    generator = np.random.default_rng(seed)
    for _ in range(count):
        i, j = generator.integers(0, 3, 2)
        found[2 * i, 15 + j, generator.integers(0, 10)] = value
    return found


def test_specks_are_dropped(compare, spec):
    pairs = [(specks(organ(n % 3), seed=n), organ(n % 3)) for n in range(8)]
    (choice,) = choose_rules(compare(pairs), spec)
    assert choice.rule == AfterProcessing(value=1, largest_component=True)
    # By hand: 192 voxels, and some specks too many.
    gains = []
    for predicted, truth in pairs:
        ours, theirs = (predicted == 1).sum(), (truth == 1).sum()
        assert theirs == 192
        gains.append(1 - 2 * 192 / (ours + theirs))
    assert choice.gain.mean == pytest.approx(np.mean(gains))
    assert choice.gain.low > 0


def test_specks_beside_two_true_components_go_by_their_size(compare, spec):
    pairs = [(specks(organ(), value=7, seed=n, count=1), organ()) for n in range(8)]
    (choice,) = choose_rules(compare(pairs), spec)
    # A tenth of the 27 voxels of 5 mm³: the milder of two bounds that do as well.
    assert choice.rule == AfterProcessing(value=7, min_volume_mm3=13.5)


def test_holes_are_filled_where_truth_has_none(compare, spec):
    predicted = organ()
    predicted[6, 6, 5] = 0
    (choice,) = choose_rules(compare([(predicted, organ())] * 8), spec)
    assert choice.rule == FILL


def test_what_truth_is_like_is_not_mended(compare, spec):
    hollow = organ()
    hollow[6, 6, 5] = 0
    hollow[1, 18, 1] = 1
    assert choose_rules(compare([(hollow, hollow)] * 8), spec) == []


def test_two_steps_when_each_adds_something(compare, spec):
    pairs = []
    for n in range(8):
        predicted = specks(organ(), seed=n)
        predicted[6:8, 6:8, 5] = 0
        pairs.append((predicted, organ()))
    (choice,) = choose_rules(compare(pairs), spec)
    assert choice.rule == BOTH


def test_a_false_alarm_where_there_is_no_organ_counts(compare, spec):
    """Dice of a label that neither mask has is undefined, and yet what a rule should reach."""
    nothing = np.where(organ() == 1, 0, organ()).astype(np.uint8)
    alarm = nothing.copy()
    alarm[1, 15, 3] = 1
    pairs = [(organ(), organ())] * 4 + [(alarm, nothing)] * 4
    (choice,) = choose_rules(compare(pairs), spec)
    assert choice.rule.value == 1
    assert choice.rule.min_volume_mm3 == 96.0
    assert not choice.rule.largest_component
    assert choice.gain.mean == 0.5


def test_one_gross_error_decides_nothing(compare, spec):
    pairs = [(organ(), organ())] * 12
    far = organ()
    far[:3, 14:, :] = 1
    assert choose_rules(compare([*pairs, (far, organ())]), spec) == []


def test_few_cases_decide_nothing(compare, spec):
    pairs = [(specks(organ(), seed=n), organ()) for n in range(4)]
    assert choose_rules(compare(pairs), spec) == []
    assert choose_rules([], spec) == []


def test_voxels_to_ignore_and_labels_that_were_not_drawn(compare, spec):
    pairs = []
    for n in range(8):
        predicted, reference = specks(organ(), seed=n), organ()
        reference[:, 13:] = np.where(reference[:, 13:] == 0, 255, reference[:, 13:])
        pairs.append((predicted, reference))
    assert choose_rules(compare(pairs, ignore_label=255), spec, ignore_label=255) == []
    drawn = [(specks(organ(), seed=n), organ()) for n in range(8)]
    few = {f"case{n}": (7,) for n in range(4)}
    assert choose_rules(compare(drawn, present=few), spec) == []


def test_models_of_regions_get_no_rules(spec):
    region = {"name": "all", "members": (1, 7), "value": 1}
    changes = {
        "architecture": spec.architecture.model_copy(update={"out_channels": 1}),
        "regions": [region],
    }
    regions = ModelSpec.model_validate(spec.model_dump() | changes)
    assert choose_rules([], regions) == []


def test_the_scores_are_those_of_whole_masks():
    """Against applying the rule to all of the mask and counting there."""
    generator = np.random.default_rng(0)
    for seed in range(12):
        shape = (14, 12, 1) if seed % 3 == 0 else (14, 12, 9)
        place = Geometry(shape, np.diag([*SPACING, 1.0]))
        mask, truth = (
            generator.choice([0, 1, 7], shape, p=[0.6, 0.3, 0.1]).astype(np.uint8) for _ in range(2)
        )
        truth[generator.random(shape) < 0.1] = 9
        rules = candidate_rules(1, np.array([10.0, 15.0, 40.0]))
        assert len(rules) > 1
        dices = dice_after(mask, truth, rules, geometry=place, ignore_label=9)
        for rule, dice in zip(rules, dices, strict=True):
            whole = np.where(truth == 9, 0, after.apply(mask, [rule], geometry=place))
            counts = overlap_counts(whole, np.where(truth == 9, 0, truth), [1])
            assert dice == pytest.approx(counts[1].dice)


def test_labels_that_are_not_there():
    truth, nothing = organ(), np.zeros(GEOMETRY.shape, np.uint8)
    rules = [PLAIN, LARGEST]
    assert dice_after(nothing, truth, rules, geometry=GEOMETRY) == [0.0, 0.0]
    assert dice_after(nothing, nothing, rules, geometry=GEOMETRY) == [1.0, 1.0]
    assert dice_after(truth, nothing, rules, geometry=GEOMETRY) == [0.0, 0.0]


def test_candidates():
    volumes = np.arange(1.0, 102.0)
    rules = candidate_rules(3, volumes)
    assert rules[0] == AfterProcessing(value=3)
    assert len(set(rules)) == len(rules) == 8
    assert sorted({rule.min_volume_mm3 for rule in rules}) == [0.0, 0.6, 3.0]
    assert len(candidate_rules(3, np.zeros(0))) == 4


def scores(**rules):
    named = {"plain": PLAIN, "largest": LARGEST, "small": SMALL, "fill": FILL, "both": BOTH}
    return {named[name]: np.array(values, dtype=float) for name, values in rules.items()}


def test_choice_by_hand():
    plain = [0.8] * 6
    assert choose(scores(plain=plain)) is None
    assert choose(scores(plain=plain, largest=plain)) is None
    better, best = [0.85] * 6, [0.86] * 6
    assert choose(scores(plain=plain, largest=better, small=best)).rule == SMALL
    assert choose(scores(plain=plain, largest=best, small=best)).rule == LARGEST, "the milder one"
    # Two steps at once are taken only if each of them helps.
    assert choose(scores(plain=plain, largest=best, fill=plain, both=best)).rule == LARGEST
    both = choose(scores(plain=plain, largest=better, fill=plain, both=best))
    assert both.rule == BOTH
    assert both.gain.mean == pytest.approx(0.06)
    # Not seen in a table of three decimals; or as often worse as better.
    assert choose(scores(plain=plain, largest=[0.8009] * 6)) is None
    assert choose(scores(plain=plain, largest=[0.9, 0.9, 0.9, 0.72, 0.72, 0.72])) is None
    # Three of six that get better are enough, two are not.
    assert choose(scores(plain=plain, largest=[0.9] * 3 + [0.8] * 3)).rule == LARGEST
    assert choose(scores(plain=plain, largest=[0.9] * 2 + [0.8] * 4)) is None


def test_one_line_tells_it(spec):
    choices = [
        Choice(BOTH, choose(scores(plain=[0.8] * 6, largest=[0.812] * 6)).gain),
        Choice(
            AfterProcessing(value=7, min_volume_mm3=67.5),
            choose(scores(plain=[0.8] * 6, largest=[0.9] * 6)).gain,
        ),
    ]
    assert in_words(choices, spec.output_names, scans=6) == (
        "after-processing, with its gain in Dice on the 6 scans it was chosen on: organ largest "
        "component only and holes filled (+0.012), two components of 67.5 mm³ or more (+0.100)"
    )
    assert "no rule helped on these 6 scans" in in_words([], spec.output_names, scans=6)


@pytest.mark.slow
def test_chosen_rules_go_into_the_model_and_not_into_the_scores(
    small_config, toy, tmp_path, monkeypatch, capsys
):
    config = small_config(training__epochs=1)
    plain = train(small_config(training__epochs=1, training__after_processing=False),
                  tmp_path / "plain")  # fmt: skip
    rule = AfterProcessing(value=7, largest_component=True)
    gain = choose(scores(plain=[0.8] * 6, largest=[0.9] * 6)).gain
    seen = []

    def chosen(results, spec, **settings):
        seen.append(([case.name for case in results], settings))
        return [Choice(rule, gain)]

    monkeypatch.setattr(FINISH, "choose_rules", chosen)
    evaluation = train(config, tmp_path / "run")
    run = Run(tmp_path / "run", "0")
    assert seen == [([case.name for case in evaluation.cases], {"ignore_label": None})]
    spec = load_spec(run.model)
    assert spec.after_processing == (rule,)
    assert "largest component only (+0.100)" in spec.provenance["after_processing"]
    assert "the scores above are without" in capsys.readouterr().err
    # The scores and masks are those of the network alone.
    assert load_spec(Run(tmp_path / "plain", "0").model).after_processing == ()
    assert [label.mean for label in evaluation.labels] == [label.mean for label in plain.labels]
    lines = (run.predictions / "manifest.jsonl").read_text().splitlines()
    made_by = {json.loads(line)["model"] for line in lines}
    assert made_by == {model_id(Run(tmp_path / "plain", "0").model)}
    assert model_id(run.model) not in made_by
    # So the finished model does not take them for its own.
    scans = [
        scan for scan in find_scans([toy / "images"], num_channels=1)
        if scan.name in seen[0][0]
    ]  # fmt: skip
    predictor = Predictor.load(run.model)
    outcomes = predict_cohort(scans, predictor, run.predictions, model_id=model_id(run.model))
    assert {outcome.state for outcome in outcomes} == {"done"}
    # A finished fold is left as it is.
    assert train(config, tmp_path / "run", resume=True) is None
    assert load_spec(run.model).after_processing == (rule,)


@pytest.mark.slow
def test_rules_of_the_plan_stay(small_config, tmp_path, monkeypatch):
    config = small_config(training__epochs=1)
    train(config, tmp_path / "first")
    raw = json.loads((tmp_path / "first" / "plan.json").read_text())
    rule = {"value": 1, "largest_component": False, "min_volume_mm3": 2.0, "fill_holes": False}
    raw["spec"]["after_processing"] = [rule]
    edited = tmp_path / "plan.json"
    edited.write_text(json.dumps(raw))
    monkeypatch.setattr(FINISH, "choose_rules", lambda *args, **settings: pytest.fail("chosen"))
    train(config, tmp_path / "second", plan=edited)
    model = tmp_path / "second" / "fold0" / "model.safetensors"
    assert [each.model_dump() for each in load_spec(model).after_processing] == [rule]
