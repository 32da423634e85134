"""The hidden file of a folder by which processes exclude each other; used by `attnseg.locks` alone.

A claim is a byte of the file, far behind its end, locked by the operating system's own locks: they
go with the process however it ends, a kill and a power cut included, and hold over NFS. A forked
child has none of them, so that a data loader that outlives its training claims nothing. The text of
the file says who claims something, one JSON line each; the last one that ends in order removes it.

Locks of one process do not exclude each other, and closing the file anywhere in the process drops
all of them: so the file is opened here alone, once a folder and process.
"""

import errno
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from attnseg.errors import RunError

LOCK_FILE = ".attnseg.lock"
# The byte that a process holds while it looks at the file or changes it; those of claims follow.
# Windows refuses to read what another locks, so all of them lie behind any text, and its C library
# counts to 2³¹.
_GATE = 2**20
FIRST_CLAIM, CLAIMS = _GATE + 1, 2**31 - 2 - _GATE
_GATE_SECONDS = 30.0
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@dataclass(frozen=True)
class Holder:
    """Who claims something.

    Args:
        process: its id; 0 where nothing tells it.
        machine: name of the host that it runs on.
        since: when it came to the folder, in ISO 8601, UTC.
        command: such as "attnseg train".
        task: equal for two that may share their work, as a hash; "" where that means nothing.
    """

    process: int = 0
    machine: str = ""
    since: str = ""
    command: str = ""
    task: str = ""

    def __str__(self) -> str:
        if not self.process:
            return "another process"
        there = "" if self.machine in ("", platform.node()) else f" on {self.machine}"
        return f"process {self.process}{there} ({self.command}, since {_local(self.since)})"


