"""Ctrl-C and SIGTERM end a run between two steps, with everything saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the user or the scheduler asked to stop."""

    requested = False


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; a second one acts as usual.

    Outside the main thread, where handlers cannot be set, nothing is ever requested.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    previous = {kind: signal.getsignal(kind) for kind in kinds}

    def restore() -> None:
        for kind, handler in previous.items():
            signal.signal(kind, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        request.requested = True
        restore()

    for kind in kinds:
        signal.signal(kind, handle)
    try:
        yield request
    finally:
        restore()
