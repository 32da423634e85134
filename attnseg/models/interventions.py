"""A network with the α of one gate replaced: to see what depends on it."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from attnseg.models.attention_unet import AttentionUNet

Change = Callable[[Tensor], Tensor]
"""α `[N, 1, *S]` → another of that shape."""


def replaced_logits(
    network: AttentionUNet, x: Tensor, gate: str, changes: Sequence[Change]
) -> Iterator[Tensor]:
    """Logits `[N, C_out, *S]` with y = change(α) · x in one gate, for each change in turn.

    The encoder, the decoder below the gate and α see nothing of the change: they run once for all.

    Args:
        network: not changed.
        x: `[N, C_in, *S]`.
        gate: its level; a network without it answers as it is.
        changes: each α `[N, 1, *S_level]` → another of that shape.
    """
    skips = network.encode(x)
    features = skips.pop()
    level = int(gate)
    for below in range(len(skips) - 1, level, -1):
        features, _ = network.decode_level(below, skips.pop(), features)
    own = network.gates[gate](skips[level], features)[1] if gate in network.gates else None
    for change in changes:
        alpha = None if own is None else change(own)
        found, _ = network.decode_level(level, skips[level], features, alpha=alpha)
        for above in reversed(range(level)):
            found, _ = network.decode_level(above, skips[above], found)
        yield network.logits(found)
