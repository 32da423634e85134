"""Which implementation a GPU gets, and that a broken tool chain costs a line and nothing else."""

import logging

import pytest
import torch

from attnseg.errors import ConfigError
from attnseg.ops import backend, use_backend
from attnseg.ops.backend import _missing


@pytest.fixture(autouse=True)
def fresh():
    _missing.cache_clear()
    yield
    use_backend("auto")
    _missing.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_plain_pytorch_and_why():
    assert backend() == ("torch", "no CUDA device")
    with pytest.raises(ConfigError, match=r"gate_kernel triton: no CUDA device; .* auto"):
        use_backend("triton")


def test_the_configuration_may_choose_plain_pytorch():
    use_backend("torch")
    assert backend() == ("torch", "chosen by the configuration")


def test_a_broken_tool_chain_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def broken(*_, **__):
        raise RuntimeError("ptxas: no such file\nand a long traceback")

    monkeypatch.setattr(torch, "ones", broken)
    with caplog.at_level(logging.WARNING):
        first, second = backend(), backend()
    assert first == second == ("torch", "Triton failed: ptxas: no such file")
    assert len([record for record in caplog.records if "plain PyTorch" in record.message]) == 1


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_compile():
    assert backend().name == "triton"
