"""A network with the α of one gate replaced: to see what depends on it."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from attnseg.models.attention_unet import AttentionUNet, Change


def replaced_logits(
    network: AttentionUNet, x: Tensor, gate: str, changes: Sequence[Change]
) -> Iterator[Tensor]:
    """Logits `[N, C_out, *S]` with y = change(α) · x in one gate, for each change in turn.

    The encoder and the decoder below the gate see nothing of the change: they run once for all.

    Args:
        network: not changed.
        x: `[N, C_in, *S]`.
        gate: its level, a key of `network.gates`; a network without it answers as it is.
        changes: each α `[N, 1, *S_level]` → another of that shape.
    """
    skips = network.encode(x)
    features = skips.pop()
    level = int(gate)
    while len(skips) > level + 1:
        below = len(skips) - 1
        features, _ = network.decode_level(below, skips.pop(), features)
    for change in changes:
        found, _ = network.decode_level(level, skips[level], features, change=change)
        for above in reversed(range(level)):
            found, _ = network.decode_level(above, skips[above], found)
        yield network.logits(found)
