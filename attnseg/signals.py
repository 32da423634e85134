"""Ctrl-C, SIGTERM and a terminal that closes: everything saved, and within two seconds.

Python calls its handlers when the main thread comes back to the interpreter, which may take minutes
where that is deep in a computation or waits for a thread. So a command line has a thread beside it
that hears of a signal at once (`end_on_signals`). It gives the orderly way a second, then removes
what has a temporary name and ends the process. All output has one until it is whole.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from attnseg.files import remove_temporaries

STOPPED = 130
# Left to the orderly way; removing what has a temporary name is within the rest of two seconds.
GRACE_SECONDS = 1.2
# Launchers (torchrun, `timeout`, srun) hand on a Ctrl-C that the whole process group has received:
# what comes so soon after the first signal says nothing new.
ECHO_SECONDS = 0.5
_KINDS = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
]


class StopRequest:
    """Whether the user or the scheduler asked to stop.

    Args:
        patient: whether what goes on may end by itself, however long that takes.
    """

    requested = False

    def __init__(self, *, patient: bool = False) -> None:
        self._may_finish = patient
        self._at_once = False

    @property
    def patient(self) -> bool:
        """Whether what goes on at this moment may end by itself."""
        return self._may_finish and not self._at_once

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A part that a stop ends in its midst, for nothing is lost with it.

        Raises:
            KeyboardInterrupt: a stop is requested, before or meanwhile.
        """
        self._at_once = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def ask(self) -> None:
        """Request a stop."""
        self.requested = True
        if self._at_once:
            raise KeyboardInterrupt


class _Watch:
    """What this process knows of signals; nothing is watched until `begun`."""

    begun = False
    asked = False
    request: StopRequest | None = None
    ending = threading.Lock()
    heard = False
    """Whether the main thread knows."""


def stop_asked() -> bool:
    """Whether a signal has asked this command line to end: what fails from then on follows."""
    return _Watch.asked


@contextmanager
def stop_on_signals(*, patient: bool = False) -> Iterator[StopRequest]:
    """Turn the first signal that asks to stop into a request; a second one acts as usual.

    What follows the first within half a second counts as the same one.
    Outside the main thread, where handlers cannot be set, nothing is ever requested.

    Args:
        patient: the block looks at the request itself and ends as soon as all is saved; a command
            line is not ended before, unless by a second signal.
    """
    request = StopRequest(patient=patient)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {kind: signal.getsignal(kind) for kind in _heard()}

    def restore() -> None:
        for kind, handler in previous.items():
            signal.signal(kind, handler)

    heard = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if not request.requested:
            heard, _Watch.heard = time.monotonic(), True
            request.ask()
        # A command line's thread knows when a signal came, which may be long before this is called.
        elif not _Watch.begun and time.monotonic() - heard > ECHO_SECONDS:
            restore()
            signal.raise_signal(number)

    for kind in previous:
        signal.signal(kind, handle)
    outer, _Watch.request = _Watch.request, request
    try:
        yield request
    finally:
        _Watch.request = outer
        restore()


def end_on_signals() -> None:
    """From now on a signal ends this process, exit code 130; for a command line, never a library.

    The first one raises KeyboardInterrupt in the main thread, or is a request where a block asked
    for these. Who has not ended a second later, or is asked twice, is ended where it stands. What
    was ignored when the process began, as SIGHUP under `nohup`, stays so. What follows the first
    within half a second counts as the same one.
    """
    if _Watch.begun:
        return
    _Watch.begun = True
    hear, tell = os.pipe()
    if os.name != "nt":
        os.set_blocking(tell, False)
        # A child that is forked would tell of its own signals here.
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1) and None)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    for kind in _heard():
        signal.signal(kind, _interrupt)
    threading.Thread(target=_watch, args=(hear,), name="signals", daemon=True).start()
    # Runs last of its kind: behind it Python takes itself apart and gives signals their defaults
    # back, one of which would then be the exit code of a command that is done.
    atexit.register(_ignore)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """A block that may set handlers of its own: a command line takes its own ones back."""
    kept = {kind: signal.getsignal(kind) for kind in _KINDS} if _Watch.begun else {}
    try:
        yield
    finally:
        for kind, handler in kept.items():
            signal.signal(kind, handler)


def nothing_left() -> None:
    """From now on a signal raises nothing: only Python's own end is left, which would tell of it.

    Should that take its time, a signal ends it all the same.
    """
    _Watch.heard = True


def end_stopped() -> NoReturn:
    """End this process as one that was asked to: no temporary file stays, one line is said."""
    _Watch.ending.acquire()  # once, whichever thread is first
    remove_temporaries()
    _flush()
    line = "attnseg: stopped; files that were written are whole\n"
    try:
        cursor = "\x1b[?25h" if os.isatty(2) else ""  # a bar may have hidden it
        os.write(2, (cursor + line).encode())
    except OSError:
        pass  # nobody is there to read it
    remove_temporaries()  # of threads that went on meanwhile
    os._exit(STOPPED)


def _ignore() -> None:
    for kind in _heard():
        signal.signal(kind, signal.SIG_IGN)


def _heard() -> list[signal.Signals]:
    """The signals that ask to stop and are not ignored."""
    return [kind for kind in _KINDS if signal.getsignal(kind) != signal.SIG_IGN]


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _Watch.heard:  # tidying up is not left in its midst: `_end_at_second` sees to the others
        _Watch.heard = True
        raise KeyboardInterrupt


def _watch(hear: int) -> None:
    """In a thread of its own: hear of signals, and see to it that the process ends."""
    while not set(os.read(hear, 64)) & set(_KINDS):
        pass  # other signals have handlers, too
    _Watch.asked = True
    threading.Thread(target=_end_at_second, args=(hear,), name="second", daemon=True).start()
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        if _Watch.request and _Watch.request.patient:
            end = time.monotonic() + GRACE_SECONDS
        time.sleep(0.02)
    end_stopped()


def _end_at_second(hear: int) -> None:
    begin = time.monotonic()
    while not set(os.read(hear, 64)) & set(_KINDS) or time.monotonic() - begin < ECHO_SECONDS:
        pass
    end_stopped()


def _flush() -> None:
    """Hand on what was printed, unless nobody takes it."""
    flushing = threading.Thread(target=_flush_both, daemon=True)
    flushing.start()
    flushing.join(0.2)


def _flush_both() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
