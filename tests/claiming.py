"""Another process that claims something in a folder, for the tests of two at once."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLAIMING = """
import sys
from pathlib import Path
from attnseg.locks import FolderLock
with FolderLock(Path(sys.argv[1]), command="attnseg test") as lock:
    print(lock.claim(*sys.argv[2:]) or "ours", flush=True)
    sys.stdin.readline()
    print("end", flush=True)
"""


@contextmanager
def process(folder: Path, *names: str, code: str = CLAIMING) -> Iterator[subprocess.Popen]:
    """Another process that claims names; what it says of that is not read yet."""
    command = [sys.executable, "-c", code, str(folder), *names]
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=20)


def told(started: subprocess.Popen) -> str:
    """Its next line."""
    assert started.stdout is not None
    return started.stdout.readline().strip()


def end(started: subprocess.Popen) -> None:
    """Let it end in order."""
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()
    assert told(started) == "end"
    started.wait(timeout=20)


@contextmanager
def claimed(folder: Path, *names: str) -> Iterator[subprocess.Popen]:
    """Another process that has claimed names."""
    with process(folder, *names) as started:
        assert told(started) == "ours"
        yield started
