"""A command line that gets stuck where a test says, and what comes of a signal then."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Whatever is called there never returns, and Python's handlers are not called meanwhile: this is
# one long computation in C, as a window of a large network is.
_SCRIPT = """
import hashlib, importlib, sys

def stuck(*given, **named):
    print("STUCK", file=sys.__stderr__, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

def get_stuck():
    module, _, name = sys.argv.pop(1).partition(":")
    owner = importlib.import_module(module)
    *names, last = name.split(".")
    for each in names:
        owner = getattr(owner, each)
    setattr(owner, last, stuck)

from attnseg.__main__ import start
from attnseg.cli import app

run = app.main
def main():
    get_stuck()
    run()
app.main = main
start()
"""


def stop_where_stuck(
    arguments: Sequence[object], *, where: str, kind: signal.Signals = signal.SIGTERM
) -> str:
    """What a command says that is stuck in `where` ("module:name") and is asked to stop there.

    It must end by itself, as one that was asked to, and without a traceback.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, where, *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = ""
        while not said.endswith("STUCK\n"):
            line = process.stderr.readline()
            assert line, f"it ended before it was stuck: {said}"
            said += line
        process.send_signal(kind)
        _, rest = process.communicate(timeout=30)  # a hang, not the two seconds
    finally:
        process.kill()
        process.wait()
    said += rest
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert rest.endswith("attnseg: stopped; files that were written are whole\n")
    return said


def leftovers(folder: Path) -> list[Path]:
    """Files and folders under temporary names."""
    return list(folder.rglob(".partial-*"))
