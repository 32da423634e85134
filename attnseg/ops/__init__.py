"""The attention-gate operators; see README.md beside this file."""

from attnseg.ops.attention_gate import attention_gate, grid_attention_gate
from attnseg.ops.backend import Backend, backend, use_backend

__all__ = ["Backend", "attention_gate", "backend", "grid_attention_gate", "use_backend"]
