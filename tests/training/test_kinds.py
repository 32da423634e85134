"""Every kind of training from end to end on a toy set: folds, 2D, regions, partial labels, init."""

import json

import nibabel as nib
import numpy as np
import pytest
from boxes import LEARNING

from attnseg.evaluation import evaluate
from attnseg.inference import Predictor
from attnseg.models import load_model
from attnseg.training import Run, train
from attnseg.training.run import run_config


@pytest.mark.slow
def test_all_folds_give_every_case_a_score_by_a_model_that_has_not_seen_it(
    small_config, toy, tmp_path
):
    run = tmp_path / "run"
    scores = train(small_config(**LEARNING | {"training__epochs": 3}), run, fold="all")
    assert [case.name for case in scores.cases] == [f"case{n}" for n in range(6)]
    folds = json.loads((run / "splits.json").read_text())["folds"]
    for number, fold in enumerate(folds):
        for name in fold["validation"]:
            case = next(case for case in scores.cases if case.name == name)
            assert case.prediction.parent == run / f"fold{number}" / "validation"
    told = json.loads((run / "crossvalidation.json").read_text())
    assert told["mean_dice"] == pytest.approx(scores.mean_dice)
    assert told["labels"]
    assert all({"sd", "ci95"} <= set(label) for label in told["labels"])
    # The folds' models together are an ensemble.
    together = Predictor.load(run).predict(toy / "images" / "case0.nii.gz")
    assert set(np.unique(together.labels)) <= {0, 1, 7}


@pytest.mark.slow
def test_slices_of_volumes(small_config, toy, tmp_path):
    config = small_config(**LEARNING, model__dim="2d", model__patch=[16, 16, 1])
    scores = train(config, tmp_path / "run")
    network, spec = load_model(tmp_path / "run" / "fold0" / "model.safetensors")
    assert network.architecture.spatial_dims == 2
    assert spec.slice_axis == 2
    assert scores.mean_dice > 0.8
    mask = nib.load(scores.cases[0].prediction)
    assert mask.shape == (20, 18, 12)


@pytest.mark.slow
def test_regions_that_overlap(small_config, toy, tmp_path):
    (toy / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "image"},
                "labels": {"background": 0, "both": [1, 7], "bright": [7]},
                "regions_class_order": [1, 7],
            }
        )
    )
    scores = train(small_config(**LEARNING), tmp_path / "run")
    assert scores.mean_dice > 0.9
    assert {label.name for label in scores.labels} == {"both", "bright"}
    case = scores.cases[0]
    predicted = np.asarray(nib.load(case.prediction).dataobj)
    assert set(np.unique(predicted)) == {0, 1, 7}


@pytest.mark.slow
def test_cases_that_carry_only_some_labels(small_config, toy, tmp_path):
    """Half of the cases lack label 7, the others label 1: both are learned none the less."""
    present = {}
    for number in range(6):
        file = toy / "labels" / f"case{number}.nii.gz"
        mask = nib.load(file)
        array = np.asarray(mask.dataobj).copy()
        missing, kept = (7, 1) if number % 2 else (1, 7)
        array[array == missing] = 0
        nib.save(nib.Nifti1Image(array, mask.affine, mask.header), file)
        present[f"case{number}"] = [kept]
    (toy / "labels_present.json").write_text(json.dumps(present))
    # Augmentation aside, boxes of two brightnesses are learned from one each.
    config = small_config(**LEARNING | {"training__epochs": 8})
    train(config, tmp_path / "run")
    predictor = Predictor.load(tmp_path / "run" / "fold0" / "model.safetensors")
    for number in range(6):
        predicted = predictor.predict(toy / "images" / f"case{number}.nii.gz").labels
        assert {1, 7} <= set(np.unique(predicted)), "what its own mask lacks is found as well"


@pytest.mark.slow
def test_ignored_voxels_and_awkward_values(small_config, toy, tmp_path):
    (toy / "dataset.json").write_text(
        json.dumps(
            {"channel_names": {"0": "image"}, "labels": {"background": 0, "low": -1, "high": 500,
                                                         "ignore": 9}}
        )
    )  # fmt: skip
    for number in range(6):
        file = toy / "labels" / f"case{number}.nii.gz"
        mask = nib.load(file)
        array = np.asarray(mask.dataobj).astype(np.int16)
        array = np.select([array == 1, array == 7], [-1, 500], 0).astype(np.int16)
        array[:, :, :2] = 9
        nib.save(nib.Nifti1Image(array, mask.affine), file)
    scores = train(small_config(**LEARNING), tmp_path / "run")
    assert {label.value for label in scores.labels} == {-1, 500}
    assert scores.mean_dice > 0.9
    predicted = np.asarray(nib.load(scores.cases[0].prediction).dataobj)
    assert set(np.unique(predicted)) == {-1, 0, 500}
    again = evaluate(tmp_path / "run" / "fold0" / "validation", toy / "labels")
    assert {label.value for label in again.labels} >= {-1, 500}


@pytest.mark.slow
def test_a_model_is_the_start_of_another(learned, small_config, tmp_path, capfd):
    model = learned[0] / "fold0" / "model.safetensors"
    config = small_config(training__epochs=1, training__steps_per_epoch=2,
                          training__learning_rate=1e-5)  # fmt: skip
    scores = train(config, tmp_path / "second", init=model)
    assert scores.mean_dice > 0.9, "two tiny steps away from the model it started from"
    told = capfd.readouterr().err
    network, spec = load_model(tmp_path / "second" / "fold0" / "model.safetensors")
    assert f"{len(network.state_dict())} of {len(network.state_dict())} tensors copied" in told
    assert network.architecture.channels == (8, 16), "the network is the model's"
    assert len(spec.provenance["init"]) == 64


@pytest.mark.slow
def test_patience_ends_a_run_with_its_best_weights(small_config, tmp_path):
    config = small_config(training__patience=2, training__learning_rate=1e-9,
                          training__epochs=50)  # fmt: skip
    train(config, tmp_path / "run")
    fold = tmp_path / "run" / "fold0"
    lines = [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) < 50
    best = max(line["dice"] for line in lines)
    assert [line["dice"] for line in lines].index(best) == len(lines) - 3
    ours, theirs = (load_model(fold / f"{name}.safetensors")[0] for name in ("model", "best"))
    assert all((a == b).all() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    train(run_config(Run(tmp_path / "run", "0")), tmp_path / "run", resume=True)
    assert len((fold / "metrics.jsonl").read_text().splitlines()) == len(lines), "it stays ended"


@pytest.mark.slow
def test_gates_change_nothing_else(small_config, tmp_path):
    """With one seed all layers but the gates start alike, and the patches are the same."""
    for gate in ("grid", "none"):
        config = small_config(model__gate=gate, training__epochs=1, training__steps_per_epoch=1,
                              training__learning_rate=1e-9, model__channels=[4, 8, 8])  # fmt: skip
        train(config, tmp_path / gate)
    gated, plain = (
        load_model(tmp_path / gate / "fold0" / "model.safetensors")[0].state_dict()
        for gate in ("grid", "none")
    )
    assert plain.keys() < gated.keys()
    for name, value in plain.items():
        assert np.allclose(value, gated[name], atol=1e-6), name
