"""Processes of one command in one folder that are stopped, killed and held at random moments."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Every place where files change hands takes a little longer, so that a signal often meets one.
_SLOWER = """
import pathlib, random, sys, time
from attnseg import json_lines, lock_file
from attnseg.__main__ import start
from attnseg.cli import app

def slower(owner, name, longest):
    real = getattr(owner, name)
    def late(*given, **named):
        time.sleep(random.random() * longest)
        done = real(*given, **named)
        time.sleep(random.random() * longest)
        return done
    setattr(owner, name, late)

run = app.main
def main():
    slower(pathlib.Path, "replace", 0.05)
    slower(json_lines, "append_line", 0.02)
    slower(lock_file, "_lock", 0.002)
    if "predict" in sys.argv:
        from attnseg.inference.runner import Runner
        slower(Runner, "__call__", 0.02)
    else:
        from attnseg.training import loop
        slower(loop, "update_average", 0.05)
    run()
app.main = main
start()
"""


class Chaos:
    """Processes of one command; `said` is what each that ended said, with its exit code."""

    def __init__(self, arguments: Sequence[object], folder: Path, generator: random.Random) -> None:
        self._command = [sys.executable, "-c", _SLOWER, *map(str, arguments)]
        self._folder, self._generator = folder, generator
        self._running: list[tuple[subprocess.Popen, Path]] = []
        self._count = 0
        self.said: list[tuple[int, str]] = []

    def start(self) -> None:
        """One more, once it can hear signals."""
        log = self._folder / f"log{self._count}"
        self._count += 1
        with log.open("w") as stream:
            process = subprocess.Popen(
                self._command, stdout=stream, stderr=stream, start_new_session=True
            )
        self._running.append((process, log))
        while process.poll() is None and not hears(process.pid):
            time.sleep(0.002)

    def strike(self, longest: float) -> None:
        """Wait for a moment, then stop, kill or hold one; another takes its place."""
        time.sleep(self._generator.uniform(0, longest))
        process, _ = self._generator.choice(self._running)
        kind = self._generator.choice(
            [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP]
        )
        process.send_signal(kind)
        if kind == signal.SIGSTOP:
            time.sleep(self._generator.uniform(0, 1))
            process.send_signal(signal.SIGCONT)
            return
        if self._generator.random() < 0.5:  # or they overlap
            process.wait(timeout=60)
        self.start()

    def end(self) -> None:
        """Wait until all have ended."""
        for process, log in self._running:
            try:
                process.wait(timeout=300)  # a hang
            finally:
                process.kill()
            self.said.append((process.returncode, log.read_text()))


def hears(process: int) -> bool:
    """Whether it has a handler of SIGTERM, which Python alone does not set."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(caught and int(caught[0], 16) >> (signal.SIGTERM - 1) & 1)
