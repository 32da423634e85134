"""Folders of masks as `attnseg predict` leaves them, without a network."""

from pathlib import Path

import numpy as np

from attnseg.images import Geometry, Image
from attnseg.inference import MaskFormat, Outcome, Scan
from attnseg.inference.manifest import Manifest

NAMES = {1: "left lung", 2: "Tumour/core", 5: "left_lung"}
LABELS = np.zeros((6, 5, 4), np.uint8)
LABELS[0], LABELS[1, 2], LABELS[4] = 1, 2, 5
IMAGE = Image(np.zeros((1, 6, 5, 4), np.float32), Geometry((6, 5, 4), np.diag([1.0, 1, 2, 1])))


def predicted(
    folder: Path,
    *names: str,
    masks: MaskFormat | None = None,
    part: str = "",
    labels: np.ndarray = LABELS,
    image: Image = IMAGE,
) -> None:
    """What `attnseg predict` leaves of scans with these names."""
    masks = masks or MaskFormat()
    for name in names:
        scan = Scan(name, (Path(f"{name}.nii.gz"),))
        masks.write(folder, scan, labels, like=image, dtype=np.dtype(np.uint8), names=NAMES)
        line = Outcome(name, "done", mask=masks.target(scan), labels=NAMES)
        Manifest(folder, shard=part).add(line)
