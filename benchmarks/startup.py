"""How long a user waits before anything happens: `attnseg --help`, and the first window.

    python benchmarks/startup.py [--runs 7] [--json benchmarks/results/startup.json]

The first window is timed from the moment `import torch` has ended, in fresh processes, on a
generated scan of 36×50×36 voxels and an untrained network of four levels with 16 to 128 channels.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PREPARE = """
import sys, numpy as np, torch
from pathlib import Path
from attnseg.images import Geometry, Image, write_image
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec
folder = Path(sys.argv[1])
net = AttentionUNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), deep_supervision=2)
labels = [dict(value=v, name=str(v)) for v in range(3)]
save_model(folder / "model.safetensors", net, ModelSpec.model_validate(dict(
    architecture=net.architecture, channel_names=["MRI"], patch=(40, 56, 40), labels=labels,
    preprocessing=dict(spacing_mm=(1, 1, 1), normalization=[dict(scheme="zscore")]))))
array = np.random.default_rng(0).normal(100, 20, (1, 36, 50, 36)).astype(np.float32)
write_image(folder / "scans" / "scan.nii.gz", Image(array, Geometry(array.shape[1:], np.eye(4))))
"""

_FIRST_WINDOW = """
import sys, time
begin = time.perf_counter()
import torch
torch_done = time.perf_counter()
from attnseg.models import AttentionUNet
plain = AttentionUNet.forward
def timed(self, x):
    logits = plain(self, x)
    print("torch", torch_done - begin, "window", time.perf_counter() - torch_done)
    AttentionUNet.forward = plain
    return logits
AttentionUNet.forward = timed
folder = sys.argv[1]
sys.argv = ["attnseg", "predict", folder + "/scans", "-m", folder + "/model.safetensors",
            "-o", folder + "/out", "--overwrite"]
from attnseg.cli.app import main
main()
"""


def help_seconds() -> float:
    """Wall-clock seconds of `attnseg --help`, the process included."""
    begin = time.perf_counter()
    subprocess.run([Path(sys.executable).parent / "attnseg", "--help"], check=True, stdout=-3)
    return time.perf_counter() - begin


def first_window_seconds(folder: str) -> tuple[float, float]:
    """Seconds of `import torch`, and from its end to the first window's logits."""
    command = [sys.executable, "-c", _FIRST_WINDOW, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    _, torch_seconds, _, window = done.stdout.splitlines()[0].split()
    return float(torch_seconds), float(window)


def summary(values: list[float]) -> dict[str, float]:
    """Median and extremes."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _PREPARE, folder], check=True)
        first_window_seconds(folder)  # fills the file cache
        helps = [help_seconds() for _ in range(arguments.runs)]
        windows = [first_window_seconds(folder) for _ in range(arguments.runs)]
    import torch

    result = {
        "help_s": summary(helps),
        "import_torch_s": summary([seconds for seconds, _ in windows]),
        "first_window_after_torch_s": summary([seconds for _, seconds in windows]),
        "runs": arguments.runs,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
