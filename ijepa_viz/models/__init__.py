"""The networks of I-JEPA and their forward passes, nothing else (section 3, figure 3).

Blocks are timm's ViT blocks. Parameter names are those of the reference checkpoints, so that their state dicts load
with ``strict=True``. There is no [CLS] token.
"""

from ijepa_viz.models.config import SIZES, ModelConfig
from ijepa_viz.models.encoder import Encoder
from ijepa_viz.models.ijepa import IJEPA, set_activation_checkpointing, target_layer_norm
from ijepa_viz.models.patches import gather_targets, patchify, unpatchify
from ijepa_viz.models.predictor import Predictor
from ijepa_viz.models.vit import sincos_positions

__all__ = [
    "IJEPA",
    "SIZES",
    "Encoder",
    "ModelConfig",
    "Predictor",
    "gather_targets",
    "patchify",
    "set_activation_checkpointing",
    "sincos_positions",
    "target_layer_norm",
    "unpatchify",
]
