"""A word that names none of the choices is refused, wherever one word of several is taken."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from attnseg.datasets import Case, Dataset
from attnseg.datasets.arrange import WRITTEN_LAYOUTS, arrange
from attnseg.errors import UsageError
from attnseg.inference.backends import make_backend
from attnseg.models.blocks import ConvBlock, make_norm
from attnseg.ops import attention_gate, grid_attention_gate, use_backend
from attnseg.training.engine import PRECISIONS, choose_precision
from attnseg.training.losses import LOSSES, SegmentationLoss

DATASET = Dataset(Path("d"), "paired", (Case("a", (Path("a.nii.gz"),), Path("b.nii.gz")),), ("CT",))
BLOCK: Any = partial(ConvBlock, 1, 1, kernel=(3, 3, 3))
CHOICES: dict[str, tuple[Callable[[Any], object], tuple[str, ...]]] = {
    "loss": (lambda word: SegmentationLoss(word, strides=[(1, 1, 1)]), LOSSES),
    "precision": (lambda word: choose_precision(word, torch.device("cpu")), PRECISIONS),
    "gate_kernel": (use_backend, ("auto", "triton", "torch")),
    "backend": (
        lambda word: make_backend(None, None, torch.device("cpu"), backend=word),  # type: ignore
        ("torch", "openvino"),
    ),
    "norm": (lambda word: make_norm(word, 2, spatial_dims=3), ("instance", "batch")),
    "block": (lambda word: BLOCK(block=word), ("plain", "residual")),
    "layout": (lambda word: arrange(DATASET, layout=word, suffix=".nii.gz"), WRITTEN_LAYOUTS),
}


@pytest.mark.parametrize("what", CHOICES)
@pytest.mark.parametrize("word", ["", "nonsense", "DICE_CE", "Auto", None])
def test_another_word_is_refused_and_all_are_listed(what, word):
    choose, allowed = CHOICES[what]
    expected = f"{what} {word!r}: unknown; use {', '.join(allowed)}"
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        choose(word)


def test_the_losses_are_those_of_the_configuration():
    assert LOSSES == ("dice_ce", "dice_focal", "tversky", "generalized_dice")
    assert PRECISIONS == ("auto", "fp32", "bf16", "fp16")


@pytest.mark.parametrize("mode", ["cubic", "Linear", ""])
def test_gates_upsample_linearly_or_to_the_nearest(mode):
    x, phi = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 2)
    with pytest.raises(ValueError, match="unknown; use linear or nearest"):
        attention_gate(x, phi, torch.rand(3, 2), torch.rand(3), torch.zeros(1), stride=2, mode=mode)
    weight = torch.rand(3, 2, 2, 2)
    with pytest.raises(ValueError, match="unknown; use linear or nearest"):
        grid_attention_gate(x, phi, weight, torch.rand(3), torch.zeros(1), mode=mode)
