"""Disks without room, for tests: a limit on the size of files, and what a disk says of itself."""

import resource
import signal
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager

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
