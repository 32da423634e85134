"""Several runs that predict into one folder at the same time: each takes what no other has taken.

A scan is claimed by the names of all files that will be written of it, from shortly before it is
read until its line stands in the manifest. Claims go with the process that has them, however it
ends (`attnseg.locks`): what a run that was killed had begun is free again.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from attnseg.errors import AttnsegError, RunError
from attnseg.inference.manifest import NewLines
from attnseg.inference.work import Work
from attnseg.locks import FolderLock, Holder

_COMMAND = "attnseg predict"


class Share:
    """The scans of a cohort that are this run's; used by `with`.

    Args:
        folder: of masks and manifests.
        model_id: what the manifest calls the model.
        settings: what else changes the labels.
        written: names of the files that will be written of a scan, relative to the folder.
        refuse: called with a scan that was claimed; an AttnsegError that it raises fails the scan.
        is_done: whether a scan that was claimed has been done meanwhile, by new lines of it.
        news: lines that were written since it was looked which scans are done.
        say: called with a sentence where the file system has no locks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model_id: str,
        settings: dict[str, Any],
        written: Callable[[Work], list[str]],
        refuse: Callable[[Work], None],
        is_done: Callable[[Work, dict[str, dict[str, Any]]], bool],
        news: NewLines,
        say: Callable[[str], None],
    ) -> None:
        told = json.dumps([model_id, settings], default=str).encode()
        task = hashlib.blake2b(told, digest_size=8).hexdigest()
        self._lock = FolderLock(folder, command=_COMMAND, task=task, say=say)
        self._folder, self._task = folder, task
        self._written, self._refuse, self._is_done, self._news = written, refuse, is_done, news
        self._claimed: dict[str, list[str]] = {}
        self.passed: list[tuple[Work, Holder]] = []
        """What other runs had when it was this run's turn to take it."""

    def __enter__(self) -> "Share":
        self._lock.__enter__()
        self._lock.claim(f"run {uuid4()}")  # seen by others between two scans, too
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(*error)

    def refuse_other_models(self) -> None:
        """Two models in one folder at once would replace each other's masks.

        Raises:
            RunError: another run predicts here with another model or other settings.
        """
        for other in self._lock.others():
            if other.command == _COMMAND and other.task != self._task:
                raise RunError(
                    f"{self._folder}: {other} predicts into this folder with another model or "
                    "other settings; wait for it or end it, or give another folder with -o"
                )

    def mine(
        self, work: Iterable[Work], on_done: Callable[[Work], None]
    ) -> Generator[Work, None, None]:
        """What this run takes, claimed; what others have is in `passed` afterwards.

        Args:
            work: in the order in which it is taken.
            on_done: called with what another run has done meanwhile.
        """
        for each in work:
            names = self._written(each)
            if holder := self._lock.claim(*names):
                self.passed.append((each, holder))
                continue
            self._claimed[each.scan.name] = names
            lines = self._news.of(each.scan.name)
            if lines and self._is_done(each, lines):
                self.release(each.scan.name)
                on_done(each)
                continue
            try:
                self._refuse(each)  # from here on nobody else writes what is claimed
            except AttnsegError as error:
                each = replace(each, plan=None, outline=None, reason=str(error))
            yield each

    def take_passed(self) -> list[Work]:
        """What others had, to be tried once more."""
        passed, self.passed = self.passed, []
        return [work for work, _ in passed]

    def release(self, name: str) -> None:
        """Give a scan free whose line has been written."""
        self._lock.release(*self._claimed.pop(name, ()))
