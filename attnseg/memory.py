"""What this process takes of the machine's memory, and what becomes of it when freed."""

import ctypes
import sys
import threading
from collections.abc import Callable

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4


def keep_freed_memory() -> None:
    """Let large tensors reuse pages: glibc returns every block over 32 MB to the system when freed.

    A training step or a window then spends a good part of its time on page faults. Measured on two
    cores (patch 40×56×40, 16 to 128 channels): a forward pass 93 → 62 ms, a training step 265 → 228
    ms, the same peak memory. Called by the commands that compute, never on import; does nothing
    where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 64 * 2**20)


def return_freed_memory() -> None:
    """The opposite, where memory is bounded: every block over 16 MB goes back as it is freed, and
    of smaller ones all but 64 MB.

    Kept memory lies in pieces, and not every need fits into one.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 16 * 2**20)
    mallopt(_TRIM_THRESHOLD, 64 * 2**20)


def release_freed_memory() -> None:
    """Hand back to the system what was freed: between stages that need much memory in turn."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return


def resident_bytes() -> int:
    """Memory that this process takes now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Most memory that this process has taken so far."""
    try:
        import resource
    except ImportError:  # Windows has no such module, and tells the peak beside what is taken now
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_during(call: Callable[[], object]) -> int:
    """Most memory that this process takes above what it takes now, while `call` runs.

    Looked at every few milliseconds: the system's own high-water mark remembers former peaks.
    """
    before = highest = resident_bytes()
    over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.002):
            highest = max(highest, resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
    finally:
        over.set()
        watcher.join()
    return max(highest, resident_bytes()) - before
