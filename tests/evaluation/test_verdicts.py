"""Gates replaced, and what is said of them."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from attnseg.errors import DataError
from attnseg.evaluation import GateJudgement, judge_gates, mean_judgement, save_judgements
from attnseg.evaluation.attention import GateFigures, LabelFigures
from attnseg.evaluation.faithfulness import SHARES, Curve, Faithfulness, faithfulness, num_passes
from attnseg.images import Geometry, Image
from attnseg.inference import Predictor
from attnseg.inference.versions import Versions
from attnseg.models import AttentionUNet, replaced_logits
from attnseg.spec import ModelSpec


@pytest.fixture
def image():
    array = np.random.default_rng(0).normal(size=(1, 20, 18, 14)).astype(np.float32)
    array[:, 5:12, 4:12, 3:9] += 3
    return Image(array, Geometry((20, 18, 14), np.diag([1.0, 1.0, 1.0, 1.0])))


@pytest.fixture
def predictor():
    """Loud random weights, and gates that depend on what they see."""
    torch.manual_seed(0)
    net = AttentionUNet(3, 1, 3, channels=(4, 6, 8), strides=(2, 2), gate_finest=True)
    torch.nn.init.normal_(net.heads[0].weight, std=3.0)
    for gate in net.gates.values():
        torch.nn.init.normal_(gate.psi.weight, std=3.0)
        torch.nn.init.zeros_(gate.psi.bias)
    spec = ModelSpec.model_validate(
        {
            "architecture": net.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["scan"],
            "labels": [{"value": v, "name": n} for v, n in ((0, "air"), (1, "liver"), (2, "cord"))],
            "patch": (16, 16, 12),
        }
    )
    return Predictor(net.eval(), spec, backend="torch", device="cpu")


def force_open(network, gate):
    with torch.no_grad():
        network.gates[gate].psi.weight.zero_()
        network.gates[gate].psi.bias.fill_(20.0)


def test_a_gate_replaced_by_itself_changes_nothing(predictor):
    network = predictor.networks[0]
    assert list(network.gates) == ["0", "1"]
    x = torch.randn(1, 1, 13, 9, 11)
    with torch.no_grad():
        before, _ = network.forward_all(x)
        for gate in network.gates:
            same, closed = replaced_logits(network, x, gate, [lambda a: a * 1.0, torch.zeros_like])
            torch.testing.assert_close(same, before[0], rtol=1e-5, atol=1e-5)
            assert float((closed - before[0]).abs().max()) > 0.1


@pytest.mark.parametrize("gate", ["0", "1"])
def test_a_replaced_gate_is_a_network_whose_gate_says_so(predictor, gate):
    """Layers before the gate run once for all versions; the numbers are those of a whole pass."""
    network = predictor.networks[0]
    x = torch.randn(1, 1, 13, 9, 11)

    class Fixed(torch.nn.Module):
        def forward(self, x, g):
            return 0.25 * x, x.new_full((len(x), 1, *x.shape[2:]), 0.25)

    whole = copy.deepcopy(network)
    whole.gates[gate] = Fixed()
    with torch.no_grad():
        (found,) = replaced_logits(network, x, gate, [lambda a: torch.full_like(a, 0.25)])
        torch.testing.assert_close(found, whole(x), rtol=1e-5, atol=1e-5)


def test_versions_do_not_depend_on_which_run_together(predictor, image, monkeypatch):
    """In groups, because of memory, or all at once; and as a prediction of a network so changed."""
    from attnseg.inference import versions as module

    def level(value):
        return lambda: lambda alpha: torch.full_like(alpha, value)

    changes = [level(value) for value in (0.0, 0.3, 1.0)]
    versions = module.Versions(predictor, image, overlap=0.5)
    shares = []
    together = versions.changed("1", changes, on_window=shares.append)
    assert sum(shares) == pytest.approx(3)
    assert not np.array_equal(together[0], together[1])
    opened = copy.deepcopy(predictor.networks[0])
    force_open(opened, "1")
    alone = Predictor(opened, predictor.spec, backend="torch", device="cpu").predict(image).labels
    np.testing.assert_array_equal(together[2], alone)
    monkeypatch.setattr(module, "_ROOM", 0)
    bounded = Predictor(predictor.networks, predictor.spec, device="cpu", max_ram=1 << 40)
    for each in (versions, module.Versions(bounded, image, overlap=0.5)):
        for one, other in zip(each.changed("1", changes), together, strict=True):
            np.testing.assert_array_equal(one, other)
    tight = Predictor(predictor.networks, predictor.spec, device="cpu", max_ram=1 << 20)
    with pytest.raises(DataError, match=r"needs .* even in the smallest tiles"):
        module.Versions(tight, image, overlap=0.5).changed("1", changes)


def test_an_open_gate_costs_what_opening_it_costs(predictor, image):
    """The Dice with the gate at 1 is that of a network whose gate is 1."""
    reference = (image.array[0] > 2).astype(np.uint8)
    found = faithfulness(predictor, image, reference=reference)
    opened = copy.deepcopy(predictor.networks[0])
    force_open(opened, "1")
    labels = Predictor(opened, predictor.spec, backend="torch", device="cpu").predict(image).labels
    overlap = 2 * ((labels == 1) & (reference == 1)).sum()
    expected = overlap / ((labels == 1).sum() + (reference == 1).sum())
    assert found["1"].dice["open"] == pytest.approx(expected, abs=1e-6)


def test_curves_begin_and_end_where_they_must(predictor, image):
    passes = []
    found = faithfulness(predictor, image, on_pass=passes.append)
    assert list(found) == ["0", "1"]
    assert sum(passes) == pytest.approx(num_passes(2)) == pytest.approx(1 + 19 * 2)
    for each in found.values():
        assert each.dice["as it is"] == 1.0, "the model's own prediction is what it is taken with"
        assert each.deletion.shares == (0.0, *SHARES, 1.0)
        assert each.deletion.dice[0] == each.insertion.dice[-1] == 1.0
        assert each.deletion.dice[-1] == each.insertion.dice[0] == each.dice["closed"]
        assert each.deletion.random[1:-1] == each.insertion.random[1:-1][::-1]
    assert faithfulness(predictor, image) == found, "the same seed, the same numbers"


def test_closing_the_highest_takes_the_share_it_says(predictor, image):
    """Of a constant gate too, whose voxels are all equal."""
    from attnseg.evaluation import faithfulness as module

    force_open(predictor.networks[0], "1")
    versions = Versions(predictor, image, overlap=0.25)
    _, ranks, means = module._recorded(versions, ["0", "1"], 0)
    assert means["1"] == pytest.approx(1.0)
    for gate in ("0", "1"):
        for share in SHARES:
            kept, total = [], []
            change = module._masked_by_rank(module._threshold(ranks[gate], share), keep=True)

            def count(alpha, draws, kept=kept, total=total, change=change):
                found = change(alpha, draws)
                kept.append(int((found > 0).sum()))
                total.append(alpha.numel())
                return found

            versions.changed(gate, [module._drawn(count, 0)])
            assert sum(kept) / sum(total) == pytest.approx(share, abs=0.02)


def test_a_gate_forced_to_one_is_called_constant(predictor, image):
    force_open(predictor.networks[0], "1")
    judged = judge_gates(predictor, image)
    finest, forced = judged.gates
    assert forced.constant
    assert forced.verdict == (
        "Gate 1 is nearly constant (α = 1.00); it lets everything pass: it does nothing."
    )
    assert forced.dice["open"] == forced.dice["as it is"] == 1.0
    assert forced.dice["shuffled"] == 1.0
    assert not finest.constant
    assert finest.dice["open"] < 1.0
    assert "nearly constant" not in finest.verdict


def gate(auc, *, inside=0.8, cost=0.0, closing=0.4, shuffled=0.0, more=0.0):
    base = 0.9
    curve = Curve((0.0, 0.5, 1.0), (base, base - 3 * more, 0.5), (base, base, 0.5))
    dice = {
        "as it is": base, "open": base - cost, "mean": base, "shuffled": base - shuffled,
        "closed": base - closing,
    }  # fmt: skip
    figures = GateFigures(0.3, 0.2, 0.9, 0.1, {1: LabelFigures(inside, 0.1, auc)})
    return GateJudgement("2", figures, {}, 0.99, Faithfulness(dice, curve, curve), {1: "liver"})


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        (
            gate(0.93, cost=0.04, shuffled=0.1, more=0.02),
            "Gate 2 follows liver (α 0.80 inside, 0.10 outside, AUC 0.93); opening it costs 0.040 "
            "Dice, closing it costs 0.400 Dice; shuffling it in space costs 0.100, and closing "
            "where it is most open costs 0.020 more than at random.",
        ),
        (
            gate(0.6, closing=0.004),
            "Gate 2 follows no label; nearest is liver (α 0.80 inside, 0.10 outside, AUC 0.60); "
            "opening or closing it changes Dice by nothing to speak of; where it is open makes no "
            "difference.",
        ),
        (
            gate(0.1, inside=0.02, cost=-0.01, shuffled=0.03),
            "Gate 2 holds back liver (α 0.02 inside, 0.10 outside, AUC 0.10); opening it gains "
            "0.010 Dice, closing it costs 0.400 Dice; shuffling it in space costs 0.030, but "
            "closing where it is most open costs no more than at random.",
        ),
        (
            gate(0.99, cost=0.1, closing=0.0),
            "Gate 2 follows liver (α 0.80 inside, 0.10 outside, AUC 0.99); opening it costs 0.100 "
            "Dice, closing it nothing to speak of; where it is open makes no difference.",
        ),
    ],
)
def test_verdicts_follow_from_the_figures(judged, said):
    assert judged.verdict == said


def test_files_hold_every_scan_and_no_nan(predictor, image, tmp_path):
    judged = [judge_gates(predictor, image, replace_gates=False)] * 2
    save_judgements(judged, tmp_path / "a.json", tmp_path / "a.csv")
    content = json.loads((tmp_path / "a.json").read_text())
    assert [len(scan["gates"]) for scan in content["scans"]] == [2, 2]
    assert content["gates"] == content["scans"][0]["gates"], "the mean of twins is either"
    assert content["gates"][0]["faithfulness"] is None
    assert {"auc", "entropy", "deletion", "constant"} <= set(content["definitions"]) | {"auc"}
    rows = (tmp_path / "a.csv").read_text().splitlines()
    labels = sum(len(each.labels) for each in judged[0].gates)
    assert len(rows) == 1 + 2 * labels
    assert "nan" not in (tmp_path / "a.csv").read_text()


def test_windows_that_agree(predictor, image):
    force_open(predictor.networks[0], "1")
    maps = predictor.gates.maps(image)
    assert maps.agreement["1"] == pytest.approx(1.0, abs=2e-3)
    assert 0.3 < maps.agreement["0"] < 0.999
    alone = Image(image.array[:, :16, :16, :12], Geometry((16, 16, 12), np.eye(4)))
    assert all(map(math.isnan, predictor.gates.maps(alone).agreement.values()))


def test_the_mean_of_judgements_keeps_curves(predictor, image):
    one = judge_gates(predictor, image)
    mean = mean_judgement([one, one])
    assert mean.gates[0].faithfulness == one.gates[0].faithfulness
    assert mean.name == "2 scan(s)"
