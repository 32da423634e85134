"""A network with the α of one gate replaced: to look at it, or to see what depends on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from attnseg.models.attention_unet import AttentionUNet


class _Replaced(nn.Module):
    """A gate whose α passes through a function before it is multiplied."""

    def __init__(self, gate: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gate, self.change = gate, change

    def forward(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """As of the gate."""
        y, alpha = self.gate(x, g)
        changed = self.change(alpha)
        return (y, alpha) if changed is alpha else (x * changed, changed)


@contextmanager
def replaced_attention(
    network: AttentionUNet, gate: str, change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Within the block, y = change(α) · x in one gate; afterwards the network is as before.

    Args:
        network: changed in place; what was compiled or traced from it earlier is not.
        gate: its level, a key of `network.gates`.
        change: α `[N, 1, *S]` → another of that shape; α itself leaves the gate's own y.
    """
    own = network.gates[gate]
    network.gates[gate] = _Replaced(own, change)
    try:
        yield
    finally:
        network.gates[gate] = own
