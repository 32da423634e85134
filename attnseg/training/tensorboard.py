"""The only file that knows TensorBoard."""

from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from attnseg.names import readable


class Board:
    """Scalars, pictures, settings and a closing text of one run.

    Args:
        folder: of the event files.
        first_step: of a resumed run; what an earlier process wrote beyond it is hidden.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def scalars(self, values: dict[str, float], *, step: int) -> None:
        """One point on each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def panel(self, name: str, picture: np.ndarray, *, step: int) -> None:
        """A picture `[H, W, 3]`, uint8."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def settings(self, values: dict[str, str | float | bool], scores: dict[str, float]) -> None:
        """Settings beside what they led to, for TensorBoard's table of runs."""
        self._writer.add_hparams(values, scores, run_name=".")

    def text(self, name: str, lines: str) -> None:
        """A text, shown as it is."""
        indented = "\n".join("    " + line for line in readable(lines).splitlines())
        self._writer.add_text(name, indented)

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()
