"""Operator tests run with poisoned memory: an output that a kernel forgot to write is NaN.

Without a GPU Triton's kernels run in its interpreter, which has to be chosen before they are read.
"""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("empty", "empty_like", "empty_strided"):
        plain = getattr(torch, name)

        def poisoned(*args, plain=plain, **kwargs):
            tensor = plain(*args, **kwargs)
            if tensor.device.type != "meta":
                tensor.fill_(float("nan") if tensor.is_floating_point() else 0x55)
            return tensor

        monkeypatch.setattr(torch, name, poisoned)


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
