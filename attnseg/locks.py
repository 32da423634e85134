"""Two processes in one folder: who writes what there.

What a process is about to write it claims by name; whoever comes second learns who has it. A claim
goes with the process that made it, however that ends (`attnseg.lock_file`).
"""

import hashlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attnseg.errors import RunError
from attnseg.lock_file import CLAIMS, FIRST_CLAIM, LOCK_FILE, Holder, LockFile
from attnseg.names import alike

__all__ = ["LOCK_FILE", "FolderLock", "Holder", "alone_in"]

_LOOK_SECONDS = 0.2


class FolderLock:
    """What one task claims in a folder; used by `with`, which makes the folder where it is not.

    Where the file system has no locks, this is said, and only this process's own claims exclude
    each other. A folder that cannot be written to has no lock: whoever writes there will be told.

    Args:
        folder: that is written to.
        command: such as "attnseg train", told to whoever comes second.
        task: equal for two that may share their work in the folder; "" where that means nothing.
        say: called with a sentence where the file system has no locks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: str,
        task: str = "",
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder = folder
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._me = Holder(os.getpid(), platform.node(), now, command, task)
        self._say = say
        self._mine: set[int] = set()

    def __enter__(self) -> "FolderLock":
        with _REGISTER.guard:
            self._file = _REGISTER.open(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        with _REGISTER.guard:
            self._file.release(self._mine)
            self._mine.clear()
            _REGISTER.leave(self._file)

    def claim(self, *names: str) -> Holder | None:
        """Claim all of the names, or none of them, without waiting.

        Args:
            names: of what will be written, relative to the folder; capitals or not, in any form of
                Unicode.

        Returns:
            None: they are ours until `release` or the end of the block. Otherwise who has one.
        """
        with _REGISTER.guard:
            self._mine &= self._file.held.keys()  # a forked child has none of its parent's
            offsets = {_offset(name) for name in names} - self._mine
            holder = self._file.claim(offsets, self._me)
            if holder is None:
                self._mine |= offsets
            trouble, self._file.trouble = self._file.trouble, ""
        if trouble:
            self._say(
                f"note: {self.folder}: cannot be locked ({trouble}); see to it that no other "
                "attnseg writes there meanwhile"
            )
        return holder

    def others(self) -> list[Holder]:
        """Who else claims something here."""
        with _REGISTER.guard:
            return [each for each in self._file.holders() if each != self._me]

    def release(self, *names: str) -> None:
        """Give names free that were claimed."""
        offsets = {_offset(name) for name in names} & self._mine
        with _REGISTER.guard:
            self._file.release(offsets)
            self._mine -= offsets

    def hold(self, *names: str, what: str, remedy: str) -> None:
        """Claim names until the end of the block.

        Raises:
            RunError: "`what` by process 12 …; `remedy`" where another has one of them.
        """
        if holder := self.claim(*names):
            raise RunError(f"{what} by {holder}; {remedy}")

    @contextmanager
    def turn(
        self, name: str, *, seconds: float, on_wait: Callable[[Holder], None]
    ) -> Iterator[None]:
        """Hold a name during the block, after whoever has it now.

        Args:
            name: of what is done in turn.
            seconds: how long to wait at most.
            on_wait: called once with who has it, where somebody has.

        Raises:
            RunError: it is not free after that time.
        """
        begin, told = time.monotonic(), False
        while holder := self.claim(name):
            if not told:
                on_wait(holder)
                told = True
            if time.monotonic() - begin > seconds:
                raise RunError(
                    f"{self.folder}: still in use by {holder} after {seconds / 60:.0f} minutes; "
                    "end it, or try again later"
                )
            time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            self.release(name)


@contextmanager
def alone_in(
    folder: Path,
    *names: str,
    command: str,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[FolderLock]:
    """Hold names in a folder during the block: those of files, or one for all that a command does.

    Args: as of `FolderLock`.

    Raises:
        RunError: another process has one of them.
    """
    with FolderLock(folder, command=command, say=say) as lock:
        lock.hold(
            *names,
            what=f"{folder}: is being written to",
            remedy="wait for it or end it, or give another folder",
        )
        yield lock


class _Register:
    """The lock files that this process has open, by folder."""

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self._files: dict[Path, LockFile] = {}

    def open(self, folder: Path) -> LockFile:
        file = self._files.setdefault(folder.resolve(), LockFile(folder.absolute()))
        file.users += 1
        return file

    def leave(self, file: LockFile) -> None:
        file.users -= 1
        if not file.users:
            self._files = {key: each for key, each in self._files.items() if each is not file}
            file.close()

    def disown(self) -> None:
        """In a forked child, whose other threads, one of which may have the guard, are gone."""
        self.guard = threading.RLock()
        for file in self._files.values():
            file.disown()


_REGISTER = _Register()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REGISTER.disown)


def _offset(name: str) -> int:
    """The byte that stands for a name."""
    digest = hashlib.blake2b(alike(name).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return FIRST_CLAIM + int.from_bytes(digest, "big") % CLAIMS
