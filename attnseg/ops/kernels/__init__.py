"""The attention gates as Triton kernels. Importing this package imports triton."""

from attnseg.ops.kernels.grid import grid_backward, grid_forward
from attnseg.ops.kernels.skip import skip_backward, skip_forward

__all__ = ["grid_backward", "grid_forward", "skip_backward", "skip_forward"]
