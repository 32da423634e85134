"""The Attention U-Net, its gates, and the model file."""

from attnseg.models.attention_unet import AttentionUNet, build_network
from attnseg.models.blocks import channels_last
from attnseg.models.fuse import fuse_attention_gates
from attnseg.models.gates import GridGate, SkipGate
from attnseg.models.interventions import Change, replaced_logits
from attnseg.models.model_file import (
    describe_model,
    load_model,
    load_spec,
    model_id,
    save_model,
    verify_model,
)

__all__ = [
    "AttentionUNet",
    "Change",
    "GridGate",
    "SkipGate",
    "build_network",
    "channels_last",
    "describe_model",
    "fuse_attention_gates",
    "load_model",
    "load_spec",
    "model_id",
    "replaced_logits",
    "save_model",
    "verify_model",
]
