"""`attnseg doctor`."""

import typer

_PACKAGES = (
    "torch", "triton", "openvino", "numpy", "nibabel", "monai", "albumentations", "accelerate",
    "safetensors",
)  # fmt: skip


def doctor() -> None:
    """Tell what this machine offers: versions, processor, GPU, and what computes the gates."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from attnseg.ops import backend

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    facts = {
        "attnseg": of("attnseg"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{package: of(package) for package in _PACKAGES},
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "gpu": ", ".join(
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        )
        or "none",
    }
    name, reason = backend()
    facts["attention gates"] = (
        f"{name} ({reason})" if torch.cuda.is_available() else "torch, in blocks (no CUDA device)"
    )
    width = max(map(len, facts))
    for name, fact in facts.items():
        typer.echo(f"{name:<{width}}  {fact}")
