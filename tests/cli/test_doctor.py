"""`attnseg doctor`: what is here, and what computes the gates."""

from importlib.metadata import version

import pytest
import torch

from attnseg.ops import use_backend


def test_versions_and_the_backend_of_the_gates(attnseg):
    result = attnseg("doctor")
    assert result.code == 0
    facts = dict(line.split("  ", 1) for line in result.out.splitlines())
    facts = {name: fact.strip() for name, fact in facts.items()}
    assert facts["torch"] == version("torch")
    assert torch.backends.cpu.get_cpu_capability() in facts["processor"]
    if not torch.cuda.is_available():
        assert facts["gpu"] == "none"
        assert facts["attention gates"] == "torch, in blocks (no CUDA device)"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_triton_that_is_asked_for_and_not_there(attnseg, monkeypatch):
    from attnseg.config import TrainingConfig
    from attnseg.errors import ConfigError
    from attnseg.training import engine

    monkeypatch.setattr(engine, "resolve_device", lambda name: torch.device("cuda"))
    with pytest.raises(ConfigError, match="gate_kernel triton: no CUDA device"):
        engine.Engine(TrainingConfig(gate_kernel="triton"))
    use_backend("auto")
