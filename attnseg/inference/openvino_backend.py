"""OpenVINO, two to three times as fast as eager PyTorch on a CPU: the only file that knows it.

The network is traced at the size of its window, converted and compiled. What was compiled is kept
in the user's cache folder, readable by the user alone, under a hash of everything that made it.
"""

import hashlib
import io
import logging
import os
import sys
from contextlib import suppress
from functools import cache as once
from pathlib import Path
from types import ModuleType

import platformdirs
import torch
from torch import Tensor

from attnseg.errors import DiskFullError
from attnseg.files import write_bytes
from attnseg.inference.stream import Network
from attnseg.models import AttentionUNet

_log = logging.getLogger(__name__)
# Compiled networks kept in the cache; of more the ones longest unused go.
_KEPT = 16


def openvino_network(
    network: AttentionUNet, *, channels: int, window: tuple[int, ...], cache: Path | None = None
) -> Network:
    """Compile a network for windows of one size.

    Args:
        network: the model, on the CPU.
        channels: of its input.
        window: voxels along each of its spatial axes.
        cache: folder of compiled networks; None: `attnseg` in the user's cache folder.

    Returns:
        `[1, C, *window]` → `[1, K, *window]`, float32. What it returns is overwritten by the next
        call. Windows of one thread at a time.
    """
    openvino = _openvino()
    core = openvino.Core()
    # Every processor in its own precision would give every user other masks.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    folder = cache or platformdirs.user_cache_path("attnseg") / "openvino"
    blob = folder / f"{_key(network, core, (channels, *window), settings)}.blob"
    compiled = None
    if blob.exists():
        try:
            compiled = core.import_model(io.BytesIO(blob.read_bytes()), "CPU", settings)
            os.utime(blob)  # the last use
        except (RuntimeError, FileNotFoundError):
            compiled = None  # of another build, damaged, or just removed: compiled anew
    if compiled is None:
        compiled = core.compile_model(
            _converted(openvino, network, channels, window), "CPU", settings
        )
        try:
            _keep(blob, compiled.export_model())
        except DiskFullError as error:
            _tell_once(f"{error.fault}; the compiled network is not kept, and is compiled again")
    request = compiled.create_infer_request()

    def run(patches: Tensor) -> Tensor:
        request.infer({0: patches.contiguous().numpy()}, share_inputs=True)
        return torch.from_numpy(request.get_output_tensor(0).data)

    return run


@once
def _tell_once(text: str) -> None:
    _log.warning("warning: %s", text)


def _openvino() -> ModuleType:
    """The package, its usage reports left out: they would go to an analytics service."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _converted(
    openvino: ModuleType, network: AttentionUNet, channels: int, window: tuple[int, ...]
) -> object:
    # Traced here and not by OpenVINO, whose own trace runs the network several times to check it.
    example = torch.zeros(1, channels, *window)
    with torch.no_grad():
        traced = torch.jit.trace(network.eval(), example, check_trace=False)
    model = openvino.convert_model(traced, example_input=None)
    model.reshape([1, channels, *window])
    return model


def _key(
    network: AttentionUNet, core: object, shape: tuple[int, ...], settings: dict[str, object]
) -> str:
    """SHA-256 of weights, architecture, window, settings, versions and processor."""
    import openvino

    digest = hashlib.sha256()
    facts = (
        network.architecture.model_dump_json(), shape, sorted(settings.items()), torch.__version__,
        openvino.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"),  # type: ignore[attr-defined]
    )  # fmt: skip
    digest.update(repr(facts).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _keep(blob: Path, content: bytes | io.BytesIO) -> None:
    blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(blob, content if isinstance(content, bytes) else content.getvalue())
    # Another process may remove what is too much at the same moment.
    with suppress(FileNotFoundError):
        blob.chmod(0o600)
    ages: dict[Path, float] = {}
    for path in blob.parent.glob("*.blob"):
        with suppress(FileNotFoundError):
            ages[path] = path.stat().st_mtime
    for old in sorted(ages, key=ages.__getitem__, reverse=True)[_KEPT:]:
        old.unlink(missing_ok=True)
