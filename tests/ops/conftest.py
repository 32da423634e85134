"""Operator tests run with poisoned memory: an output that a kernel forgot to write is NaN."""

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("empty", "empty_like", "empty_strided"):
        plain = getattr(torch, name)

        def poisoned(*args, plain=plain, **kwargs):
            tensor = plain(*args, **kwargs)
            if tensor.is_floating_point() and tensor.device.type != "meta":
                tensor.fill_(float("nan"))
            return tensor

        monkeypatch.setattr(torch, name, poisoned)