class LockFile:
    """The lock file of one folder, open once in this process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self.users = 0
        self.held: dict[int, Holder] = {}
        self.trouble = ""
        """Why there are no locks here, until it is told."""
        self.made = [each for each in (folder, *folder.parents) if not each.exists()]
        self._locks = True
        self._stream: int | None = None

    def claim(self, offsets: set[int], me: Holder) -> Holder | None:
        for offset in offsets & self.held.keys():
            return self.held[offset]
        try:
            with self._gate() as stream:
                got: list[int] = []
                for offset in offsets if stream is not None else ():
                    if not _lock(stream, offset):
                        self._unlock(got)
                        return self._holder_of(offset)
                    got.append(offset)
                self.held |= dict.fromkeys(offsets, me)
                self._note()
        except OSError as error:
            self._give_up(error)
            self.held |= dict.fromkeys(offsets, me)
        return None

    def release(self, offsets: set[int]) -> None:
        offsets = offsets & self.held.keys()  # none of them in a forked child
        for offset in offsets:
            del self.held[offset]
        if offsets and self._stream is not None:
            self._unlock(offsets)
            with suppress(OSError, RunError), self._gate():
                self._note()

    def holders(self) -> list[Holder]:
        """Who claims something here, this process's own among them."""
        found = list(dict.fromkeys(self.held.values()))
        if self._stream is not None:
            with suppress(OSError), self._gate():
                lines = [line for line in _lines(self._stream) if self._lives(line)]
                found += map(_holder, lines)
        return found

    def close(self) -> None:
        """Remove the file unless another process claims something, and the folders made for it."""
        if self._stream is not None:
            with suppress(OSError, RunError), self._gate() as stream:
                if stream is not None and _lock(stream, FIRST_CLAIM, CLAIMS):
                    self._remove()
            self._forget()
            if os.name == "nt":  # where what is open cannot be removed
                self._remove()
        for folder in self.made:
            with suppress(OSError):  # as it should be: something was written there
                folder.rmdir()

    def disown(self) -> None:
        """In a forked child: the locks are its parent's."""
        self.held.clear()
        self._forget()

    @contextmanager
    def _gate(self) -> Iterator[int | None]:
        """The file, while no other process looks at it; None where there are no locks."""
        until = time.monotonic() + _GATE_SECONDS
        while (stream := self._opened()) is not None:
            if not _lock(stream, _GATE):
                if time.monotonic() > until:
                    raise RunError(
                        f"{self.path}: another process has kept it busy for {_GATE_SECONDS:.0f} s, "
                        "and may have been stopped; end it, or give another folder"
                    )
                time.sleep(0.005)
            elif _is_at(stream, self.path):
                break
            else:  # the one before removed it, or somebody did with the whole folder
                self._forget()
        try:
            yield stream
        finally:
            if self._stream is not None:
                _unlock(self._stream, _GATE)

    def _opened(self) -> int | None:
        if self._stream is None and self._locks:
            self._stream = self._open()
            for offset in self.held:
                _lock(self._stream, offset)
        return self._stream

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        folder = self.path.parent
        for last in (False, False, True):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stream = os.open(self.path, flags, 0o600)
                break
            except FileNotFoundError:  # another process has just removed a folder it had made
                if last:
                    raise
        with suppress(OSError, AttributeError):  # whoever may write to the folder may lock it
            os.fchmod(stream, folder.stat().st_mode & 0o666 | 0o600)
        return stream

    def _give_up(self, error: OSError) -> None:
        """Go on without locks; told where the folder could be written to all the same."""
        if self._stream is not None and not os.fstat(self._stream).st_size:
            self._remove()
        self._forget()
        self._locks = False
        if error.errno != errno.EROFS and os.access(self.path.parent, os.W_OK):
            self.trouble = error.strerror or str(error)

    def _forget(self) -> None:
        if self._stream is not None:
            os.close(self._stream)
        self._stream = None

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()

    def _unlock(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            _unlock(self._stream, offset)

    def _note(self) -> None:
        """Write who claims what: the lines of others that live, and ours."""
        if self._stream is None:
            return
        ours: dict[Holder, list[int]] = {}
        for offset, holder in self.held.items():
            ours.setdefault(holder, []).append(offset)
        lines = [asdict(holder) | {"bytes": sorted(held)} for holder, held in ours.items()]
        others = [line for line in _lines(self._stream) if self._lives(line)]
        text = "".join(json.dumps(line) + "\n" for line in (*others, *lines))
        # On a full disk it is not told who has it; it is locked all the same.
        with suppress(OSError):
            os.lseek(self._stream, 0, os.SEEK_SET)
            os.ftruncate(self._stream, 0)
            os.write(self._stream, text.encode())

    def _lives(self, line: dict[str, Any]) -> bool:
        """Whether something that another process's line names is locked."""
        for offset in line["bytes"]:
            if offset in self.held or not 0 <= offset - FIRST_CLAIM < CLAIMS:
                return False  # it was another's, who is gone
            if not _lock(self._stream, offset):
                return True
            _unlock(self._stream, offset)
        return False

    def _holder_of(self, offset: int) -> Holder:
        for line in _lines(self._stream):
            if offset in line["bytes"]:
                return _holder(line)
        return Holder()


def _lock(stream: int | None, start: int, length: int = 1) -> bool:
    """Lock bytes of a file unless another process has one of them.

    Raises:
        OSError: the file system has no locks.
    """
    assert stream is not None
    try:
        _locking(stream, start, length, lock=True)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def _unlock(stream: int | None, start: int) -> None:
    assert stream is not None
    with suppress(OSError):
        _locking(stream, start, 1, lock=False)


def _locking(stream: int, start: int, length: int, *, lock: bool) -> None:
    try:
        import fcntl
    except ImportError:
        windows: Any = import_module("msvcrt")
        os.lseek(stream, start, os.SEEK_SET)
        windows.locking(stream, windows.LK_NBLCK if lock else windows.LK_UNLCK, length)
        return
    fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB if lock else fcntl.LOCK_UN, length, start)


def _is_at(stream: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(stream), path.stat())
    except FileNotFoundError:
        return False


def _lines(stream: int | None) -> list[dict[str, Any]]:
    """Who claims what; what is damaged, as by a kill, tells nothing."""
    assert stream is not None
    os.lseek(stream, 0, os.SEEK_SET)
    found = []
    for text in os.read(stream, _GATE).split(b"\n"):
        with suppress(ValueError, RecursionError):
            line = json.loads(text)
            held = line.get("bytes") if isinstance(line, dict) else None
            if isinstance(held, list) and all(isinstance(each, int) for each in held):
                found.append(line)
    return found


def _holder(line: dict[str, Any]) -> Holder:
    process = line.get("process")
    if not isinstance(process, int) or not 0 < process < 2**32:
        return Holder()
    told = (_plain(line.get(name)) for name in ("machine", "since", "command", "task"))
    return Holder(process, *told)


def _plain(told: object) -> str:
    """Text that a terminal can be given, whoever wrote it."""
    return "".join(each for each in str(told) if each.isprintable())[:80]


def _local(since: str) -> str:
    try:
        return datetime.fromisoformat(since).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return since
