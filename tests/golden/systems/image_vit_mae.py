"""MAE alone and in pre-training: other patches hidden in each picture, all or none of them, pixels drawn as they are and by their own spread."""

from pathlib import Path

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

import weights

from .image_vit import SIZES, case_of, picture

OWN = SIZES | dict(
    decoder_num_attention_heads=2,
    decoder_hidden_size=20,
    decoder_num_hidden_layers=2,
    decoder_intermediate_size=28,
    layer_norm_eps=1e-6,
)
MASKS = ["mask", "ids_restore"]

case = case_of("vit_mae", ViTMAEConfig, OWN)


def noise(patches: int) -> dict[str, torch.Tensor]:
    return {"noise": weights.tensor(f"vit_mae.noise.{patches}", (2, patches))}


def called(model, inputs, **more):
    """With what are whole numbers, and masks that are always f32, in the model's own precision."""
    found = dict(model(**inputs, output_hidden_states=True, **more))
    return found | {name: found[name].to(inputs["pixel_values"].dtype) for name in MASKS}


def interpolated(model, inputs):
    return called(model, inputs, interpolate_pos_encoding=True)


def model(folder: Path) -> None:
    outputs = ["last_hidden_state", "hidden_states", *MASKS]
    given = picture("vit_mae.square", 8, 8) | noise(16)
    case(folder, "model", ViTMAEModel, given, outputs, called, layer_norm_eps=1e-3)
    case(folder, "all_seen", ViTMAEModel, given, outputs, called, mask_ratio=0.0, qkv_bias=False, hidden_act="relu")
    given = picture("vit_mae.larger", 14, 6) | noise(21)
    case(folder, "resized", ViTMAEModel, given, outputs, interpolated, mask_ratio=0.5)


def pretraining(folder: Path) -> None:
    given = picture("vit_mae.square", 8, 8) | noise(16)
    outputs = ["loss", "logits", "hidden_states", *MASKS]
    case(folder, "pretraining", ViTMAEForPreTraining, given, outputs, called)
    settings = dict(norm_pix_loss=True, mask_ratio=0.5, qkv_bias=False, layer_norm_eps=1e-3)
    case(folder, "pretraining_normed", ViTMAEForPreTraining, given, ["loss", "logits"], called, **settings)
    given = picture("vit_mae.larger", 14, 6) | noise(21)
    case(folder, "pretraining_resized", ViTMAEForPreTraining, given, outputs, interpolated, mask_ratio=0.5)


def one(folder: Path) -> None:
    """One patch of one channel, of which the encoder sees nothing."""
    settings = dict(image_size=2, num_channels=1)
    given = picture("vit_mae.one", 2, 2, 1) | noise(1)
    case(folder, "one", ViTMAEForPreTraining, given, ["loss", "logits", *MASKS], called, **settings)


CASES = [model, pretraining, one]
