"""Compile every kernel for a GPU that need not be there, and print what ptxas says of each.

python tests/ops/compile_kernels.py 90 bfloat16 first
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from attnseg.ops.kernels import grid, launch, skip

CHANNELS, INNER = 64, 32
SUMS = {"grad_q", "grad_psi", "coarse", "partial", "psi_parts", "d_alpha", "total"}
WEIGHTS = {"theta", "psi", "bias"}
FEATURES = {
    "x", "phi", "y", "alpha", "grad_y", "grad_alpha", "grad_x", "grad_phi", "source",
}  # fmt: skip
KERNELS = [
    skip._forward, skip._backward, skip._grad_phi, skip._grad_theta,
    grid._scores, grid._apply, grid._grad_alpha, grid._backward, grid._products,
]  # fmt: skip


def main(capability: int, dtype: str, layout: str) -> None:
    half = dtype != "float32"
    blocks = launch.launch_config(CHANNELS, INNER, exact=not half)
    steps = launch.steps([2, 2, 2], "linear")
    known = {
        "C": CHANNELS, "F": INNER, **steps, **launch.reaches(steps),
        "BLOCK_V": blocks.voxels, "BLOCK_Z": blocks.voxels, "BLOCK_C": blocks.channels,
        "BLOCK_F": blocks.inner, "UPCAST": False, "PRECISION": "tf32" if half else "ieee",
        "x_v" if layout == "first" else "x_c": 1,
    }  # fmt: skip
    kind = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[dtype]
    for kernel in KERNELS:
        own, warps = dict(known), blocks.warps
        if kernel in (skip._grad_theta, grid._products):
            own |= {"BLOCK_V": blocks.summed, "BLOCK_Z": blocks.summed}
        if kernel in (skip._grad_phi, skip._grad_theta, grid._products):
            own["BLOCK_F"], warps = min(32, blocks.inner), 4
        if kernel in (grid._apply, grid._grad_alpha):
            own["BLOCK_V"], warps = 128, 4
        names = [parameter.name for parameter in kernel.params]
        types = {name: _type(name, own, kind) for name in names}
        source = ASTSource(
            fn=kernel,
            signature=types,
            constexprs={name: own[name] for name in names if name in own},
            # PyTorch's memory is aligned; sizes in a network are mostly multiples of 16.
            attrs={
                (i,): [["tt.divisibility", 16]]
                for i, name in enumerate(names)
                if types[name] != "constexpr"
            },
        )
        target = GPUTarget("cuda", capability, 32)
        ptx = triton.compile(source, target=target, options={"num_warps": warps}).asm["ptx"]
        registers, spilled = _assembled(ptx, capability)
        where = kernel.fn.__module__.rsplit(".", 1)[1] + kernel.fn.__name__
        print(f"{where}: registers {registers}, spilled {spilled}")


def _type(name: str, known: dict[str, object], kind: str) -> str:
    if name in known:
        return "constexpr"
    if name in FEATURES:
        return f"*{kind}"
    if name in SUMS | WEIGHTS:
        return "*fp32"
    return "*i32" if name == "active" else "i32"


def _assembled(ptx: str, capability: int) -> tuple[int, int]:
    """Registers a thread and bytes that did not fit into them."""
    ptxas = Path(nvidia.__file__).with_name("bin") / "ptxas"
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [ptxas, "-v", f"-arch=sm_{capability}{'a' if capability >= 90 else ''}"]
        told = subprocess.run(
            [*command, file.name, "-o", "/dev/null"], capture_output=True, text=True, check=True
        ).stderr
    registers = re.search(r"Used (\d+) registers", told)
    spilled = re.search(r"(\d+) bytes spill stores", told)
    assert registers, told
    assert spilled, told
    return int(registers[1]), int(spilled[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
