"""Disks without room, for tests: a limit on the size of files, and what a disk says of itself."""

import resource
import signal
import subprocess
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Usage = namedtuple("Usage", "total used free")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes meanwhile.

    A block, not a fixture: pytest itself may write to a file between the parts of a test.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, former)


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Callable[[int], None]]:
    """A file system of this size at `place` during the block; yields what gives it another size.

    The test is skipped where file systems cannot be mounted.
    """
    place.mkdir(exist_ok=True)

    def mount(*options: str) -> bool:
        return not subprocess.run(["mount", *options, str(place)], capture_output=True).returncode

    def resize(size: int) -> None:
        assert mount("-o", f"remount,size={size}k")

    if not mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs"):
        pytest.skip("file systems cannot be mounted here")
    try:
        yield resize
    finally:
        subprocess.run(["umount", str(place)], check=True)
