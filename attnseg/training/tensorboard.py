"""The only file that knows TensorBoard.

PyTorch's own writer names its files after the host, which is no part of a run: here
TensorBoard's own classes write the records, into a file named after the time.
"""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams, image, scalar, text

from attnseg.disk import append, full_disk_told
from attnseg.errors import DiskFullError
from attnseg.names import readable

# TensorBoard knows a file of events by this part of its name, and reads them in order of names.
_NAME = "events.out.tfevents"
_FORMAT = "brain.Event:2"


class Board:
    """Scalars, pictures, settings and a closing text of one run.

    Args:
        folder: of the event files.
        first_step: of a resumed run; what an earlier process wrote beyond it is hidden.
        say: told once where events cannot be written, as on a full disk; nothing else depends on
            them, and the training goes on.
    """

    def __init__(
        self, folder: Path, *, first_step: int = 0, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._path, self._say, self._told = _new_file(folder), say, False
        self._write(Event(file_version=_FORMAT))
        if first_step:
            self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, values: dict[str, float], *, step: int) -> None:
        """One point on each curve."""
        for name, value in values.items():
            self._write(Event(summary=scalar(name, value), step=step))

    def panel(self, name: str, picture: np.ndarray, *, step: int) -> None:
        """A picture `[H, W, 3]`, uint8."""
        self._write(Event(summary=image(name, picture, dataformats="HWC"), step=step))

    def settings(self, values: dict[str, str | float | bool], scores: dict[str, float]) -> None:
        """Settings beside what they led to, for TensorBoard's table of runs."""
        for summary in hparams(values, scores):
            self._write(Event(summary=summary))
        self.scalars(scores, step=0)

    def text(self, name: str, lines: str) -> None:
        """A text, shown as it is."""
        indented = "\n".join("    " + line for line in readable(lines).splitlines())
        self._write(Event(summary=text(name, indented)))

    def _write(self, event: Event) -> None:
        """A few events an epoch: no file is held open, whatever ends the run."""
        event.wall_time = time.time()
        record = BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        try:
            append(self._path, record.getvalue())
        except (DiskFullError, OSError) as error:
            if not self._told:
                fault = error.fault if isinstance(error, DiskFullError) else error
                self._say(f"warning: {fault}; curves for TensorBoard will have gaps")
            self._told = True


def _new_file(folder: Path) -> Path:
    """One that was not there: a run may be continued within the second in which it stopped."""
    with full_disk_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    stem, number = f"{_NAME}.{int(time.time()):010d}", 0
    while True:
        path = folder / f"{stem}.{number}"
        try:
            with full_disk_told(path):
                path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path
