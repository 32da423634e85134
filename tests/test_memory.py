"""What a process takes, by each system's own way of telling it."""

import sys
from types import SimpleNamespace

import psutil
import pytest

from attnseg import memory


class Resource(SimpleNamespace):
    """As the module of Unix: 4096 of whatever the system counts in."""

    RUSAGE_SELF = 0

    @staticmethod
    def getrusage(who: int) -> SimpleNamespace:
        return SimpleNamespace(ru_maxrss=4096)


def test_here_it_is_what_psutil_tells():
    now = psutil.Process().memory_info().rss
    assert memory.resident_bytes() == pytest.approx(now, rel=0.05)
    assert memory.peak_bytes() > 0.9 * now


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_kilobytes_on_linux_and_bytes_on_macos(monkeypatch, platform, unit):
    monkeypatch.setitem(sys.modules, "resource", Resource())
    monkeypatch.setattr(sys, "platform", platform)
    assert memory.peak_bytes() == 4096 * unit


def test_the_peak_where_there_is_no_resource_as_on_windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    told = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=5, peak_wset=7))
    monkeypatch.setattr(psutil, "Process", lambda: told)
    assert (memory.resident_bytes(), memory.peak_bytes()) == (5, 7)
    assert memory.peak_during(lambda: None) == 0
