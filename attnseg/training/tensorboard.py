"""The only file that knows TensorBoard."""

from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter


class Board:
    """Scalars and image panels of one run."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder))

    def scalars(self, values: dict[str, float], *, step: int) -> None:
        """One point on each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def panel(self, name: str, picture: np.ndarray, *, step: int) -> None:
        """A picture `[H, W, 3]`, uint8."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()
